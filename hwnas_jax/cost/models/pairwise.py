"""The posterior of a Gaussian process on a space that is too large to tabulate.

Legend: `N` observed networks, `D` decisions, `K` options of the widest decision, `M` metrics,
`V` views of an architecture, `P` forms in the mixture of a view, `S` columns of linear features.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from hwnas_jax.cost.models.base import as_drawn
from hwnas_jax.cost.models.gaussian_regression import Regression
from hwnas_jax.cost.models.interaction_kernel import AdditiveKernel
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.spaces.base import Choices, Forms
from hwnas_jax.spaces.core.mixture import effective, marginals

_FIELDS = (
    "constant", "table", "linear", "pairs", "observed", "features", "weights", "whiten",
    "noise", "scale",
)  # fmt: skip


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=list(_FIELDS), meta_fields=["space"]
)
@dataclasses.dataclass(frozen=True)
class PairwiseForm:
    """Effects up to pairs: the mean is a polynomial of the gates.

    The variance is computed from the kernel between the gates and the observed networks.

    Attributes:
      constant: `float32[M]`.
      table: `float32[M, D, K]`, what each option that matters adds to the mean.
      linear: `float32[M, V, D * K]`, what each option of a view adds.
      pairs: `float32[M, V, D * K, D * K]`, what two options together add. A pair counts once.
      observed: `float32[V, N, D, K]`, one-hot views of the observed networks.
      features: `float32[M, D, K, S]`, linear features times the standard deviation of their prior.
      weights: `float32[M, 1 + 2 * V]`, prior variances: of the constant, then for each view of
        singles and of pairs.
      whiten: `float32[M, N, N]`, upper Cholesky factor of the precision.
      noise: `float32[M, 3]`, relative and absolute standard deviation, and the spread.
      scale: `float32[M]`, the unit in which the variance is computed.
      space: the search space, whose canonical forms are a view.
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

    def _views(self, weight: jax.Array, forms: Sequence[Forms]) -> list[Sequence[Forms]]:
        """Returns how the architecture is distributed in each view."""
        return [forms, self.space.canonical_mixture(weight)][: self.linear.shape[1]]

    def mean(self, weight: jax.Array, forms: Sequence[Forms]) -> jax.Array:
        """Returns the expected posterior mean, `float32[M]`, as `ExactModel.expected` asks."""
        decisions, options = weight.shape
        wide = (len(self.constant), decisions, options)
        total = self.constant
        for view, mixtures in enumerate(self._views(weight, forms)):
            share = marginals(mixtures, weight.shape)
            pairs = self.pairs[:, view].reshape(*wide, decisions, options)
            apart = pairs * _apart(mixtures, decisions)[:, None, :, None]
            total += jnp.einsum("dk,mdk->m", share, self.linear[:, view].reshape(wide))
            total += 0.5 * jnp.einsum("dk,mdkej,ej->m", share, apart, share)
            for members, coefficient, rows in filter(_is_joint, mixtures):
                inner = pairs[:, members][:, :, :, members]
                reach = jnp.einsum("pdk,mdkej->dpmej", rows, inner)
                total += coefficient @ _sum_pairs(rows, reach)
        return total + jnp.einsum("dk,mdk->m", effective(self.space, weight), self.table)

    def variance(self, weight: jax.Array) -> jax.Array:
        """Returns the variance of one measurement of the mean over draws, `float32[M]`."""
        metrics, networks = len(self.constant), self.observed.shape[1]
        prior = self.weights[:, :1]
        across = jnp.broadcast_to(prior, (metrics, networks))
        drawn = as_drawn(weight)
        for view, mixtures in enumerate(self._views(weight, drawn)):
            weights = self.weights[:, 1 + 2 * view : 3 + 2 * view]
            share = marginals(mixtures, weight.shape)
            own = _matches(mixtures, share, None)
            seen = jax.vmap(lambda row, of=mixtures, p=share: _matches(of, p, row))(
                self.observed[view]
            )
            prior += (weights @ own)[:, None]
            across += jnp.einsum("mo,no->mn", weights, seen)
        features = jnp.einsum("dk,mdks->ms", effective(self.space, weight), self.features)
        observed = jax.vmap(lambda row: effective(self.space, row))(self.observed[0])
        seen = jnp.einsum("ndk,mdks->mns", observed, self.features)
        prior += (features**2).sum(axis=1, keepdims=True)
        across += jnp.einsum("ms,mns->mn", features, seen)
        explained = (jnp.einsum("mij,mj->mi", self.whiten, across) ** 2).sum(axis=1)
        relative, absolute, spread = self.noise.T
        noise = (relative * self.mean(weight, drawn) / self.scale) ** 2 + absolute**2
        left = jnp.maximum(prior[:, 0] - explained, 0.0)
        return (spread * self.scale) ** 2 * (left + noise)

    @classmethod
    def build(
        cls, space: Choices, kernels: list[AdditiveKernel], observed: np.ndarray,
        fits: list[Regression], scales: list[float],
    ) -> "PairwiseForm":  # fmt: skip
        """Turns the regressions of the metrics into polynomials of the gates."""
        eye = np.eye(space.num_options)
        views = [eye[rows] for rows in kernels[0].views(observed)]
        per_metric = [
            _polynomial(kernel, fit, scale, views, kernel.effective(observed))
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
        flat, views = decisions * options, 1 + AdditiveKernel(space, 2).has_canonical
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


def _is_joint(mixture: Forms) -> bool:
    """Returns whether the decisions of a mixture depend on one another."""
    return len(mixture.coefficient) > 1 and len(mixture.decisions) > 1


def _apart(mixtures: Sequence[Forms], decisions: int) -> np.ndarray:
    """Returns which pairs of decisions are independent, `float32[D, D]`."""
    apart = 1.0 - np.eye(decisions, dtype=np.float32)
    for members, *_ in filter(_is_joint, mixtures):
        apart[np.ix_(members, members)] = 0.0
    return apart


def _sum_pairs(rows: jax.Array, reach: jax.Array) -> jax.Array:
    """Returns the sum of what pairs of decisions add, each times the mass of all the others.

    Args:
      rows: `float32[P, G, K]`; they may sum to less than one.
      reach: `float32[G, P, M, G, K]`, what each decision adds per option of another.

    Returns:
      `float32[P, M]`.
    """

    def step(carry, decision):
        mass, pair, ahead = carry
        number, further = decision
        own = rows[:, number].sum(axis=-1)[:, None]
        met = jnp.einsum("pk,pmk->pm", rows[:, number], ahead[:, :, number])
        wide = own[..., None, None]
        return (
            mass * own,
            pair * own + met,
            ahead * wide + mass[..., None, None] * further,
        ), None

    members, forms, metrics = reach.shape[:3]
    start = jnp.ones((forms, 1)), jnp.zeros((forms, metrics)), jnp.zeros_like(reach[0])
    return jax.lax.scan(step, start, (jnp.arange(members), reach))[0][1]


def _matches(mixtures: Sequence[Forms], share: jax.Array, other: jax.Array | None) -> jax.Array:
    """Returns the expected shares of matching single decisions and pairs, `float32[2]`.

    Args:
      mixtures: of the gates.
      share: `float32[D, K]`, their marginals.
      other: `float32[D, K]`, what they are matched with; None for a second draw of the same.
    """
    decisions = len(share)
    match = (share * (share if other is None else other)).sum(axis=1)
    single = match.sum()
    pair = 0.5 * match @ _apart(mixtures, decisions) @ match
    for members, coefficient, rows in filter(_is_joint, mixtures):
        mass = rows.sum(axis=2)
        if other is None:
            met = jnp.einsum("pdk,qdk->pqd", rows, rows)
            pair += coefficient @ _matching_pairs(met, mass[:, None] * mass) @ coefficient
        else:
            met = (rows * other[members]).sum(axis=2)
            pair += coefficient @ _matching_pairs(met, mass)
    return jnp.stack([single / decisions, pair / max(1, math.comb(decisions, 2))])


def _matching_pairs(match: jax.Array, mass: jax.Array) -> jax.Array:
    """Returns the sum over pairs of both matches and the mass of all others, `float32[...]`.

    Args:
      match: `float32[..., G]`.
      mass: likewise.
    """

    def step(carry, decision):
        one, single, pair = carry
        met, own = decision
        return (one * own, single * own + one * met, pair * own + single * met), None

    start = (jnp.ones(match.shape[:-1]), *[jnp.zeros(match.shape[:-1])] * 2)
    columns = (jnp.moveaxis(match, -1, 0), jnp.moveaxis(mass, -1, 0))
    return jax.lax.scan(step, start, columns)[0][2]


def _polynomial(kernel, fit, scale, views, effective):
    """Returns the arrays of one metric, in the order in which `PairwiseForm.build` stacks them."""
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
    seen = np.einsum("ndk,dks->ns", effective, features)
    table = features @ (fit.alpha @ seen)
    constant = by_name["constant"] * fit.alpha.sum()
    # The quadratic form of the precision becomes a sum of squares, which is never negative.
    factor = scipy.linalg.cholesky(fit.precision, lower=False, check_finite=False)
    return (
        scale * constant, scale * table, scale * np.array(linear), scale * np.array(pairs),
        features, weights, factor, np.array([fit.relative, fit.absolute, fit.spread]),
    )  # fmt: skip
