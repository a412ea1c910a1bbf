"""Real values at every position.

Legend: `B` batch, `N` examples, `H, W` positions, `O` outputs at each.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.tasks.base import TASKS, Sums
from hwnas_jax.tasks.standardised import Standardised

_CHUNK = 256
_ROUNDS, _CLOSE = 100, 1e-5


@TASKS.add
@dataclasses.dataclass(frozen=True)
class DenseRegression(Standardised):
    """Values at every position of an input, such as a solution on a grid: `float32[N, H, W, O]`.

    The relative L2 error is the mean over examples of `|predicted - target| / |target|`, Euclidean
    norms over all values of an example in their own units (Li et al., "Fourier Neural Operator for
    Parametric Partial Differential Equations", ICLR 2021; NAS-Bench-360 measures Darcy flow by it).
    The squared error beside it is in standard deviations of the training targets unless
    `standardise` is off.
    """

    name = "dense_regression"
    summary = "real values at every position: relative L2 error"
    dense = True

    metric: Literal["relative_l2", "mse"] = "relative_l2"  # type: ignore[misc]
    """the primary metric"""
    objective: Literal["mse", "relative_l2"] = "mse"
    """the loss that is learned by"""

    def check(self, targets: np.ndarray, num_outputs: int) -> None:
        """Refuses targets of another form, and a zero target where errors are divided by it."""
        super().check(targets, num_outputs)
        if "relative_l2" in (self.metric, self.objective):
            zero = np.flatnonzero(~targets.any(axis=(1, 2, 3)))
            if len(zero):
                raise UserError(
                    f"task {self.name}: the target of example {zero[0]} (counted from 0) is zero "
                    "everywhere, so its relative error is undefined; leave such examples out, or "
                    "choose task.args metric = mse and objective = mse"
                )

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Returns the mean squared error, or the mean relative error."""
        if self.objective == "mse":
            return jnp.square(self.scaled(targets) - outputs).mean()
        error, count = self._relative(outputs, targets)
        return error / jnp.maximum(count, 1.0)

    def _relative(self, outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the sum of relative errors, and of how many targets: those that are not zero."""
        size, error = _norm(targets), _norm(self.predicted(outputs) - targets)
        counts = size > 0
        relative = jnp.where(counts, error / jnp.where(counts, size, 1.0), 0.0)
        return relative.sum(), counts.sum().astype(jnp.float32)

    def sums(self, outputs: jax.Array, targets: jax.Array) -> Sums:
        """Returns the relative L2 error and the squared error."""
        error = jnp.square(self.scaled(targets) - outputs).sum()
        return {
            "relative_l2": self._relative(outputs, targets),
            "mse": (error, jnp.float32(outputs.size)),
        }

    def chance(self, targets: np.ndarray, num_outputs: int) -> float:
        """Returns the least error of the same map for every example.

        Of squared errors it is the mean map. Of relative errors it is found by Weiszfeld's
        iteration for the weighted geometric median, which goes down from the mean map.
        """
        del num_outputs
        if self.metric == "mse":
            return float(self.variance(targets).mean())
        flat = targets.reshape(len(targets), -1)
        size = _distances(flat, np.zeros(flat.shape[1]))
        guess, value = flat.mean(0, np.float64), np.inf
        for _ in range(_ROUNDS):
            distance = _distances(flat, guess)
            before, value = value, float((distance / size).mean())
            if value > (1 - _CLOSE) * before or not distance.all():
                break
            weight = 1 / (distance * size)
            guess = _weighted_sum(weight / weight.sum(), flat)
        return min(before, value)


def _norm(values: jax.Array) -> jax.Array:
    """Returns the Euclidean norm of every example, `float32[B]`; its gradient is zero at zero."""
    squares = jnp.square(values).sum(axis=tuple(range(1, values.ndim)))
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _distances(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Returns how far every row is from a point, `float64[N]`."""
    return np.concatenate(
        [np.sqrt(np.square(rows[part] - point).sum(1)) for part in _parts(len(rows))]
    )


def _weighted_sum(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the sum of rows times their weights, `float64[...]`."""
    return np.sum([weights[part] @ rows[part] for part in _parts(len(rows))], axis=0)


def _parts(count: int) -> list[slice]:
    """Returns where rows are taken from, some at a time: in double precision they are large."""
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
