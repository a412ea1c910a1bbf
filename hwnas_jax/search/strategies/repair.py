"""The best architecture within the budget where every option has a value of its own.

Legend: `D` decisions, `K` options of the widest decision.
"""

import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies.base import Ahead

_FAR = 1e6
"""In place of an infinite excess or value, so that differences are finite."""

ROUNDING = 1e-6
"""An excess up to this is none: one program may round a cost at the limit up, another one down."""


def best_within_budget(
    values: jax.Array, alive: jax.Array, ahead: Ahead
) -> tuple[jax.Array, jax.Array]:
    """Returns an architecture of high values within the budget, `int32[D]`, and its excess.

    It begins with the best option of every decision. While that is over the budget, the one change
    is made that lowers the excess most for the value that it gives up. Within the budget, the
    change that raises the value most is made as long as there is one that keeps the budget. It ends
    where no single change helps. For one cost that adds up option by option, that is within the
    budget whenever an architecture is.

    Args:
      values: `float32[D, K]`; more is better. They are summed over the decisions.
      alive: `bool[D, K]`, which options may be taken.
      ahead: says how far architectures are over the budget.
    """
    decisions, options = alive.shape
    values = jnp.clip(values, -_FAR, _FAR)
    first = jnp.where(alive, values, -jnp.inf).argmax(axis=1).astype(jnp.int32)
    own = jnp.eye(decisions, dtype=bool)[:, None]

    def excess_of(rows):
        excess = jnp.nan_to_num(ahead(rows).excess, nan=_FAR)
        return jnp.where(excess <= ROUNDING, 0.0, jnp.minimum(excess, _FAR))

    def go_on(carry):
        return carry[2]

    def change(carry):
        row, excess, _ = carry
        others = jnp.arange(options, dtype=jnp.int32)[None, :, None]
        rows = jnp.where(own, others, row).reshape(-1, decisions)
        after = excess_of(rows).reshape(decisions, options)
        gain = values - values[jnp.arange(decisions), row][:, None]
        relief = excess - after
        cheapest = jnp.where(alive & (relief > 0), relief / (1e-6 + jnp.maximum(-gain, 0.0)), 0.0)
        dearest = jnp.where(alive & (after <= 0) & (gain > 0), gain, 0.0)
        worth = jnp.where(excess > 0, cheapest, dearest).reshape(-1)
        place = worth.argmax()
        helps = worth[place] > 0
        row = jnp.where(helps, rows[place], row)
        return row, jnp.where(helps, after.reshape(-1)[place], excess), helps

    carry = first, excess_of(first[None])[0], jnp.array(True)
    row, excess, _ = jax.lax.while_loop(go_on, change, carry)
    return row, excess
