"""One method in one case: all of its seeds, searched in one compiled program.

Legend: `S` seeds, `E` evaluations, `D` decisions, `Q` places of a grid.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.runs.compare.cases import Case
from hwnas_jax.runs.compare.outlook import Outlooks, cost_of, published
from hwnas_jax.runs.compare.plan import Plan
from hwnas_jax.search.evaluators import judged_only, make_ahead, make_evaluate
from hwnas_jax.search.strategies import Ahead, Evaluate, Strategy, best_so_far, run_strategy

_ROUNDING = 1e-6
"""How far sums of shares may miss a whole number of queries."""

_ARRAYS = {
    "architectures": Array("whole", ("S", "E", "D"), 0),
    **{name: Array("whole", ("S", "E"), 0) for name in ("fidelity", "best", "measured")},
    **{name: Array("float", ("S", "E"), finite=False)
       for name in ("score", "reported", "cost", "excess", "share", "chance")},
    "seconds": Array("float", ("T", "F"), finite=False),
}  # fmt: skip


class Cell(NamedTuple):
    """What the searches of a method asked for in a case, in order.

    Attributes:
      architectures: `int16[S, E, D]`.
      score: `float32[S, E]`, what was selected by.
      reported: `float32[S, E]`, what the table reports of each, after the longest training.
      cost: `float32[S, E]`, what each truly costs; zero where networks cost nothing.
      excess: `float32[S, E]`, how far over the limit each was believed to be, as a share of it.
      fidelity: `int32[S, E]`, how many fidelities below the highest each was evaluated.
      share: `float32[S, E]`, what that took, as a share of a full training.
      best: `int32[S, E]`, after each evaluation the number of the one that is selected so far.
      chance: `float32[S, E]`, with what probability the selected one was then believed to keep the
        limit.
      measured: `int32[S, E]`, how many networks had then been measured.
      seconds: `float32[S, E]`, what each training took; empty where the table does not know it.
    """

    architectures: np.ndarray
    score: np.ndarray
    reported: np.ndarray
    cost: np.ndarray
    excess: np.ndarray
    fidelity: np.ndarray
    share: np.ndarray
    best: np.ndarray
    chance: np.ndarray
    measured: np.ndarray
    seconds: np.ndarray

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        write_npz(path, self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Cell":
        """Returns what `save` wrote; UserError when the file is damaged."""
        try:
            cell = cls(**read_npz(path, _ARRAYS))
            if cell.seconds.size and cell.seconds.shape != cell.score.shape:
                found, wanted = cell.seconds.shape, cell.score.shape
                raise UserError(f"seconds is {list(found)} in place of {list(wanted)}")
            return cell
        except UserError as error:
            raise UserError(
                f"the result {path} cannot be used: {error}. Remove the file, and it is made again"
            ) from error

    def spent(self) -> np.ndarray:
        """Returns how many full trainings were spent after each evaluation, `float64[S, E]`."""
        return np.cumsum(self.share.astype(np.float64), axis=1)

    def last(self, queries: np.ndarray) -> np.ndarray:
        """Returns the last evaluation that a number of full trainings pays for.

        Args:
          queries: `float[Q]`, of at least one each.

        Returns:
          `int[S, Q]`.
        """
        budget = np.asarray(queries) + _ROUNDING
        return np.stack([np.searchsorted(row, budget, "right") - 1 for row in self.spent()])

    def selected(self, queries: np.ndarray) -> np.ndarray:
        """Returns the evaluation that is selected after numbers of full trainings, `int[S, Q]`."""
        return np.take_along_axis(self.best, self.last(queries), axis=1)


Program = Callable[[Case], dict[str, jax.Array]]


def judge_of(plan: Plan, arrays: Any, ahead: Ahead) -> Evaluate:
    """Returns what a search asks; what the table lacks is out of its reach.

    Args:
      plan: of the comparison.
      arrays: of the table, as inputs of the compiled program.
      ahead: what the search knows of costs.
    """
    evaluate = make_evaluate(plan.evaluator, plan.bench, arrays, ahead)

    def judge(architectures, fidelity, key):
        told, metrics = evaluate(architectures, fidelity, key)
        return judged_only(told), metrics

    return judge


def make_program(plan: Plan, strategy: Strategy, outlook: Outlooks = published) -> Program:
    """Returns a function that searches one case after another with one method.

    It is compiled for the first case, since costs and limits are inputs.

    Args:
      plan: of the comparison.
      strategy: the method.
      outlook: what the searches know of a network's cost.
    """
    space, rounds = plan.table.space, plan.rounds(strategy)
    mask = jnp.asarray(space.mask)

    def search(key, arrays, costs, known):
        ahead = make_ahead(space, outlook(space, known))
        judge = judge_of(plan, arrays, ahead)
        history = run_strategy(strategy, key, mask, judge, rounds, ahead)[1]
        number = jnp.arange(rounds * strategy.each).reshape(rounds, strategy.each)
        numbered = history._replace(metrics={"number": number})
        best = best_so_far(numbered)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), history)
        return {
            "architectures": flat.architectures.astype(jnp.int16),
            "score": flat.told.score,
            "reported": flat.metrics["test_accuracy"],
            "cost": cost_of(space, costs, flat.architectures),
            "excess": flat.told.excess,
            "fidelity": flat.fidelity,
            "best": best.metrics["number"],
            "chance": (best.told.excess <= 0).astype(jnp.float32),
            "measured": jnp.zeros(flat.told.score.shape, jnp.int32),
            **({"seconds": flat.metrics["seconds"]} if "seconds" in flat.metrics else {}),
        }

    compiled = jax.jit(jax.vmap(search, (0, None, None, None)))
    keys = jax.vmap(jax.random.key)(jnp.arange(plan.settings.seeds))
    arrays = jax.device_put(plan.arrays)
    return lambda case: compiled(keys, arrays, case.costs, case.costs)


def run_cell(plan: Plan, program: Program, case: Case) -> Cell:
    """Returns what a method finds in a case, up to the last evaluation that the budget pays for.

    Args:
      plan: of the comparison.
      program: what `make_program` returned for the method.
      case: what is searched for.
    """
    found: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in program(case).items()}
    found["share"] = np.asarray(plan.shares, np.float32)[found["fidelity"]]
    found.setdefault("seconds", np.zeros((0, 0), np.float32))
    cell = Cell(**found)
    longest = int(cell.last(np.array([plan.queries])).max()) + 1
    return Cell(*(leaf[:, :longest] for leaf in cell))


def keeps(cost: np.ndarray, limit: float) -> np.ndarray:
    """Returns whether costs are within a limit, but for rounding; what is unknown is not."""
    return cost <= limit * (1 + _ROUNDING)


def over_limit(cell: Cell, case: Case, chosen: np.ndarray) -> np.ndarray:
    """Returns whether what was chosen truly costs more than the limit, `bool[S]`.

    Args:
      cell: of a method.
      case: has the limit.
      chosen: `int[S]`, the number of an evaluation of each search.
    """
    cost = cell.cost[np.arange(len(chosen)), chosen].astype(np.float64)
    return ~keeps(cost, math.inf if case.limit is None else case.limit)
