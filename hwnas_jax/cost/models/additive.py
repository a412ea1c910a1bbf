"""Costs that are linear in what was chosen: features of gates, and a ridge on them.

Legend: `N` networks, `M` members of an ensemble, `Q` metrics, `D` decisions, `K` options of the
widest decision, `F` features.
"""

import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.spaces.base import Choices, Space
from hwnas_jax.spaces.core.mixture import Governed, effective, effective_options
from hwnas_jax.spaces.core.terms import sum_places

_FLOOR = 0.02
_FREE = 30.0
_PENALTIES = 10.0 ** np.arange(-3, 4.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of an architecture that a cost can be a sum over, and their expectation at gates.

    A row holds, in this order:

    - The chosen options as written, `D * K`.
    - Where the space has canonical forms, the chosen options that matter, `D * K`. They are those
      of the canonical form. A decision that another one leaves without effect has none.
    - Where operations may fail to reach the output, and the space says which options run one: a
      single feature, whether any operation is left to run.

    Both forms are needed, because a compiler drops what cannot reach the output, and a runtime that
    executes operation by operation does not. Expectations are exact for independent decisions.

    Attributes:
      space: the space of the architectures.
    """

    space: Choices

    @functools.cached_property
    def canonical(self) -> bool:
        """Whether the space has canonical forms."""
        return self.space.mixes_canonical

    @property
    def governed(self) -> bool:
        """Whether decisions leave others without effect."""
        return isinstance(self.space, Governed)

    @functools.cached_property
    def placed(self) -> np.ndarray | None:
        """Which options run an operation, `bool[D, K]`; None where that is unknown or unneeded."""
        if not isinstance(self.space, Space) or not self.canonical or self.governed:
            return None
        placed = np.zeros(self.space.mask.shape, bool)
        for place in self.space.operations()[1]:
            for decision, option in place.when:
                placed[decision, option] = True
        return placed

    @property
    def blocks(self) -> int:
        """How many blocks of `D * K` features there are: one, or two with canonical forms."""
        return 1 + self.canonical

    @property
    def size(self) -> int:
        """`F`."""
        return self.blocks * self.space.mask.size + (self.placed is not None)

    @property
    def groups(self) -> list[np.ndarray]:
        """Sets of features to choose from, `bool[F]` each: written, canonical, or both."""
        everything = np.ones(self.size, bool)
        if not self.canonical:
            return [everything]
        written = np.arange(self.size) < self.space.mask.size
        return [written, ~written, everything]

    def encode(self, architectures: np.ndarray) -> np.ndarray:
        """Returns options as written, and those that matter or `K`: `int32[N, blocks, D]`."""
        architectures = np.asarray(architectures, np.int32)
        forms = [architectures]
        if self.canonical:
            forms.append(effective_options(self.space, architectures))
        return np.stack(forms, axis=1)

    def observed(self, architectures: np.ndarray) -> np.ndarray:
        """Returns the features `float32[N, F]` of architectures `int32[N, D]`."""
        encoded = self.encode(architectures)
        eye = np.eye(self.space.num_options + 1, self.space.num_options, dtype=np.float32)
        columns = [eye[encoded].reshape(len(encoded), -1)]
        if self.placed is not None:
            columns.append(self._run(encoded)[:, None].astype(np.float32))
        return np.concatenate(columns, axis=1)

    def expected(self, weight: jax.Array) -> jax.Array:
        """Returns the expected features `float32[F]` of gates `float32[D, K]`."""
        chex.assert_shape(weight, self.space.mask.shape)
        parts = [weight.reshape(-1)]
        if self.canonical:
            parts.append(effective(self.space, weight).reshape(-1))
            if self.placed is not None:
                every, none = jnp.ones(()), jnp.ones(())
                for decisions, coefficient, rows in self.space.canonical_mixture(weight):
                    idle = jnp.where(self.placed[decisions], 0.0, rows)
                    every *= coefficient @ rows.sum(axis=2).prod(axis=1)
                    none *= coefficient @ idle.sum(axis=2).prod(axis=1)
                parts.append((every - none)[None])
        return jnp.concatenate(parts)

    def numbered(self, architectures: np.ndarray) -> np.ndarray:
        """Returns which rows of `gathered` add up to an architecture's features, `int32[N, G]`.

        One row stands for a decision's options in both forms. `G` is therefore `D`, or `D + 1`
        where a feature says whether anything runs.
        """
        encoded = self.encode(architectures)
        options, decisions = self.space.num_options, self.space.num_decisions
        width = options * (options + 1) if self.canonical else options
        rows = encoded[:, 0] + options * encoded[:, 1] if self.canonical else encoded[:, 0]
        rows = rows + width * np.arange(decisions, dtype=np.int32)
        if self.placed is not None:
            runs = self._run(encoded)[:, None]
            rows = np.concatenate([rows, width * decisions + runs.astype(np.int32)], axis=1)
        return rows

    def gathered(self, weights: jax.Array) -> jax.Array:
        """Returns weights of features (`float32[F, C]`) as the rows that `numbered` names."""
        shape = (*self.space.mask.shape, -1)
        written = weights[: self.space.mask.size].reshape(shape)
        if not self.canonical:
            return written.reshape(self.space.mask.size, -1)
        form = weights[self.space.mask.size : 2 * self.space.mask.size].reshape(shape)
        form = jnp.pad(form, ((0, 0), (0, 1), (0, 0)))  # a decision without effect adds nothing
        rows = (form[:, :, None] + written[:, None, :]).reshape(-1, weights.shape[1])
        if self.placed is None:
            return rows
        return jnp.concatenate([rows, jnp.zeros_like(weights[-1:]), weights[-1:]])

    def _run(self, encoded):
        return self.placed[np.arange(self.space.num_decisions), encoded[:, -1]].any(axis=1)

    def timed(self, observations: Observations, metric: str) -> np.ndarray | None:
        """Returns the cost that timed operations give each feature, `float64[F]`.

        None where not all operations of the space were observed for this metric.
        """
        if not isinstance(self.space, Space) or not observations.operations:
            return None
        costs = {
            name: known[metric] for name, known in observations.operations.items()
            if metric in known
        }  # fmt: skip
        if not set(self.space.operations()[0]) <= set(costs):
            return None
        table, constant = sum_places(self.space, costs)
        result = np.zeros(self.size)
        start = (self.blocks - 1) * table.size
        result[start : start + table.size] = table.reshape(-1)
        if self.placed is not None:
            result[-1] = constant
        return result


def positive(cost: jax.Array) -> jax.Array:
    """Returns `cost` where it is well above zero, and a small positive number elsewhere.

    Without it, networks that run next to nothing would be predicted to cost less than nothing.

    Args:
      cost: any shape, in medians.

    References: Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", 2021.
    """
    # The two roots multiply to the square of the floor. Computed this way, neither loses digits.
    larger = 0.5 * (jnp.abs(cost) + jnp.sqrt(cost**2 + 4 * _FLOOR**2))
    return jnp.where(cost > 0, larger, _FLOOR**2 / larger)


class Additive(NamedTuple):
    """Linear costs of an ensemble's members: `bias` (`[M, Q]`) and `table` (`[M, Q, F]`)."""

    bias: np.ndarray
    table: np.ndarray


def fit_additive(
    features: np.ndarray,
    values: np.ndarray,
    draws: np.ndarray,
    *,
    prior: list[np.ndarray | None],
    groups: list[np.ndarray],
) -> Additive:
    """Fits a ridge to each member's bootstrap sample, in closed form.

    Errors are relative to the larger of a network's value and the median, so that neither the most
    expensive networks nor a few that cost next to nothing decide. The penalty and the group of
    features with the least leave-one-out error on all networks are taken.

    Args:
      features: `float[N, F]`.
      values: `float64[N, Q]`, positive.
      draws: `int[M, N]`, how often each network is in each member's sample.
      prior: for each metric the costs `float64[F]` that are expected, up to a factor, or None.
      groups: the sets of features to choose from, `bool[F]` each.

    References: Hoerl and Kennard, "Ridge Regression", 1970; Allen, "The Relationship Between
    Variable Selection and Data Augmentation and a Method for Prediction", 1974 (leave-one-out).
    """
    chex.assert_rank([features, values, draws], 2)
    features = np.asarray(features, float)
    metrics, width = values.shape[1], features.shape[1]
    bias, table = np.zeros((len(draws), metrics)), np.zeros((len(draws), metrics, width))
    for q in range(metrics):
        weights = 1 / np.maximum(values[:, q], np.median(values[:, q])) ** 2
        weights /= weights.mean()
        # Every column of the basis is a direction in the space of features.
        bases = [np.eye(width)[:, group & (np.ptp(features, axis=0) > 0)] for group in groups]
        known = prior[q]
        spread = 0.0 if known is None else float((features @ known).std())
        if known is not None and spread > 0:
            # A long direction is hardly penalised, so that the prior holds up to a factor.
            bases = [np.column_stack([basis, _FREE / spread * known]) for basis in bases]
        tried = [_least_error(features @ basis, values[:, q], weights) for basis in bases]
        best = int(np.argmin([error for error, _ in tried]))
        design = features @ bases[best]
        for m, draw in enumerate(draws):
            bias[m, q], fitted = _ridge(design, values[:, q], weights * draw, tried[best][1])
            table[m, q] = bases[best] @ fitted
    return Additive(bias, table)


def _centred(design, values, weights):
    middle = np.average(design, axis=0, weights=weights)
    level = np.average(values, weights=weights)
    root = np.sqrt(weights)[:, None]
    return root * (design - middle), root[:, 0] * (values - level), middle, level


def _ridge(design, values, weights, penalty):
    left, right, middle, level = _centred(design, values, weights)
    gram = left.T @ left + penalty * np.eye(design.shape[1])
    table = np.linalg.solve(gram, left.T @ right)
    return level - middle @ table, table


def _least_error(design, values, weights):
    """Returns the least mean squared leave-one-out error over the penalties, and its penalty."""
    left, right, _, _ = _centred(design, values, weights)
    basis, singular, _ = np.linalg.svd(left, full_matrices=False)
    along = basis.T @ right
    errors = []
    for penalty in _PENALTIES:
        shrink = singular**2 / (singular**2 + penalty)
        # The level is fitted too, which adds its share to the leverage.
        leverage = (basis**2 * shrink).sum(axis=1) + weights / weights.sum()
        residual = right - basis @ (shrink * along)
        errors.append(np.mean((residual / np.maximum(1 - leverage, 1e-6)) ** 2))
    best = int(np.argmin(errors))
    return errors[best], float(_PENALTIES[best])
