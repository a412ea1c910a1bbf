"""Data sets of Hugging Face `datasets`: from a folder that the library saved, or by name."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.inputs import Layout
from hwnas_jax.data.own.parts import Raw, make_dataset
from hwnas_jax.data.own.picture_source import PicturePart, PictureSource
from hwnas_jax.data.own.pictures import Picture
from hwnas_jax.data.own.roles import part_of
from hwnas_jax.errors import UserError, choose

_ARRAYS = ("Array2D", "Array3D", "List", "Sequence")
_TARGETS = ("label", "labels", "fine_label", "class", "target", "targets", "y")


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class HuggingFace(PictureSource):
    """A set that `datasets` has saved with `save_to_disk`, or one that it downloads by its name.

    Inputs are the column of pictures, or of arrays, and targets that of class labels. Where a set
    has several, `inputs` and `targets` name them.
    """

    name = "hugging_face"
    summary = "a Hugging Face data set, saved in data.path or by its name; extra `huggingface`"
    fits = "a folder that Hugging Face datasets saved with save_to_disk"

    dataset: str | None = None
    """name on the hub, in place of data.path, such as ylecun/mnist"""
    config: str | None = None
    """which configuration of that set"""
    inputs: str | None = None
    """column of the inputs; None takes the only one of pictures or arrays"""
    targets: str | None = None
    """column of the targets; None takes the only one of class labels, or one called label, class,
    target or the like"""
    layout: Layout | None = None
    """of a column of arrays: what their axes mean, N for the examples first"""

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether the library saved a set in the folder."""
        return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()

    def load(self) -> Dataset:
        """Returns the data set; errors as of the contract."""
        if self.dataset is None:
            return super().load()
        if self.path is not None:
            raise UserError("data.path and the option dataset name two sets; give one of them")
        with _named_errors(f"the Hugging Face data set {self.dataset!r}"):
            found = _library().load_dataset(self.dataset, self.config)
        return self._dataset_of(found, Path(self.dataset))

    def read(self, path: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        if not self.holds(path):
            raise UserError(f"{path} is not {self.fits}")
        with _named_errors(str(path)):
            found = _library().load_from_disk(str(path))
        return self._dataset_of(found, path)

    def _dataset_of(self, found: Any, path: Path) -> Dataset:
        splits = dict(found) if isinstance(found, dict) else {"train": found}
        parts = {str(part_of(name)): split for name, split in splits.items() if part_of(name)}
        left = [name for name in splits if part_of(name) is None]
        notes = [f"not read, being neither train, validation nor test: {', '.join(left)}"]
        if "train" not in parts:
            raise UserError(f"{path} has no split train; it has {', '.join(splits)}")
        features = parts["train"].features
        for part, split in parts.items():
            if split.features != features:
                raise UserError(f"{path}: the columns of {part} differ from those of train")
        inputs, targets = self._columns(features, str(path))
        names = getattr(features[targets], "names", None)
        meaning = dataclasses.replace(self.meaning, names=names)
        with _named_errors(str(path)):
            labels = {part: _column(split, targets) for part, split in parts.items()}
        said = notes if left else []
        if _is(features[inputs], "Image"):
            with _named_errors(str(path)):
                pictures = {
                    part: PicturePart(_pictures(split, inputs, f"{path}, {part}"), labels[part])
                    for part, split in parts.items()
                }
            return self.dataset_of(path, pictures, meaning=meaning, notes=said)
        self.check_fits(sum(split.data.nbytes for split in parts.values()), str(path))
        with _named_errors(str(path)):
            raw = {part: Raw(_column(split, inputs), labels[part]) for part, split in parts.items()}
        meaning = dataclasses.replace(meaning, layout=self.layout)
        return make_dataset(self.called(path), raw, meaning, where=str(path), notes=said)

    def _columns(self, features: Mapping[str, Any], where: str) -> tuple[str, str]:
        """Returns the columns of inputs and of targets."""
        pictures = [name for name, feature in features.items() if _is(feature, "Image")]
        arrays = [name for name, feature in features.items() if _is(feature, *_ARRAYS)]
        classes = [name for name, feature in features.items() if _is(feature, "ClassLabel")]
        called = [name for name in features if name.lower() in _TARGETS]
        inputs = _pick(self.inputs, [pictures, arrays], features, "inputs", where)
        rest = [[name for name in some if name != inputs] for some in (called, classes)]
        return inputs, _pick(self.targets, rest[::-1], features, "targets", where)


def _pick(
    wanted: str | None, several: Sequence[Sequence[str]], features: Mapping[str, Any], option: str,
    where: str,
) -> str:  # fmt: skip
    """Returns the column asked for, or the only one of the first kind that there is."""
    if wanted is not None:
        return choose(wanted, features, f"column of {where}")
    found: Sequence[str] = next((names for names in several if names), ())
    if len(found) != 1:
        columns = ", ".join(f"{name} ({type(f).__name__})" for name, f in features.items())
        raise UserError(
            f"{where}: {'several columns' if found else 'no column'} may be the {option}; there "
            f"are {columns}. Name one with --data.args {option} COLUMN"
        )
    return found[0]


def _is(feature: Any, *kinds: str) -> bool:
    return type(feature).__name__ in kinds


def _column(split: Any, name: str) -> np.ndarray:
    return np.asarray(split.select_columns([name]).with_format("numpy")[:][name])


def _pictures(split: Any, name: str, where: str) -> list[Picture]:
    undecoded = split.select_columns([name]).cast_column(name, _library().Image(decode=False))
    found = []
    for number, row in enumerate(undecoded):
        content, place = row[name], f"{where}: picture {number} (counted from 0)"
        if content is None:
            raise UserError(f"{place} is missing")
        found.append(Picture(place, content["bytes"] or Path(content["path"])))
    return found


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "Hugging Face data sets need the package datasets: pip install 'hwnas_jax[huggingface]'"
        ) from error
    datasets.disable_progress_bars()
    return datasets


@contextlib.contextmanager
def _named_errors(where: str) -> Iterator[None]:
    """Turns whatever the library raises into one message."""
    try:
        yield
    except UserError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        kind = type(error).__name__
        raise UserError(f"cannot read {where}: what was saved there is damaged ({kind})") from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else "no message"
        raise UserError(f"cannot read {where}: {type(error).__name__}: {reason}") from error
