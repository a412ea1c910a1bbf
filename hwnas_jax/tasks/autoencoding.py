"""The input itself.

Legend: `B` batch, `N` examples, `H, W` positions, `C` channels.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task
from hwnas_jax.tasks.similarity import similarity_to, ssim


@TASKS.add
@dataclasses.dataclass(frozen=True)
class Autoencoding(Task):
    """Images that a network gives back as it got them, or whole where it got them with a defect.

    Targets are images `float32[N, H, W, C]` with values from 0 to 1. The metric is their structural
    similarity to the outputs, under a window of 11x11 positions or the largest that fits a smaller
    image, as in TransNAS-Bench-101 (Duan et al., CVPR 2021).
    """

    name = "autoencoding"
    summary = "images given back: squared error or structural similarity (SSIM)"
    metric = "ssim"
    unit = ""
    dense = True

    objective: Literal["mse", "ssim"] = "mse"
    """the loss: the mean squared error, or one minus the structural similarity"""

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not images of values from 0 to 1."""
        if (
            targets.ndim != 4
            or targets.shape[-1] != num_outputs
            or not np.issubdtype(targets.dtype, np.floating)
        ):
            raise UserError(
                f"task {self.name} needs targets float32[N, H, W, {num_outputs}], an image of "
                f"{num_outputs} channels; got {targets.dtype}{list(targets.shape)}"
            )
        low, high = float(targets.min()), float(targets.max())
        if low < 0 or high > 1:
            raise UserError(
                f"task {self.name} needs targets with values from 0 to 1; they run from {low:g} to "
                f"{high:g}, so scale them"
            )

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean squared error, or one minus the mean structural similarity."""
        if self.objective == "mse":
            return jnp.square(outputs - targets).mean()
        return 1 - ssim(outputs, targets).mean()

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the structural similarity and the squared error."""
        error = jnp.square(outputs - targets).sum()
        return {
            "ssim": (ssim(outputs, targets).sum(), jnp.float32(len(targets))),
            "mse": (error, jnp.float32(outputs.size)),
        }

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the similarity of the mean image, which has the least squared error of all."""
        del num_outputs
        return similarity_to(targets.mean(0, np.float64), targets)

    def predicted(self, outputs: jax.Array) -> jax.Array:
        """Returns the images, `float32[B, H, W, C]`."""
        return outputs
