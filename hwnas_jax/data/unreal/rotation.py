"""Real images turned by quarters of a circle: which turn was it?"""

import dataclasses

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.remade import Pretext
from hwnas_jax.errors import UserError


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Rotation(Pretext):
    """The images of another source, each turned by 0, 90, 180 or 270 degrees to the left.

    Images must be square. They are not mirrored at random: one that was turned to the left would
    look like a mirrored one that was turned to the right.

    References: Gidaris et al., "Unsupervised Representation Learning by Predicting Image
    Rotations", ICLR 2018, where all four versions of an image are used (`repeats` 4).
    """

    name = "rotation"
    summary = "the images of another source (option of), turned; by how many quarters: 4 classes"

    def names(self) -> tuple[str, ...]:
        """Returns the turns in degrees."""
        return ("0", "90", "180", "270")

    def check(self, real: Dataset) -> None:
        """Refuses images that are not square."""
        height, width, _ = real.input_shape
        if height != width:
            raise UserError(
                f"{self.name} needs square images, since an image that is turned must keep its "
                f"shape; those of {real.name} have {height}x{width} pixels"
            )

    def change(self, images: np.ndarray, number: int) -> np.ndarray:
        """Returns images turned to the left by `number` quarters."""
        return np.rot90(images, number, axes=(1, 2))
