"""A Gaussian process over architectures whose mean is exact for relaxed architectures too.

Legend: `N` observed networks, `D` decisions, `K` options of the widest decision, `M` metrics,
`V` views of an architecture, `P` forms in the mixture of a view.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import Observations, checked_metrics
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions
from hwnas_jax.cost.models.gaussian_regression import Regression, regress
from hwnas_jax.cost.models.interaction_kernel import AdditiveKernel, make_kernel, timed_table
from hwnas_jax.cost.models.multilinear import is_enumerable
from hwnas_jax.cost.models.pairwise import PairwiseForm
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.cost.models.tabulated import TabulatedForm
from hwnas_jax.spaces.base import Choices, Forms

_LEAST_NETWORKS = 4
_LEAST_SHARE = 0.01


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


def _scaled(kernel, fit, scale, observed, asked):
    mean, variance = posterior(kernel, fit, observed, asked)
    return scale * mean, scale**2 * variance


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
        rows = observations.architectures
        if not small:
            form = PairwiseForm.build(space, kernels, rows, fits, scales)
            return cls(form, observations.metrics)
        each = [
            functools.partial(_scaled, kernel, fit, scale, rows)
            for kernel, fit, scale in zip(kernels, fits, scales, strict=True)
        ]
        lowest = [_LEAST_SHARE * float(v.min()) for v in observations.values.values()]
        return cls(TabulatedForm.of(space, each).at_least(lowest), observations.metrics)

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
