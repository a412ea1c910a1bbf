"""From what an evaluator says to what a strategy is told: one score, and how far over the budget.

Legend: `n` architectures, `D` decisions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
      excess: `int32[n, D] -> float32[n]`, how far over the budget each lies, as a share of it;
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
