"""From what an evaluator and a cost model say to what a strategy is told.

Legend: `n` architectures, `D` decisions.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.search.evaluators.base import Bench, Evaluator
from hwnas_jax.search.strategies.base import (
    Ahead,
    Evaluate,
    SoftAhead,
    Strategy,
    Told,
    no_budget,
)
from hwnas_jax.spaces.base import Choices


def make_ahead(space: Choices, costs: Ahead = no_budget) -> Ahead:
    """Returns what a strategy may look at: costs, features, and which are members at all.

    Args:
      space: what the architectures are of.
      costs: says what members cost; its features are not read. What it knows of architectures
        that are drawn at random is passed on.
    """

    def ahead(architectures):
        outlook, inside = costs(architectures), members(space, architectures)
        return outlook._replace(
            excess=jnp.where(inside, outlook.excess, jnp.inf),
            chance=jnp.where(inside, outlook.chance, 0.0),
            features=space.describe(architectures),
        )

    return SoftAhead(ahead, costs.expected) if isinstance(costs, SoftAhead) else ahead


def make_evaluate(evaluator: Evaluator, bench: Bench, arrays: Any, ahead: Ahead) -> Evaluate:
    """Returns what a strategy asks, made of an evaluator and a cost model; pure.

    Args:
      evaluator: judges the architectures.
      bench: what it judges with.
      arrays: what `Evaluator.arrays` returned, as inputs of the compiled program.
      ahead: what `make_ahead` returned.
    """
    metric, higher_is_better = evaluator.score(bench)

    def evaluate(architectures, fidelity, key):
        metrics = evaluator.evaluate(bench, arrays, architectures, fidelity, key)
        score = metrics[metric] if higher_is_better else -metrics[metric]
        outlook = ahead(architectures)
        return Told(score, outlook.excess, outlook.cost), metrics

    return evaluate


def check_fidelities(strategy: Strategy, evaluator: Evaluator, bench: Bench) -> None:
    """Refuses a strategy that uses more fidelities than the evaluator has.

    Raises:
      UserError: names both numbers.
    """
    shares = evaluator.fidelities(bench)
    if strategy.fidelities > len(shares):
        shown = ", ".join(f"{share:.3g}" for share in shares)
        raise UserError(
            f"the strategy {strategy.name} evaluates at {strategy.fidelities} fidelities, and the "
            f"evaluator {evaluator.name} has {len(shares)} (shares of a full evaluation: {shown})"
        )


def judged_only(told: Told) -> Told:
    """Returns the same, in which what could not be judged is as good as no member of the space.

    A table may lack an architecture, and a training may diverge.
    """
    judged = jnp.isfinite(told.score)
    return told._replace(
        score=jnp.where(judged, told.score, 0.0), excess=jnp.where(judged, told.excess, jnp.inf)
    )


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
