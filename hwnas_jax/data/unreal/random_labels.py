"""Real inputs whose labels are drawn at random."""

import dataclasses
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.remade import PARTS, Remade
from hwnas_jax.errors import UserError

CHANCE = "labels are random in the test part too, so a test accuracy is chance for every network"


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class RandomLabels(Remade):
    """The inputs of another source with a label `int32[N]` for each, drawn once and kept.

    Labels are independent of each other and of the inputs, and every class is equally likely. What
    a network can learn of them is which input has which, so that a search for the network that
    learns fastest still has something to go by.

    References: Zhang et al., "Neural Architecture Search with Random Labels", CVPR 2021.
    """

    name = "random_labels"
    summary = "the images of another source (option of), each with a label drawn at random"

    classes: Annotated[int, Ge(2)] | None = None
    """how many; None takes as many as the source `of` has"""

    def remake(self, real: Dataset) -> Dataset:
        """Returns the inputs with random labels.

        Raises:
          UserError: when the data have no classes and `classes` is left out.
        """
        if self.classes is None and real.task != "classification":
            raise UserError(
                f"{self.name}: {real.name} is made for the task {real.task} and has no classes, so "
                "the option classes must say how many random labels there are"
            )
        names = real.output_names
        if self.classes is not None:
            names = tuple(str(number) for number in range(self.classes))
        targets: dict[str, Any] = {
            f"{part}_targets": drawn_labels(
                len(getattr(real, f"{part}_inputs")), len(names), self.draws(part)
            )
            for part in PARTS
        }
        notes = (*real.notes, f"{self.name}: the images are those of {real.name}; {CHANCE}")
        return dataclasses.replace(
            real, name=self.name, output_names=names, task="classification", notes=notes, **targets
        )


def drawn_labels(count: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Returns independent labels, every class equally likely, `int32[N]`."""
    return rng.integers(classes, size=count, dtype=np.int32)
