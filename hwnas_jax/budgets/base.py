"""How the hardware enters a search: limits on costs, and what they do to the loss.

Legend: `M` metrics with a limit, `N` architectures.

A `Budget` is handed the costs that a cost model predicts and the limits, both by metric
("latency_ms"), and says what the loss of the architecture becomes. Limits are part of its state, so
that one compiled step serves every limit. What follows from a budget besides the loss, which
networks meet it, stands here too, so that the search and the derivation cannot disagree.

There are two kinds of target. One that is *met from both sides* wants the costs at the limit: what
is left over is spent. An *upper bound* only counts what lies above it.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt

from hwnas_jax.registry import Registry

Costs = dict[str, jax.Array]
"""`float32[]` by metric."""


class BudgetState(NamedTuple):
    """What a budget carries from step to step.

    Attributes:
      limits: `{metric: float32[]}`.
      multipliers: `{metric: float32[]}`, the weight of each metric's excess.
    """

    limits: Costs
    multipliers: Costs


@dataclasses.dataclass(frozen=True)
class Budget(abc.ABC):
    """How limits on costs enter the loss of an architecture.

    The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      both_sides: whether a network that leaves much of the budget unused misses it.
      per_network: whether `term` and `excess` are of the costs of single drawn networks, and are
        averaged over draws; otherwise they are of the expected costs, which a mixture of a cheap
        and a dear network may meet where no network does.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    both_sides: ClassVar[bool] = True
    per_network: ClassVar[bool] = False

    tolerance: Annotated[float, Gt(0), Lt(1)] = 0.03
    """share of the budget that a derived network may leave unused where both sides count"""

    def init(self, limits: Mapping[str, jax.typing.ArrayLike]) -> BudgetState:
        """Returns the initial state.

        Args:
          limits: `{metric: float32[]}`, in the metrics' own units.
        """
        arrays = {metric: jnp.asarray(value, jnp.float32) for metric, value in limits.items()}
        return BudgetState(arrays, {metric: jnp.zeros(()) for metric in arrays})

    def excess(self, costs: Costs, state: BudgetState) -> Costs:
        """Returns what `update` learns from, by metric: by default cost / limit - 1.

        With `per_network` the search averages it over drawn networks.
        """
        return {metric: costs[metric] / limit - 1.0 for metric, limit in state.limits.items()}

    @abc.abstractmethod
    def term(self, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns what the costs add to the loss, `float32[]`, differentiable in them."""

    def combine(self, task_loss: jax.Array, costs: Costs, state: BudgetState) -> jax.Array:
        """Returns the loss of the architecture, `float32[]`: by default task loss plus `term`.

        A method whose hardware term multiplies the task loss overrides this. The gradient reaches
        the architecture by the chain rule: that of the task loss as the estimator has it, times the
        derivative by `task_loss`, plus those of the costs. It is not used with `per_network`.
        """
        return task_loss + self.term(costs, state)

    def update(self, excess: Costs, state: BudgetState) -> BudgetState:
        """Returns the state after a step whose `excess` is given; by default unchanged."""
        del excess
        return state

    def distance(self, costs: Any, limits: Mapping[str, float], *, widened: float = 1.0) -> Any:
        """Returns how far networks lie outside the budget, as a share of it; zero inside.

        Args:
          costs: `{metric: float[N]}`, NumPy's or JAX's.
          limits: by metric, the budget first.
          widened: how many times `tolerance` may stay unused.
        """
        metrics = list(limits)
        used = {metric: costs[metric] / limits[metric] for metric in metrics}
        outside = sum((used[metric] - 1.0).clip(min=0.0) for metric in metrics)
        if self.both_sides:
            outside = outside + (1.0 - widened * self.tolerance - used[metrics[0]]).clip(min=0.0)
        return outside

    def meets(
        self, costs: Mapping[str, np.ndarray], limits: Mapping[str, float], *, widened: float = 1.0
    ) -> np.ndarray:
        """Returns which networks meet the budget, `bool[N]`; arguments as of `distance`."""
        return self.distance(costs, limits, widened=widened) <= 0


BUDGETS: Registry[Budget] = Registry("budget", Budget, "hwnas_jax.budgets")  # type: ignore[type-abstract]


def check_budget(budget: Budget, limits: Mapping[str, float], metrics: tuple[str, ...]) -> None:
    """Checks a budget against the metrics that the cost model predicts, without running it.

    Args:
      budget: the method.
      limits: by metric.
      metrics: of the cost model.

    Raises:
      UserError: for a limit on a metric that is not predicted, or a function whose result is not
        as the contract says.
    """
    from hwnas_jax.errors import UserError, choose

    for metric in limits:
        choose(metric, metrics, "metric of the cost model")
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    costs: Any = dict.fromkeys(metrics, scalar)
    where = f"budget {budget.name}"

    def every(loss, costs):
        state = budget.init(limits)
        excess = budget.excess(costs, state)
        return budget.combine(loss, costs, state), budget.term(costs, state), excess, (
            state, budget.update(excess, state)
        )  # fmt: skip

    try:
        combined, term, excess, (before, after) = jax.eval_shape(every, scalar, costs)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails: {reason}") from error
    for what, found in (("combine", combined), ("term", term)):
        if getattr(found, "shape", None) != () or found.dtype != jnp.float32:
            raise UserError(f"{where}: {what} must return float32[], got {found}")
    if set(excess) != set(limits):
        raise UserError(
            f"{where}: excess must name {', '.join(limits)}, got {', '.join(excess) or 'nothing'}"
        )
    shapes = [jax.tree.map(lambda a: (a.shape, a.dtype), tree) for tree in (before, after)]
    if shapes[0] != shapes[1]:
        raise UserError(f"{where}: update must return a state like that of init")
