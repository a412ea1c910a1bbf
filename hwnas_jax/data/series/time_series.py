"""Reads the data sets of the archive of time series classification.

Legend: `N` series, `L` steps, `C` channels.
"""

import dataclasses
import re
from pathlib import Path
from typing import Literal

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.parts import Raw, make_dataset
from hwnas_jax.data.own.roles import part_of
from hwnas_jax.data.own.source import FileSource, entries
from hwnas_jax.data.series.archive_part import ArchivePart
from hwnas_jax.data.series.arff_file import read_arff
from hwnas_jax.data.series.ts_file import read_ts
from hwnas_jax.errors import UserError, choose

_READERS = {".ts": read_ts, ".arff": read_arff}
_NAME = re.compile(r"(?P<subset>.+)_(?P<part>train|test)", re.IGNORECASE)


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class TimeSeries(FileSource):
    """Series `float32[N, L, C]` of the files `NAME_TRAIN.ts` and `NAME_TEST.ts`, or `.arff`.

    These are the forms that the archive publishes its sets in, JapaneseVowels and BasicMotions
    among them. All series get the length of the longest of both parts: behind the last step of a
    shorter one stands `pad`. Missing steps at the end of a series, by which some files pad it, are
    replaced likewise.

    References: Bagnall et al., "The UEA Multivariate Time Series Classification Archive, 2018",
    arXiv:1811.00075.
    """

    name = "timeseries"
    summary = "series of .ts or .arff files, any lengths, such as JapaneseVowels; needs data.path"
    fits = "a folder with NAME_TRAIN.ts and NAME_TEST.ts, or .arff files"

    subset: str | None = None
    """which set to read, where the folder holds several: JapaneseVowels"""
    pad: Literal["zero", "last"] = "zero"
    """what stands behind the end of a shorter series: zeros, or its last values"""

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether it is such a file, or a folder with some."""
        files = entries(path) if path.is_dir() else [path]
        return any(_looks_right(file) for file in files)

    def read(self, path: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        name, files = self._files(path)
        self.check_fits(sum(file.stat().st_size for file in files.values()), str(path))
        parts = {part: _READERS[file.suffix.lower()](file) for part, file in files.items()}
        series = {part: held.trimmed(str(files[part])) for part, held in parts.items()}
        lengths = [values.shape[1] for some in series.values() for values in some]
        longest = max(lengths)
        count = len(lengths) * longest * len(series["train"][0])
        self.check_fits(4 * count, f"{path}, whose longest series has {longest} steps,")
        raw = {
            part: Raw(self._padded(some, longest, str(files[part])), parts[part].targets)
            for part, some in series.items()
        }
        notes = []
        if min(lengths) < longest:
            behind = "zeros" if self.pad == "zero" else "their last values"
            notes.append(
                f"series have from {min(lengths)} to {longest} steps; {behind} stand behind those "
                "that are shorter"
            )
        meaning = dataclasses.replace(self.meaning, layout="NLC", names=_names(parts))
        return make_dataset(name, raw, meaning, where=str(path), notes=notes)

    def _files(self, path: Path) -> tuple[str, dict[str, Path]]:
        """Returns the name of a set, and its files by part."""
        if path.is_file() and not _looks_right(path):
            raise UserError(f"{path} is not {self.fits}")
        folder = path.parent if path.is_file() else path
        found: dict[str, dict[str, Path]] = {}
        for file in entries(folder):
            match = _NAME.fullmatch(file.stem)
            if match and _looks_right(file):
                part = part_of(match["part"])
                assert part is not None
                # In order of names .arff comes before .ts, which is read where both are there.
                found.setdefault(match["subset"], {})[part] = file
        if path.is_file():
            match = _NAME.fullmatch(path.stem)
            if match is None:
                return path.stem, {"train": path}
            same = {p: f for p, f in found[match["subset"]].items() if f.suffix == path.suffix}
            found = {match["subset"]: same}
        if not found:
            raise UserError(f"{path} holds no {self.fits.removeprefix('a folder with ')}")
        if self.subset is None and len(found) > 1:
            raise UserError(
                f"{path} holds several sets: {', '.join(found)}; name one with --data.args subset "
                "NAME"
            )
        name = choose(self.subset or next(iter(found)), found, f"subset of {path}")
        if "train" not in found[name]:
            raise UserError(f"{path} lacks {name}_TRAIN beside {found[name]['test'].name}")
        return name, found[name]

    def _padded(self, series: list[np.ndarray], longest: int, where: str) -> np.ndarray:
        channels = len(series[0])
        padded = np.zeros((len(series), longest, channels), np.float32)
        with np.errstate(over="ignore"):  # what is too large is refused as not finite
            for index, values in enumerate(series):
                steps = values.shape[1]
                padded[index, :steps] = values.T
                if self.pad == "last":
                    padded[index, steps:] = values[:, -1]
        return padded


def _names(parts: dict[str, ArchivePart]) -> tuple[str, ...] | None:
    """Returns the classes in the order of the file, where it names all that there are."""
    names = parts["train"].names
    used = {str(target) for part in parts.values() for target in part.targets}
    return names if names and used <= set(names) and len(set(names)) == len(names) else None


def _looks_right(path: Path) -> bool:
    """Returns whether a file is called `.ts` or `.arff` and begins as one; other files do not."""
    if path.suffix.lower() not in _READERS or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"@", b"#", b"%")
