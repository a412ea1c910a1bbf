"""From adapted probabilities to one architecture that keeps its budget.

Legend: `n` architectures, `D` decisions, `K` options.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets.base import Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.errors import UserError
from hwnas_jax.search.candidates import ENUMERABLE, architectures_of, bounded_costs
from hwnas_jax.search.expected_cost import bound_of
from hwnas_jax.search.meta.objectives import Price
from hwnas_jax.spaces.base import Space


class Field(NamedTuple):
    """The architectures that may be kept.

    Attributes:
      architectures: `int32[n, D]`, all of a space that can be listed, and else draws.
      fits: `bool[n]`, which of them meet the budget.
    """

    architectures: jax.Array
    fits: jax.Array


def is_whole(space: Space) -> bool:
    """Returns whether `field_of` lists every architecture of a space."""
    return space.size <= ENUMERABLE


def field_of(
    space: Space,
    probabilities: np.ndarray,
    budget: Budget,
    *,
    cost_model: CostModel | None = None,
    target: Target | None = None,
    seed: int = 0,
) -> Field:
    """Returns the architectures of a space, and which meet a budget, on the host.

    Args:
      space: the search space.
      probabilities: `float32[D, K]` of the start, near which large spaces are drawn from.
      budget: says what it means to meet the limits.
      cost_model: predicts the costs.
      target: the limits; without them every architecture will do.
      seed: of the draws.

    Raises:
      UserError: when nothing meets the budget.
    """
    every = architectures_of(space, seed=seed, probabilities=probabilities)
    fits = np.ones(len(every), bool)
    if target is not None and cost_model is not None:
        _, bounds = bounded_costs(space, cost_model, target, every)
        fits = budget.meets(bounds, target.limits)
        if not fits.any():
            raise UserError(
                f"none of the {len(every):,} architectures that were looked at meets the budget "
                f"{target.value:g} of {target.metric}"
            )
    found: tuple = (every, fits)
    return Field(*found)


def choose(
    share: jax.Array,
    field: Field,
    space: Space,
    budget: Budget,
    price: Price | None = None,
    deviations: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Returns the strongest architecture that may be kept, and whether it needed no repair.

    That is the strongest option of each decision, if this is a member of the space and meets the
    budget, and otherwise the most probable architecture of the field that does.

    Args:
      share: `float32[D, K]`, probabilities.
      field: what may be kept.
      space: the search space.
      budget: says what it means to meet the limits.
      price: the limits, and what predicts the costs; None for no limits.
      deviations: standard deviations above the prediction that the limit is held against.

    Returns:
      `int32[D]` and `bool[]`.
    """
    options = jnp.where(jnp.asarray(space.mask), share, -1.0)
    strongest = jnp.argmax(options, -1).astype(jnp.int32)
    known = jnp.log(jnp.maximum(share, 1e-30))
    scores = known[jnp.arange(len(share)), field.architectures].sum(-1)
    best = jnp.take(
        field.architectures, jnp.argmax(jnp.where(field.fits, scores, -jnp.inf)), axis=0
    )
    if is_whole(space):
        same = (field.architectures == strongest).all(-1)
        fine = (same & field.fits).any()
    elif space.constrained:
        # Membership is known on the host alone, so that only what was listed there is kept.
        return best, (best == strongest).all()
    elif price is None:
        fine = jnp.bool_(True)
    else:
        row = jax.nn.one_hot(strongest, share.shape[-1])
        costs = bound_of(price.cost_model, tuple(price.limits), deviations)(row)
        outside = budget.distance(costs, price.limits)  # type: ignore[arg-type]
        fine = (outside <= 0) | jnp.logical_not(price.counts)
    return jnp.where(fine, strongest, best), fine
