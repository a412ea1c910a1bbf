"""A posterior that is kept as a table of all architectures of a small space.

Legend: `N` architectures, `K` options of the widest decision, `M` metrics.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.base import as_drawn
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import expectation
from hwnas_jax.spaces.base import Choices, Forms

_CHUNK = 2048

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Returns means and variances, `float64[N]` each, of architectures `int32[N, D]`."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["means", "variances"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class TabulatedForm:
    """The posterior of every architecture of a small space.

    Attributes:
      means: `float32[M, K, ..., K]`.
      variances: `float32[M, K, ..., K]`.
    """

    means: jax.Array
    variances: jax.Array

    def mean(self, weight: jax.Array, forms: Sequence[Forms]) -> jax.Array:
        """Returns the expected posterior mean, `float32[M]`, as `ExactModel.expected` asks."""
        del weight
        return jax.vmap(lambda table: expectation(table, forms))(self.means)

    def variance(self, weight: jax.Array) -> jax.Array:
        """Returns the expected posterior variance over independent draws, `float32[M]`."""
        forms = as_drawn(weight)
        return jax.vmap(lambda table: expectation(table, forms))(self.variances)

    @classmethod
    def of(cls, space: Choices, posteriors: Sequence[Predict]) -> "TabulatedForm":
        """Asks a posterior for each metric about all architectures of the space."""
        architectures = space.enumerate()
        shape = (len(posteriors), *(space.num_options,) * space.num_decisions)
        means, variances = np.zeros(shape), np.zeros(shape)
        for metric, predict in enumerate(posteriors):
            for start in range(0, len(architectures), _CHUNK):
                some = architectures[start : start + _CHUNK]
                place = (metric, *some.T)
                means[place], variances[place] = predict(some)
        return cls(jnp.asarray(means, jnp.float32), jnp.asarray(variances, jnp.float32))

    def at_least(self, lowest: Sequence[float]) -> "TabulatedForm":
        """Returns the form with no mean below the lowest of its metric, as costs are positive."""
        each = jnp.asarray(lowest, jnp.float32).reshape(-1, *(1,) * (self.means.ndim - 1))
        return dataclasses.replace(self, means=jnp.maximum(self.means, each))

    def arrays(self) -> dict[str, jax.Array]:
        """Returns the arrays by name."""
        return {"means": self.means, "variances": self.variances}

    @classmethod
    def load(
        cls, arrays: dict[str, np.ndarray], space: Choices, metrics: int, *, least: float = 0.0
    ) -> "TabulatedForm":
        """Builds the form from what `arrays` returned; no mean may be below `least`."""
        shape = (metrics, *(space.num_options,) * space.num_decisions)
        limits = {"means": least, "variances": 0.0}
        return cls(*(jnp.asarray(check_array(arrays, n, shape, limits[n])) for n in limits))
