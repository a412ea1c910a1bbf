"""What all sources share that change the data of another source.

Legend: `N` examples, `V` versions of each image, `P` classes.
"""

import abc
import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from hwnas_jax.config import DataConfig
from hwnas_jax.data.base import Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.load import load_data
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part

PARTS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Remade(Source):
    """Changes the data that another source reads or makes; see each source for how."""

    of: str | None = None
    """the source that is changed, with its options behind commas: idx,subset=emnist-letters; None
    takes the one that reads `path`, or without a path the built-in digits"""
    path: str | None = None
    """file or folder that the source `of` reads"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share held out for the test where the source `of` has no test part"""
    seed: Annotated[int, Ge(0)] = 0
    """of everything that is drawn"""

    def real(self) -> Dataset:
        """Returns the data of the source `of`; errors as of `load_data`."""
        part = Part("") if self.of is None else Part.parse(self.of)
        config = DataConfig(
            name=part.name or None, args=part.args, path=self.path,
            test_fraction=self.test_fraction,
        )  # fmt: skip
        path = None if self.path is None else Path(self.path).expanduser()
        changed = path.stat().st_mtime_ns if path is not None and path.exists() else 0
        return _read(json.dumps(dataclasses.asdict(config)), changed)

    def load(self) -> Dataset:
        """Returns what `remake` makes of the data of the source `of`; errors as of both."""
        return self.remake(self.real())

    @abc.abstractmethod
    def remake(self, real: Dataset) -> Dataset:
        """Returns changed data.

        Args:
          real: what the source `of` returned; it stays as it is.

        Raises:
          UserError: when they cannot be changed so.
        """

    def draws(self, part: str) -> np.random.Generator:
        """Returns the numbers drawn for a part, which do not depend on the size of the other."""
        return np.random.default_rng([self.seed, PARTS.index(part)])


@functools.lru_cache(maxsize=1)
def _read(config: str, changed: int) -> Dataset:
    """Returns a data set, which is kept, since several sources may change the same one in turn.

    Args:
      config: a `DataConfig` as JSON.
      changed: when the file was written: what changes is read again.
    """
    del changed
    return load_data(DataConfig(**json.loads(config)))


@dataclasses.dataclass(frozen=True)
class Pretext(Remade):
    """Classes that need no annotation: which of `P` known changes was made to an image.

    Every class has as many images as the others, to within one. The real labels are not looked at.
    Where there are several versions of an image, some may be in the part that is trained on and
    others in the part that is held out of it for validation; train and test part share no image.

    Attributes:
      moves: whether a changed image may be shifted and mirrored and is still of its class.
    """

    moves: ClassVar[bool] = False

    repeats: Annotated[int, Gt(0)] = 1
    """versions made of each image, every one of another class"""

    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Returns the names of the `P` classes."""

    @abc.abstractmethod
    def check(self, real: Dataset) -> None:
        """Raises UserError when the images cannot be changed so; says which can."""

    @abc.abstractmethod
    def change(self, images: np.ndarray, number: int) -> np.ndarray:
        """Returns images `[N, H, W, C]` as those of class `number`; the type stays the same."""

    def remake(self, real: Dataset) -> Dataset:
        """Returns the changed images with the numbers of their classes.

        Raises:
          UserError: when the images cannot be changed so, or there are fewer classes than versions.
        """
        names = self.names()
        if self.repeats > len(names):
            raise UserError(
                f"{self.name}: repeats = {self.repeats} versions of an image must be of as many "
                f"classes; there are {len(names)}, so at most {len(names)} are allowed"
            )
        _images_needed(self.name, real)
        self.check(real)
        made: dict[str, Any] = {}
        for part in PARTS:
            images = getattr(real, f"{part}_inputs")
            first = balanced(len(images), len(names), self.draws(part))
            labels = np.concatenate([first + version for version in range(self.repeats)])
            labels = (labels % len(names)).astype(np.int32)
            images = np.tile(images, (self.repeats, 1, 1, 1))
            for number in range(len(names)):
                rows = labels == number
                images[rows] = self.change(images[rows], number)
            made[f"{part}_inputs"], made[f"{part}_targets"] = images, labels
        note = f"{self.name}: the images are those of {real.name}, their labels are not used"
        return Dataset(
            self.name, **made, output_names=names, notes=(*real.notes, note), movable=self.moves
        )


def balanced(count: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Returns classes in random order, each as often as the others to within one, `int32[N]`."""
    return rng.permutation(np.arange(count, dtype=np.int32) % classes)


def _images_needed(name: str, real: Dataset) -> None:
    """Raises UserError when the inputs are sequences and no images."""
    if real.is_sequence:
        raise UserError(
            f"{name} changes images, but the inputs of {real.name} are sequences of the length "
            f"{real.input_shape[1]}"
        )
