"""A Gaussian process over architectures whose mean is exact for relaxed architectures too.

Legend: `N` observed networks, `D` decisions, `K` options of the widest decision, `M` metrics,
`V` views of an architecture, `P` forms in the mixture of a view.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import Observations, checked_metrics
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions, as_drawn
from hwnas_jax.cost.models.gaussian_regression import Regression, regress
from hwnas_jax.cost.models.interaction_kernel import AdditiveKernel, make_kernel, timed_table
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import expectation, is_enumerable
from hwnas_jax.cost.models.pairwise import PairwiseForm
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.spaces.base import Choices, Forms

_LEAST_NETWORKS = 4
_LEAST_SHARE = 0.01
_CHUNK = 2048


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
    def build(
        cls, space: Choices, kernels: list[AdditiveKernel], observed: np.ndarray,
        fits: list[Regression], scales: list[float],
    ) -> "TabulatedForm":  # fmt: skip
        """Computes both tables from the regressions of the metrics."""
        architectures = space.enumerate()
        shape = (len(fits), *(space.num_options,) * space.num_decisions)
        means, variances = np.zeros(shape), np.zeros(shape)
        for metric, (kernel, fit, scale) in enumerate(zip(kernels, fits, scales, strict=True)):
            for start in range(0, len(architectures), _CHUNK):
                some = architectures[start : start + _CHUNK]
                mean, variance = posterior(kernel, fit, observed, some)
                place = (metric, *some.T)
                means[place], variances[place] = scale * mean, scale**2 * variance
        return cls(jnp.asarray(means, jnp.float32), jnp.asarray(variances, jnp.float32))

    def at_least(self, lowest: list[float]) -> "TabulatedForm":
        """Returns the form with no mean below the lowest of its metric, as costs are positive."""
        each = jnp.asarray(lowest, jnp.float32).reshape(-1, *(1,) * (self.means.ndim - 1))
        return dataclasses.replace(self, means=jnp.maximum(self.means, each))

    def arrays(self) -> dict[str, jax.Array]:
        """Returns the arrays by name."""
        return {"means": self.means, "variances": self.variances}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray], space: Choices, metrics: int) -> "TabulatedForm":
        """Builds the form from what `arrays` returned."""
        shape = (metrics, *(space.num_options,) * space.num_decisions)
        return cls(*(jnp.asarray(check_array(arrays, n, shape)) for n in ("means", "variances")))


def posterior(
    kernel: AdditiveKernel, fit: Regression, observed: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean cost of architectures and the variance of an observation of it.

    Args:
      kernel: between architectures.
      fit: to the observed ones.
      observed: `int32[N, D]`.
      asked: `int32[n, D]`.

    Returns:
      Two `float64[n]`, in units of the mean observation and their squares.
    """
    across = kernel.weighted(fit.variances, asked, observed)
    mean = across @ fit.alpha
    prior = fit.variances @ kernel.diagonal(asked)
    variance = prior - ((across @ fit.precision) * across).sum(axis=1)
    return mean, fit.spread**2 * (np.maximum(variance, 0) + fit.noise(mean))


@COST_MODELS.add
@functools.partial(jax.tree_util.register_dataclass, data_fields=["form"], meta_fields=["metrics"])
@dataclasses.dataclass(frozen=True)
class GaussianProcess(ExactModel, FittedModel):
    """Cost as a sum of effects of single decisions, pairs and triples, each with a normal prior.

    The prior says how much the effects of each order vary, for each view of an architecture: as it
    is written, and without what cannot reach the output. The evidence chooses these variances and
    the noise, which has a part relative to the value and an absolute part. The posterior mean is
    linear in every row of the gates, so on relaxed gates it *is* the mean over independent draws,
    and its gradient is exact.

    A small space is tabulated, with effects up to triples. Where the space knows them, the
    relations that a compiler leaves between operations have effects too. No architecture is
    predicted to cost less than a hundredth of the least observed cost. A larger space has effects
    up to pairs.

    The standard deviation is that of one measurement. On relaxed gates it is the root of the mean
    variance in a tabulated space, and that of the mean in a larger one.

    References: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006; Duvenaud,
    Nickisch and Rasmussen, "Additive Gaussian Processes", 2011.

    Attributes:
      form: the posterior.
      metrics: what is predicted.
    """

    form: Any
    metrics: tuple[str, ...]

    name: ClassVar[str] = "gaussian"
    summary: ClassVar[str] = "Gaussian process over decisions, pairs and triples"
    label: ClassVar[str] = "Gaussian process"
    most_networks: ClassVar[int | None] = 2000
    knows_uncertainty = True

    @classmethod
    def fit(
        cls,
        space: Choices,
        observations: Observations,
        options: NoOptions | None = None,
        *,
        seed: int = 0,
    ) -> "GaussianProcess":
        """Fits every metric observed.

        Raises:
          UserError: with too few networks or too many, or a value that is not positive.
        """
        del options
        observations.require(_LEAST_NETWORKS, "the Gaussian process")
        cls.check_count(len(observations))
        small = is_enumerable(space)
        kernels, fits, scales = [], [], []
        for metric, values in observations.values.items():
            timed = timed_table(space, observations, metric)
            kernel = make_kernel(space, timed, tabulated=small)
            scale = float(values.mean())
            parts = np.array(list(kernel.parts(*[observations.architectures] * 2)))
            kernels.append(kernel)
            scales.append(scale)
            fits.append(regress(parts, values / scale, names=kernel.names, seed=seed))
        kind = TabulatedForm if small else PairwiseForm
        form = kind.build(space, kernels, observations.architectures, fits, scales)
        if isinstance(form, TabulatedForm):
            lowest = [_LEAST_SHARE * float(v.min()) for v in observations.values.values()]
            form = form.at_least(lowest)
        return cls(form, observations.metrics)

    @classmethod
    def reads_operations(cls, space: Choices) -> bool:
        # In a tabulated space, counts of shared options and relations tell as much.
        return not is_enumerable(space)

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        return dict(zip(self.metrics, self.form.mean(weight, forms), strict=True))

    def std(self, weight: jax.Array) -> Costs:
        chex.assert_rank(weight, 2)
        deviations = jnp.sqrt(self.form.variance(jnp.asarray(weight)))
        return dict(zip(self.metrics, deviations, strict=True))

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"metrics": list(self.metrics)}, self.form.arrays()

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> "GaussianProcess":
        names = checked_metrics(values.get("metrics"))
        kind = TabulatedForm if is_enumerable(space) else PairwiseForm
        return cls(kind.load(arrays, space, len(names)), names)
