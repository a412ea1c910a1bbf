"""The direction of the surface seen at every position.

Legend: `B` batch, `N` examples, `H, W` positions.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums, Task
from hwnas_jax.tasks.similarity import similarity_to, ssim

_LENGTH = 0.02
"""How far the length of a unit vector may be from one: files keep normals in 8 bits."""


@TASKS.add
@dataclasses.dataclass(frozen=True)
class SurfaceNormals(Task):
    """Unit vectors at every position; targets are `float32[N, H, W, 3]`.

    The outputs of a network are scaled to length one. A position whose target is the zero vector
    has no surface: it counts neither in the loss nor in the angle. The metric is the structural
    similarity of both maps, their components moved from -1..1 to 0..1, as in TransNAS-Bench-101
    (Duan et al., CVPR 2021); the mean angle between the vectors stands beside it.
    """

    name = "surface_normals"
    summary = "unit vectors at every position: cosine, structural similarity, mean angle"
    metric = "ssim"
    unit = ""
    dense = True

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets that are not unit vectors, or zero where there is no surface."""
        if (
            targets.ndim != 4
            or targets.shape[-1] != 3
            or num_outputs != 3
            or not np.issubdtype(targets.dtype, np.floating)
        ):
            raise UserError(
                f"task {self.name} needs targets float32[N, H, W, 3] and 3 outputs, the components "
                f"of a vector; got {targets.dtype}{list(targets.shape)} and {num_outputs} outputs"
            )
        lengths = np.sqrt(np.square(targets).sum(-1))
        there = lengths > 0
        if not there.any():
            raise UserError(
                f"task {self.name}: every target is the zero vector, so no position has a surface "
                "and the mean angle is undefined"
            )
        wrong = np.argwhere(there & (np.abs(lengths - 1) > _LENGTH))
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise UserError(
                f"task {self.name} needs unit vectors, or zero where there is no surface; example "
                f"{place[0]} (counted from 0) has one of length {lengths[place]:.4g} at "
                f"{list(place[1:])}"
            )

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean over all positions of one minus the cosine of the angle."""
        cosine, there = self._cosine(outputs, targets)
        return jnp.where(there, 1 - cosine, 0.0).mean()

    def _cosine(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the cosine at each position, and whether there is a surface, `[B, H, W]` each."""
        cosine = (self.predicted(outputs) * _unit(targets)).sum(-1)
        return cosine, jnp.square(targets).sum(-1) > 0

    def distillation(self, outputs: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
        """Returns the mean squared distance of the vectors, scaled to length one."""
        return super().distillation(self.predicted(outputs), self.predicted(teacher), temperature)

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the structural similarity, and the angle in degrees."""
        cosine, there = self._cosine(outputs, targets)
        angle = jnp.where(there, jnp.degrees(jnp.arccos(jnp.clip(cosine, -1.0, 1.0))), 0.0)
        similarity = ssim((self.predicted(outputs) + 1) / 2, (targets + 1) / 2)
        return {
            "ssim": (similarity.sum(), jnp.float32(len(targets))),
            "mean_angle_degrees": (angle.sum(), there.sum().astype(jnp.float32)),
        }

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the similarity of the map that points at each position in the mean direction."""
        del num_outputs
        mean = np.asarray(_unit(jnp.float32(targets.mean(0, np.float64))))
        return similarity_to((mean + 1) / 2, (targets + 1) / 2)

    def predicted(self, outputs: jax.Array) -> jax.Array:
        """Returns the outputs scaled to length one, `float32[B, H, W, 3]`."""
        return _unit(outputs)


def _unit(vectors: jax.Array) -> jax.Array:
    """Returns vectors scaled to length one; one of length zero stays as it is."""
    squares = jnp.square(vectors).sum(-1, keepdims=True)
    there = squares > 0
    return vectors * jnp.where(there, jax.lax.rsqrt(jnp.where(there, squares, 1.0)), 1.0)
