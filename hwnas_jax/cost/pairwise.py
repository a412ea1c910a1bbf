"""The posterior of a Gaussian process on a space too large to tabulate: effects up to pairs.

Legend: `N` observed networks, `D` decisions, `K` options of the widest decision, `M` metrics,
`V` views of an architecture, `P` forms in the mixture of a view, `S` columns of linear features.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from hwnas_jax.cost.evidence import Regression
from hwnas_jax.cost.kernel import Kernel
from hwnas_jax.cost.store import check_array
from hwnas_jax.spaces.base import Choices

_FIELDS = (
    "constant", "linear", "pairs", "observed", "features", "weights", "whiten", "noise", "scale",
)  # fmt: skip


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=list(_FIELDS), meta_fields=["space"]
)
@dataclasses.dataclass(frozen=True)
class PairwiseForm:
    """Mean: a polynomial of the gates. Variance: from the kernel to the observed networks.

    Attributes:
      constant: `float32[M]`.
      linear: `float32[M, V, D * K]`, of the mean.
      pairs: `float32[M, V, D * K, D * K]`, of the mean; zero within a decision.
      observed: `float32[V, N, D, K]`, one-hot views of the observed networks.
      features: `float32[M, D, K, S]`, linear features times their prior's standard deviation.
      weights: `float32[M, 1 + 2 * V]`, prior variances of constant, and per view singles and pairs.
      whiten: `float32[M, N, N]`, upper Cholesky factor of the precision.
      noise: `float32[M, 3]`, relative and absolute standard deviation, and the spread.
      scale: `float32[M]`, the unit in which the variance is computed.
      space: whose canonical forms are seen.
    """

    constant: jax.Array
    linear: jax.Array
    pairs: jax.Array
    observed: jax.Array
    features: jax.Array
    weights: jax.Array
    whiten: jax.Array
    noise: jax.Array
    scale: jax.Array
    space: Choices

    def _views(self, weight: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Returns per view the coefficients `float32[P]` and gates `float32[P, D, K]`."""
        written = (jnp.ones(1, weight.dtype), weight[None])
        return [written, self.space.canonical_mixture(weight)][: self.linear.shape[1]]

    def mean(self, weight: jax.Array) -> jax.Array:
        """Returns the expected mean over independent draws, `float32[M]`."""
        total = self.constant
        for view, (share, rows) in enumerate(self._views(weight)):
            flat = rows.reshape(len(rows), -1)
            total += jnp.einsum("p,pi,mi->m", share, flat, self.linear[:, view])
            products = jnp.einsum("pi,mij->mpj", flat, self.pairs[:, view])
            total += jnp.einsum("p,mpj,pj->m", share, products, flat)
        return total

    def variance(self, weight: jax.Array) -> jax.Array:
        """Returns the variance of measuring the mean over independent draws, `float32[M]`."""
        views = self._views(weight)
        metrics, networks = len(self.constant), self.observed.shape[1]
        prior = self.weights[:, :1]
        across = jnp.broadcast_to(prior, (metrics, networks))
        for view, (share, rows) in enumerate(views):
            weights = self.weights[:, 1 + 2 * view : 3 + 2 * view]
            own = _matches(jnp.einsum("pdk,qdk->pqd", rows, rows))
            seen = _matches(jnp.einsum("pdk,ndk->pnd", rows, self.observed[view]))
            prior += jnp.einsum("mo,opq,p,q->m", weights, own, share, share)[:, None]
            across += jnp.einsum("mo,opn,p->mn", weights, seen, share)
        share, rows = views[-1]
        features = jnp.einsum("p,pdk,mdks->ms", share, rows, self.features)
        seen = jnp.einsum("ndk,mdks->mns", self.observed[-1], self.features)
        prior += (features**2).sum(axis=1, keepdims=True)
        across += jnp.einsum("ms,mns->mn", features, seen)
        explained = (jnp.einsum("mij,mj->mi", self.whiten, across) ** 2).sum(axis=1)
        relative, absolute, spread = self.noise.T
        noise = (relative * self.mean(weight) / self.scale) ** 2 + absolute**2
        left = jnp.maximum(prior[:, 0] - explained, 0.0)
        return (spread * self.scale) ** 2 * (left + noise)

    @classmethod
    def build(
        cls, space: Choices, kernels: list[Kernel], observed: np.ndarray, fits: list[Regression],
        scales: list[float],
    ) -> "PairwiseForm":  # fmt: skip
        """Turns the regressions of the metrics into polynomials of the gates."""
        eye = np.eye(space.num_options)
        views = [eye[rows] for rows in kernels[0].views(observed)]
        per_metric = [
            _polynomial(kernel, fit, scale, views)
            for kernel, fit, scale in zip(kernels, fits, scales, strict=True)
        ]
        stacked = [np.stack(column) for column in zip(*per_metric, strict=True)]
        constant, linear, pairs, features, weights, whiten, noise = stacked
        arrays = (
            constant, linear, pairs, np.stack(views), features, weights, whiten, noise, scales,
        )  # fmt: skip
        return cls(*(jnp.asarray(array, jnp.float32) for array in arrays), space)

    def arrays(self) -> dict[str, jax.Array]:
        """Returns the arrays by name."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray], space: Choices, metrics: int) -> "PairwiseForm":
        """Builds the form from what `arrays` returned."""
        options, decisions = space.num_options, space.num_decisions
        flat, views = decisions * options, 1 + Kernel(space, 2).has_canonical
        found = np.shape(arrays.get("observed", np.zeros((0, 0))))
        networks = found[1] if len(found) == 4 else 0
        columns = np.shape(arrays.get("features", 0))[-1:] or (0,)
        shapes = (
            (metrics,), (metrics, views, flat), (metrics, views, flat, flat),
            (views, networks, decisions, options), (metrics, decisions, options, *columns),
            (metrics, 1 + 2 * views), (metrics, networks, networks), (metrics, 3), (metrics,),
        )  # fmt: skip
        return cls(
            *(jnp.asarray(check_array(arrays, name, shape))
              for name, shape in zip(_FIELDS, shapes, strict=True)),
            space,
        )  # fmt: skip


def _matches(match: jax.Array) -> jax.Array:
    """Returns the shares of matching singles and pairs of decisions, `float32[2, ...]`."""
    decisions = match.shape[-1]
    single = match.sum(axis=-1)
    pair = (single**2 - (match**2).sum(axis=-1)) / 2
    return jnp.stack([single / decisions, pair / max(1, math.comb(decisions, 2))])


def _polynomial(kernel, fit, scale, views):
    """Returns one metric's arrays, in the order in which `PairwiseForm.build` stacks them."""
    networks, decisions, options = views[0].shape
    by_name = dict(zip(kernel.names, fit.variances, strict=True))
    other = ~np.kron(np.eye(decisions, dtype=bool), np.ones((options, options), bool))
    linear, pairs, weights = [], [], [by_name["constant"]]
    for prefix, one_hot in zip(("", "canonical "), views, strict=False):
        flat = one_hot.reshape(networks, -1)
        single, pair = by_name[prefix + "single"], by_name[prefix + "pair"]
        weights += [single, pair]
        linear.append(single / decisions * fit.alpha @ flat)
        both = (flat.T * fit.alpha) @ flat * other
        pairs.append(pair / max(1, math.comb(decisions, 2)) / 2 * both)
    named = zip(("shared",) * (kernel.shared is not None) + ("timed",), kernel.features(),
                strict=False)  # fmt: skip
    features = [np.sqrt(by_name[name]) * table for name, table in named]
    features = np.concatenate([np.zeros((decisions, options, 0)), *features], axis=-1)
    seen = np.einsum("ndk,dks->ns", views[-1], features)
    linear[-1] += (features @ (fit.alpha @ seen)).reshape(-1)
    constant = by_name["constant"] * fit.alpha.sum()
    # The quadratic form of the precision as a sum of squares, which no rounding makes negative.
    factor = linalg.cholesky(fit.precision, lower=False, check_finite=False)
    return (
        scale * constant, scale * np.array(linear), scale * np.array(pairs), features, weights,
        factor, np.array([fit.relative, fit.absolute, fit.spread]),
    )  # fmt: skip
