"""A folder of pictures, with a folder for each class.

FOLDER/train/cat/1.png          FOLDER/cat/1.png
FOLDER/train/dog/2.png    or    FOLDER/dog/2.png
FOLDER/test/cat/3.png
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.classes import plural
from hwnas_jax.data.own.picture_source import PicturePart, PictureSource
from hwnas_jax.data.own.pictures import SUFFIXES, Picture
from hwnas_jax.data.own.roles import part_of
from hwnas_jax.data.own.source import entries, listed
from hwnas_jax.errors import UserError

_LOOKED_AT = 2000
"""Most files of a folder that are looked at to find a picture in it."""


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class ImageFolder(PictureSource):
    """Pictures in a folder for each class, which is named after it.

    The class folders lie in FOLDER itself, or in its folders `train`, `test` and `val`. A class
    folder may have folders of its own. Without a test folder a share of the pictures is held out.
    """

    name = "image_folder"
    summary = "a folder of pictures with a folder for each class; needs data.path"
    fits = "a folder with a folder of pictures for each class, perhaps inside train and test"

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether it has folders with pictures in them."""
        if not path.is_dir():
            return False
        folders = [entry for entry in entries(path)[:_LOOKED_AT] if entry.is_dir()]
        return any(_has_pictures(folder) for folder in folders)

    def read(self, path: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        if not path.is_dir():
            raise UserError(f"{path} is not {self.fits}")
        notes: list[str] = []
        parts = {part: self._part(folder, notes) for part, folder in _parts(path, notes).items()}
        return self.dataset_of(path, parts, notes=notes)

    def _part(self, folder: Path, notes: list[str]) -> PicturePart:
        pictures: list[Picture] = []
        labels: list[str] = []
        classes = [entry for entry in entries(folder) if entry.is_dir()]
        beside = [entry for entry in entries(folder) if not entry.is_dir()]
        if not classes:
            raise UserError(f"{folder} has no folder for any class; it holds {listed(beside)}")
        others = list(beside)
        for own in classes:
            files = list(_files(own))
            found = [file for file in files if file.suffix.lower() in SUFFIXES]
            others += [file for file in files if file.suffix.lower() not in SUFFIXES]
            if not found:
                raise UserError(
                    f"the class folder {own} has no pictures ({', '.join(sorted(SUFFIXES))}); it "
                    f"holds {listed(files)}. Put some in, or remove it"
                )
            pictures += [Picture(str(file), file) for file in found]
            labels += [own.name] * len(found)
        if others:
            count = plural(len(others), "file")
            notes.append(f"{count} not read, being no pictures by their endings: {others[0]}, ...")
        return PicturePart(pictures, np.array(labels))


def _parts(path: Path, notes: list[str]) -> dict[str, Path]:
    """Returns the folders of train, validation and test; of the whole as train where none are."""
    folders = [entry for entry in entries(path) if entry.is_dir()]
    named = {entry: part_of(entry.name) for entry in folders}
    # A class may be called train, too: its folder has pictures and no folders.
    with_classes = [e for e in folders if any(inner.is_dir() for inner in entries(e))]
    found = [entry for entry in with_classes if named[entry] is not None]
    if not found:
        return {"train": path}
    parts: dict[str, Path] = {}
    for entry in found:
        part = str(named[entry])
        if part in parts:
            raise UserError(f"both {parts[part]} and {entry} are the {part} part; remove one")
        parts[part] = entry
    if "train" not in parts:
        raise UserError(f"{path} has {listed(found)} but no folder train")
    left = [entry for entry in folders if entry not in found]
    if left:
        notes.append(f"not read, being neither train, val nor test: {listed(left)}")
    order = ("train", "validation", "test")
    return {part: parts[part] for part in order if part in parts}


def _files(folder: Path) -> Iterator[Path]:
    """Yields the files below a folder, in order, whatever folders they lie in."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name != "Thumbs.db":
                yield Path(place, name)


def _has_pictures(folder: Path) -> bool:
    some = itertools.islice(_files(folder), _LOOKED_AT)
    return any(file.suffix.lower() in SUFFIXES for file in some)
