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
from hwnas_jax.cost.kernel import Kernel, canonical_marginals
from hwnas_jax.cost.store import check_array
from hwnas_jax.spaces.base import Choices

_FIELDS = (
    "constant", "table", "linear", "pairs", "observed", "features", "weights", "whiten",
    "noise", "scale",
)  # fmt: skip


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=list(_FIELDS), meta_fields=["space"]
)
@dataclasses.dataclass(frozen=True)
class PairwiseForm:
    """Mean: a polynomial of the gates. Variance: from the kernel to the observed networks.

    Attributes:
      constant: `float32[M]`.
      table: `float32[M, D, K]`, what each option of the last view adds to the mean.
      linear: `float32[M, V, D * K]`, what each option of a view adds further.
      pairs: `float32[M, V, D * K, D * K]`, what two options together add; a pair is read once.
      observed: `float32[V, N, D, K]`, one-hot views of the observed networks.
      features: `float32[M, D, K, S]`, linear features times their prior's standard deviation.
      weights: `float32[M, 1 + 2 * V]`, prior variances of constant, and per view singles and pairs.
      whiten: `float32[M, N, N]`, upper Cholesky factor of the precision.
      noise: `float32[M, 3]`, relative and absolute standard deviation, and the spread.
      scale: `float32[M]`, the unit in which the variance is computed.
      space: whose canonical forms are seen.
    """

    constant: jax.Array
    table: jax.Array
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

    def _last(self, weight: jax.Array) -> jax.Array:
        """Returns the probabilities of the options of the last view, `float32[D, K]`."""
        return weight if self.linear.shape[1] == 1 else canonical_marginals(self.space, weight)

    def mean(self, weight: jax.Array) -> jax.Array:
        """Returns the expected mean over independent draws, `float32[M]`."""
        decisions, options = weight.shape
        total = self.constant + jnp.einsum("dk,mdk->m", self._last(weight), self.table)
        for view, (share, rows) in enumerate(self._views(weight)):
            linear = self.linear[:, view].reshape(-1, decisions, options)
            pairs = self.pairs[:, view].reshape(-1, decisions, options, decisions * options)
            singles = jnp.einsum("pdk,mdk->dpm", rows, linear)
            reach = jnp.einsum("pdk,mdkj->dpmj", rows, pairs).reshape(
                decisions, len(rows), -1, decisions, options
            )
            total += jnp.einsum("p,pm->m", share, _sum_sets(rows, singles, reach))
        return total

    def variance(self, weight: jax.Array) -> jax.Array:
        """Returns the variance of measuring the mean over independent draws, `float32[M]`."""
        metrics, networks = len(self.constant), self.observed.shape[1]
        prior = self.weights[:, :1]
        across = jnp.broadcast_to(prior, (metrics, networks))
        for view, (share, rows) in enumerate(self._views(weight)):
            weights = self.weights[:, 1 + 2 * view : 3 + 2 * view]
            mass = rows.sum(axis=-1)
            own = _matches(jnp.einsum("pdk,qdk->pqd", rows, rows), mass[:, None] * mass)
            seen = _matches(jnp.einsum("pdk,ndk->pnd", rows, self.observed[view]), mass[:, None])
            prior += jnp.einsum("mo,opq,p,q->m", weights, own, share, share)[:, None]
            across += jnp.einsum("mo,opn,p->mn", weights, seen, share)
        features = jnp.einsum("dk,mdks->ms", self._last(weight), self.features)
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
        constant, table, linear, pairs, features, weights, whiten, noise = stacked
        arrays = (
            constant, table, linear, pairs, np.stack(views), features, weights, whiten,
            noise, scales,
        )  # fmt: skip
        named = zip(_FIELDS, arrays, strict=True)
        return cls(**{name: jnp.asarray(array, jnp.float32) for name, array in named}, space=space)

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
            (metrics,), (metrics, decisions, options), (metrics, views, flat),
            (metrics, views, flat, flat),
            (views, networks, decisions, options), (metrics, decisions, options, *columns),
            (metrics, 1 + 2 * views), (metrics, networks, networks), (metrics, 3), (metrics,),
        )  # fmt: skip
        return cls(
            **{name: jnp.asarray(check_array(arrays, name, shape))
               for name, shape in zip(_FIELDS, shapes, strict=True)},
            space=space,
        )  # fmt: skip


def _sum_sets(rows: jax.Array, singles: jax.Array, reach: jax.Array) -> jax.Array:
    """Returns the sum of singles and pairs of decisions, each times the mass of all the others.

    Args:
      rows: `float32[P, D, K]`; they may sum to less than one.
      singles: `float32[D, P, M]`, what each decision adds.
      reach: `float32[D, P, M, D, K]`, what each decision adds per option of another.
    """

    def step(carry, decision):
        mass, one, pair, ahead = carry
        number, single, further = decision
        own = rows[:, number].sum(axis=-1)[:, None]
        met = jnp.einsum("pk,pmk->pm", rows[:, number], ahead[:, :, number])
        wide = own[..., None, None]
        return (
            mass * own,
            one * own + mass * single,
            pair * own + met,
            ahead * wide + mass[..., None, None] * further,
        ), None

    decisions, forms, metrics = singles.shape
    empty = jnp.zeros((forms, metrics))
    start = jnp.ones((forms, 1)), empty, empty, jnp.zeros_like(reach[0])
    (_, one, pair, _), _ = jax.lax.scan(step, start, (jnp.arange(decisions), singles, reach))
    return one + pair


def _matches(match: jax.Array, mass: jax.Array) -> jax.Array:
    """Returns the shares of matching singles and pairs of decisions, `float32[2, ...]`.

    Args:
      match: `float32[..., D]`.
      mass: of each decision, broadcast against `match`; the decisions outside a set weigh it.
    """

    def step(carry, decision):
        one, single, pair = carry
        met, own = decision
        return (one * own, single * own + one * met, pair * own + single * met), None

    decisions = match.shape[-1]
    mass = jnp.broadcast_to(mass, match.shape)
    start = (jnp.ones(match.shape[:-1]), *[jnp.zeros(match.shape[:-1])] * 2)
    columns = (jnp.moveaxis(match, -1, 0), jnp.moveaxis(mass, -1, 0))
    (_, single, pair), _ = jax.lax.scan(step, start, columns)
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
        pairs.append(pair / max(1, math.comb(decisions, 2)) * both)
    named = zip(("shared",) * (kernel.shared is not None) + ("timed",), kernel.features(),
                strict=False)  # fmt: skip
    features = [np.sqrt(by_name[name]) * table for name, table in named]
    features = np.concatenate([np.zeros((decisions, options, 0)), *features], axis=-1)
    seen = np.einsum("ndk,dks->ns", views[-1], features)
    table = features @ (fit.alpha @ seen)
    constant = by_name["constant"] * fit.alpha.sum()
    # The quadratic form of the precision as a sum of squares, which no rounding makes negative.
    factor = linalg.cholesky(fit.precision, lower=False, check_finite=False)
    return (
        scale * constant, scale * table, scale * np.array(linear), scale * np.array(pairs),
        features, weights, factor, np.array([fit.relative, fit.absolute, fit.spread]),
    )  # fmt: skip
