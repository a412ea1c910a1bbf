"""The distribution of canonical forms when architectures are drawn.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision, `G` decisions of a
group, `P` forms of a group.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.spaces.core.choices import Choices, Forms


def marginals(mixtures: Sequence[Forms], shape: tuple[int, ...]) -> jax.Array:
    """Returns the probability of each option in the canonical form, `float32[D, K]`."""
    found = jnp.zeros(shape)
    for decisions, coefficient, rows in mixtures:
        # A row may sum to less than one. Its sum is then a factor on all the other rows.
        others = coefficient[:, None] * _products_of_others(rows.sum(axis=2))
        found = found.at[decisions].set((others[:, :, None] * rows).sum(axis=0))
    return found


def _products_of_others(mass):
    """Returns for each entry of `float32[P, G]` the product of the other entries of its row."""
    ones = jnp.ones_like(mass[:, :1])
    before = jnp.cumprod(jnp.concatenate([ones, mass[:, :-1]], axis=1), axis=1)
    behind = jnp.cumprod(jnp.concatenate([ones, mass[:, :0:-1]], axis=1), axis=1)
    return before * behind[:, ::-1]


def effective(space: Choices, weight: jax.Array) -> jax.Array:
    """Returns the probability that each option is drawn and has an effect, `float32[D, K]`.

    In a space where decisions govern others, a decision without effect has no option. In another
    space the probabilities are those of the canonical form, in which an operation that cannot reach
    the output is replaced by the one that does nothing.
    """
    if not space.mixes_canonical:
        return weight
    if not isinstance(space, Governed):
        return marginals(space.canonical_mixture(weight), weight.shape)
    matters = jnp.ones(len(weight))
    for decision, others, closed in space.governors:
        matters = matters.at[np.array(others)].set(1.0 - weight[decision] @ closed.astype(float))
    return weight * matters[:, None]


def effective_options(space: Choices, architectures: np.ndarray) -> np.ndarray:
    """Returns the options of `architectures` (`int32[N, D]`) that have an effect, `int32[N, D]`.

    In a space where decisions govern others, a decision without effect has the number `K`, which is
    no option. In another space the options are those of the canonical form.
    """
    if isinstance(space, Governed):
        return np.where(space.closed(architectures), space.num_options, architectures)
    return space.canonical(architectures)


def last_options(mask: np.ndarray) -> np.ndarray:
    """Returns the last option that each decision has in `mask` (`bool[D, K]`), `int[D]`."""
    return mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)


class Governor(NamedTuple):
    """A decision with options that leave other decisions without effect.

    Attributes:
      decision: the decision that governs.
      others: the decisions that it governs.
      closed: `bool[K, len(others)]`, the decisions that each of its options leaves without effect.
    """

    decision: int
    others: Sequence[int]
    closed: np.ndarray


class Governed(Choices):
    """A mixin for spaces where some decisions govern others: depths, skips, pairs of edges.

    In the canonical form a decision without effect has its `idle` option. No decision has two
    governors, and a governed decision does not govern.
    """

    mixes_canonical = True

    @property
    def governors(self) -> tuple[Governor, ...]:
        """The decisions that govern others."""
        return ()

    @property
    def idle(self) -> np.ndarray:
        """The option of a decision without effect in the canonical form: the first, `int[D]`."""
        return self.mask.argmax(axis=1)

    def closed(self, architectures: np.ndarray) -> np.ndarray:
        """Returns which decisions of `architectures` (`int32[N, D]`) have no effect, `bool`."""
        closed = np.zeros(architectures.shape, bool)
        for decision, others, of_option in self.governors:
            closed[:, others] = of_option[architectures[:, decision]]
        return closed

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, D]`) with decisions without effect set to `idle`."""
        architectures = np.asarray(architectures, np.int32)
        return np.where(self.closed(architectures), self.idle, architectures).astype(np.int32)

    def canonical_mixture(self, weight: jax.Array) -> tuple[Forms, ...]:
        weight = jnp.asarray(weight)
        one_hot = np.eye(self.num_options, dtype=np.float32)
        free = set(range(self.num_decisions))
        found = []
        for decision, others, closed in self.governors:
            members = np.array([decision, *others])
            free -= set(members.tolist())
            # Options of the governor that close the same decisions share a form.
            patterns, which = np.unique(closed, axis=0, return_inverse=True)
            chosen = weight[decision] * (which.reshape(-1) == np.arange(len(patterns))[:, None])
            given = weight[members[1:]]
            shut = jnp.asarray(patterns)
            coefficient = jnp.where(shut, given.sum(axis=1), 1.0).prod(axis=1)
            idle = jnp.asarray(one_hot[self.idle[members[1:]]], weight.dtype)
            rows = jnp.where(shut[:, :, None], idle, given)
            found.append(Forms(members, coefficient, jnp.concatenate([chosen[:, None], rows], 1)))
        rest = np.array(sorted(free), int)
        if len(rest):
            found.append(Forms(rest, jnp.ones(1, weight.dtype), weight[rest][None]))
        return tuple(found)
