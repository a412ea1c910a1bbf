"""From what an evaluator says to what a strategy is told: one score, and how far over the budget.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision.
"""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.search.evaluators.base import Bench, Evaluator
from hwnas_jax.search.strategies.base import Told
from hwnas_jax.spaces.base import Choices

Evaluate = Callable[[jax.Array, jax.Array], tuple[Told, dict[str, jax.Array]]]
"""`(int32[n, D], key) -> (Told, metrics)`, what `run_strategy` asks for."""


def make_evaluate(
    evaluator: Evaluator,
    bench: Bench,
    arrays: Any,
    excess: Callable[[jax.Array], jax.Array] | None = None,
) -> Evaluate:
    """Returns what a strategy asks, made of an evaluator and a budget; pure.

    Args:
      evaluator: judges the architectures.
      bench: what it judges with.
      arrays: what `Evaluator.arrays` returned, as inputs of the compiled program.
      excess: `int32[n, D] -> float32[n]`, such as `over_budget` with its first arguments given;
        None where there is no budget.
    """
    metric, higher_is_better = evaluator.score(bench)

    def evaluate(architectures, key):
        metrics = evaluator.evaluate(bench, arrays, architectures, key)
        score = metrics[metric] if higher_is_better else -metrics[metric]
        over = jnp.zeros_like(score) if excess is None else excess(architectures)
        over = jnp.where(members(bench.space, architectures), over, jnp.inf)
        return Told(score, over), metrics

    return evaluate


def over_budget(
    model: CostModel,
    limits: Mapping[str, jax.typing.ArrayLike],
    num_options: int,
    architectures: jax.Array,
) -> jax.Array:
    """Returns by which share of a limit each architecture lies above it, `float32[n]`.

    Zero is within the budget; of several limits the one that is missed by most counts.

    Args:
      model: predicts the costs.
      limits: `{metric: float32[]}`, at least one.
      num_options: `K`.
      architectures: `int32[n, D]`.
    """
    chex.assert_rank(architectures, 2)

    def one(weight):
        costs = model.predict(weight)
        shares = [costs[metric] / limit - 1.0 for metric, limit in limits.items()]
        return jnp.maximum(jnp.stack(shares).max(), 0.0)

    weights = jax.nn.one_hot(architectures, num_options, dtype=jnp.float32)
    return jax.vmap(one)(weights)


def members(space: Choices, architectures: jax.Array) -> jax.Array:
    """Returns which architectures (`int32[n, D]`) are members of the space, `bool[n]`; pure.

    Where decisions exclude one another, the space says on the host which are members: the program
    then stops for it in every round.
    """
    if type(space).feasible is Choices.feasible:
        return jnp.ones(len(architectures), bool)

    def ask(rows):
        rows = np.asarray(rows)
        return np.asarray(space.feasible(rows.reshape(-1, rows.shape[-1]))).reshape(rows.shape[:-1])

    shape = jax.ShapeDtypeStruct(architectures.shape[:1], jnp.bool_)
    return jax.pure_callback(ask, shape, architectures, vmap_method="expand_dims")
