"""Bayesian additive regression: one weight per decision and option, in closed form.

Legend: `N` observed networks, `D` decisions, `K` options of the widest decision, `M` metrics,
`F` weights.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.files.observations import Observations, checked_metrics
from hwnas_jax.cost.models.gaussian_regression import Regression, regress, starts
from hwnas_jax.cost.models.interaction_kernel import Kernel, timed_table
from hwnas_jax.cost.models.model_file import check_array, write_model
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.mixture import effective, marginals

_LEAST_NETWORKS = 2
_FIELDS = ("features", "mean", "root", "noise")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=list(_FIELDS), meta_fields=["metrics", "space"]
)
@dataclasses.dataclass(frozen=True)
class BayesianAdditive:
    """Cost as a constant plus a weight per decision and option, normal a priori.

    In spaces where different architectures build the same network, options have a second weight
    that counts only where they reach the output. Where operations were timed, their sum is one
    more feature, so that the weights are what is left to explain. How far the weights stray from
    zero and how large the noise is, are chosen by the evidence. The posterior is normal; its mean
    is linear in the gates, and exact for relaxed architectures.

    References: Bishop, "Pattern Recognition and Machine Learning", 2006 (sections 3.3 and 3.5).

    Attributes:
      features: `float32[M, D, K, S]`, columns summed over what runs: shared options, timed sums.
      mean: `float32[M, F]`, of the weights: constant, `S` columns, then `D * K` per view.
      root: `float32[M, F, F]`, a square root of their covariance: `root @ root.T`.
      noise: `float32[M, 2]`, standard deviation of a measurement as a share and absolute.
      metrics: what is predicted.
      space: whose canonical forms are seen.
    """

    features: jax.Array
    mean: jax.Array
    root: jax.Array
    noise: jax.Array
    metrics: tuple[str, ...]
    space: Choices

    name = "bayesian"
    exact_expectation = True

    @classmethod
    def fit(
        cls,
        space: Choices,
        observations: Observations,
        config: CostConfig | None = None,
        *,
        seed: int = 0,
    ) -> "BayesianAdditive":
        """Fits every metric observed.

        Raises:
          UserError: with fewer than two networks, or a value that is not positive.
        """
        del config
        observations.require(_LEAST_NETWORKS, "the Bayesian additive model")
        rows = observations.architectures
        timed = [timed_table(space, observations, metric) for metric in observations.metrics]
        kernels = [Kernel(space, 1, table) for table in timed]
        width = max(sum(t.shape[-1] for t in kernel.features()) for kernel in kernels)
        columns = []
        for kernel, values in zip(kernels, observations.values.values(), strict=True):
            scale = float(values.mean())
            parts = np.array(list(kernel.parts(rows, rows)))
            fit = regress(parts, values / scale, start=starts(kernel.names), seed=seed)
            columns.append(_weights(kernel, fit, scale, rows, width))
        stacked = zip(_FIELDS, zip(*columns, strict=True), strict=True)
        arrays = {name: jnp.asarray(np.stack(column), jnp.float32) for name, column in stacked}
        return cls(**arrays, metrics=observations.metrics, space=space)

    def _design(self, weight: jax.Array) -> jax.Array:
        """Returns the features of a gate weight per metric, `float32[M, F]`."""
        weight = jnp.asarray(weight)
        views, metrics = [weight], len(self.metrics)
        if self.space.mixes_canonical:
            views.append(marginals(self.space.canonical_mixture(weight), weight.shape))
        sums = jnp.einsum("dk,mdks->ms", effective(self.space, weight), self.features)
        flat = jnp.concatenate([view.reshape(-1) for view in views])
        shared = jnp.broadcast_to(flat, (metrics, len(flat)))
        return jnp.concatenate([jnp.ones((metrics, 1)), sums, shared], axis=1)

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{metric: float32[]}` of gate weights `float32[D, K]`."""
        chex.assert_shape(weight, (self.space.num_decisions, self.space.num_options))
        means = (self._design(weight) * self.mean).sum(axis=1)
        return dict(zip(self.metrics, means, strict=True))

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns one standard deviation of a measurement of each metric, `{metric: float32[]}`."""
        chex.assert_shape(weight, (self.space.num_decisions, self.space.num_options))
        design = self._design(weight)
        known = (jnp.einsum("mf,mfg->mg", design, self.root) ** 2).sum(axis=1)
        noise = (self.noise[:, 0] * (design * self.mean).sum(axis=1)) ** 2 + self.noise[:, 1] ** 2
        return dict(zip(self.metrics, jnp.sqrt(known + noise), strict=True))

    def save(self, path: Path, space: Choices) -> None:
        """Writes the model to an `.npz` file."""
        arrays = {name: getattr(self, name) for name in _FIELDS}
        write_model(path, self.name, space, {"metrics": list(self.metrics)}, arrays)

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> "BayesianAdditive":
        """Builds the model from what `read_model` returned."""
        metrics = checked_metrics(header.get("metrics"))
        count, wide = len(metrics), (space.num_decisions, space.num_options)
        columns = np.shape(arrays.get("features", 0))[-1:] or (0,)
        views = 1 + Kernel(space, 1).has_canonical
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
    kernel: Kernel, fit: Regression, scale: float, rows: np.ndarray, width: int
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
