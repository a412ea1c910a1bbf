"""Bayesian additive regression: one weight per decision and option, in closed form.

Legend: `N` observed networks, `D` decisions, `K` options of the widest decision, `M` metrics,
`F` weights.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import Observations, checked_metrics
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions, as_drawn
from hwnas_jax.cost.models.gaussian_regression import Regression, regress
from hwnas_jax.cost.models.interaction_kernel import AdditiveKernel, timed_table
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.spaces.base import Choices, Forms
from hwnas_jax.spaces.core.mixture import effective, marginals

_LEAST_NETWORKS = 2
_FIELDS = ("features", "mean", "root", "noise")


@COST_MODELS.add
@functools.partial(
    jax.tree_util.register_dataclass, data_fields=list(_FIELDS), meta_fields=["metrics", "space"]
)
@dataclasses.dataclass(frozen=True)
class BayesianAdditive(ExactModel, FittedModel):
    """Cost as a constant plus a weight for each option of each decision, normal a priori.

    In spaces where different architectures build the same network, each option has a second weight
    that counts only where the option reaches the output. Where operations were timed, their sum is
    one more feature, and the weights explain what is left. The evidence decides how far the weights
    may be from zero and how large the noise is. The posterior is normal, and its mean is linear in
    the gates.

    References: Bishop, "Pattern Recognition and Machine Learning", 2006 (sections 3.3 and 3.5).

    Attributes:
      features: `float32[M, D, K, S]`, columns summed over what runs: shared options, timed sums.
      mean: `float32[M, F]`, of the weights: the constant, `S` columns, then `D * K` for each view.
      root: `float32[M, F, F]`; their covariance is `root @ root.T`.
      noise: `float32[M, 2]`, standard deviation of a measurement: as a share, and absolute.
      metrics: what is predicted.
      space: the search space, whose canonical forms are a view.
    """

    features: jax.Array
    mean: jax.Array
    root: jax.Array
    noise: jax.Array
    metrics: tuple[str, ...]
    space: Choices

    name: ClassVar[str] = "bayesian"
    summary: ClassVar[str] = "Bayesian regression with a weight per decision and option"
    knows_uncertainty = True

    @classmethod
    def fit(
        cls,
        space: Choices,
        observations: Observations,
        options: NoOptions | None = None,
        *,
        seed: int = 0,
    ) -> "BayesianAdditive":
        """Fits every metric observed.

        Raises:
          UserError: with fewer than two networks, or a value that is not positive.
        """
        del options
        observations.require(_LEAST_NETWORKS, "the Bayesian additive model")
        rows = observations.architectures
        timed = [timed_table(space, observations, metric) for metric in observations.metrics]
        kernels = [AdditiveKernel(space, 1, table) for table in timed]
        width = max(sum(t.shape[-1] for t in kernel.features()) for kernel in kernels)
        columns = []
        for kernel, values in zip(kernels, observations.values.values(), strict=True):
            scale = float(values.mean())
            parts = np.array(list(kernel.parts(rows, rows)))
            fit = regress(parts, values / scale, names=kernel.names, seed=seed)
            columns.append(_weights(kernel, fit, scale, rows, width))
        stacked = zip(_FIELDS, zip(*columns, strict=True), strict=True)
        arrays = {name: jnp.asarray(np.stack(column), jnp.float32) for name, column in stacked}
        return cls(**arrays, metrics=observations.metrics, space=space)

    @classmethod
    def reads_operations(cls, space: Choices) -> bool:
        return True

    def _design(self, weight: jax.Array, forms: tuple[Forms, ...]) -> jax.Array:
        """Returns the expected features for each metric, `float32[M, F]`."""
        chex.assert_shape(weight, self.space.mask.shape)
        views, metrics = [marginals(forms, weight.shape)], len(self.metrics)
        if self.space.mixes_canonical:
            views.append(marginals(self.space.canonical_mixture(weight), weight.shape))
        sums = jnp.einsum("dk,mdks->ms", effective(self.space, weight), self.features)
        flat = jnp.concatenate([view.reshape(-1) for view in views])
        shared = jnp.broadcast_to(flat, (metrics, len(flat)))
        return jnp.concatenate([jnp.ones((metrics, 1)), sums, shared], axis=1)

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        means = (self._design(weight, forms) * self.mean).sum(axis=1)
        return dict(zip(self.metrics, means, strict=True))

    def std(self, weight: jax.Array) -> Costs:
        weight = jnp.asarray(weight)
        design = self._design(weight, as_drawn(weight))
        known = (jnp.einsum("mf,mfg->mg", design, self.root) ** 2).sum(axis=1)
        noise = (self.noise[:, 0] * (design * self.mean).sum(axis=1)) ** 2 + self.noise[:, 1] ** 2
        return dict(zip(self.metrics, jnp.sqrt(known + noise), strict=True))

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays = {name: getattr(self, name) for name in _FIELDS}
        return {"metrics": list(self.metrics)}, arrays

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> "BayesianAdditive":
        metrics = checked_metrics(values.get("metrics"))
        count, wide = len(metrics), (space.num_decisions, space.num_options)
        columns = np.shape(arrays.get("features", 0))[-1:] or (0,)
        views = 1 + AdditiveKernel(space, 1).has_canonical
        weights = 1 + columns[0] + views * wide[0] * wide[1]
        shapes = (
            (count, *wide, *columns), (count, weights), (count, weights, weights), (count, 2),
        )  # fmt: skip
        return cls(
            **{name: jnp.asarray(check_array(arrays, name, shape))
               for name, shape in zip(_FIELDS, shapes, strict=True)},
            metrics=metrics, space=space,
        )  # fmt: skip


def _weights(
    kernel: AdditiveKernel, fit: Regression, scale: float, rows: np.ndarray, width: int
) -> tuple[np.ndarray, ...]:
    """Returns features, posterior mean and root, and noise of one metric."""
    decisions = rows.shape[1]
    variances = dict(zip(kernel.names, fit.variances, strict=True))
    tables = kernel.features()
    linear = [name for name in kernel.names if name in ("shared", "timed")]
    features = np.concatenate(
        [*tables, np.zeros((*tables[0].shape[:2], 0))] if tables else
        [np.zeros((decisions, kernel.space.num_options, 0))], axis=-1,
    )  # fmt: skip
    padding = width - features.shape[-1]
    features = np.pad(features, ((0, 0), (0, 0), (0, padding)))
    prior = [variances["constant"]]
    for name, table in zip(linear, tables, strict=True):
        prior += [variances[name]] * table.shape[-1]
    prior += [0.0] * padding
    eye = np.eye(kernel.space.num_options)
    views = [eye[view] for view in kernel.views(rows)]
    for prefix, view in zip(("", "canonical "), views, strict=False):
        prior += [variances[prefix + "single"] / decisions] * view[0].size
    sums = np.einsum("ndk,dks->ns", kernel.effective(rows), features)
    flat = [view.reshape(len(rows), -1) for view in views]
    design = np.concatenate([np.ones((len(rows), 1)), sums, *flat], axis=1)
    variance = np.array(prior)
    seen = variance[:, None] * design.T
    covariance = np.diag(variance) - seen @ fit.precision @ seen.T
    values, vectors = np.linalg.eigh(covariance)
    root = fit.spread * vectors * np.sqrt(np.maximum(values, 0))
    noise = fit.spread * np.array([fit.relative, fit.absolute * scale])
    return features, scale * seen @ fit.alpha, scale * root, noise
