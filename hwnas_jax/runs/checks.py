"""What can be refused before a run begins.

Each check is that of the stage it belongs to, called before minutes of profiling are spent.
"""

from hwnas_jax.budgets import BUDGETS, check_budget
from hwnas_jax.config import Config, validate
from hwnas_jax.cost.models.registry import check_cost_model
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.base import steps_per_dispatch
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs.searching import GRADIENT
from hwnas_jax.search.derivation import DERIVATIONS
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.methods import make_methods
from hwnas_jax.search.refine import rounds
from hwnas_jax.search.strategies import STRATEGIES, check_strategy
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import make_task


def check_config(config: Config) -> None:
    """Refuses an experiment that a later stage would refuse.

    Raises:
      UserError: for a value out of range, a cost model or an option of it that is not there, too
        few devices, a batch that does not divide by them, or a search too short to measure in.
    """
    validate(config)
    check_cost_model(config.cost.model)
    replicas = Replicas.from_config(config.parallel)
    replicas.check_batch(config.search.batch_size, "search.batch_size", config.search.accumulate)
    replicas.check_batch(config.retrain.batch_size, "retrain.batch_size", config.retrain.accumulate)
    length = steps_per_dispatch(config.search.steps, config.search.steps_per_dispatch)
    rounds(config.search, config.target, range(0, config.search.steps, length))


def check_methods(config: Config, space: Space, dataset: Dataset, *, several: bool) -> None:
    """Refuses methods that are not there, do not go together, or do not keep their contract.

    Nothing is compiled: what a method returns is looked at by its shapes.

    Args:
      config: names the methods.
      space: what is searched.
      dataset: the task's targets.
      several: whether this is a sweep.

    Raises:
      UserError: names the method, what it lacks and what is allowed.
    """
    task = make_task(config.task, dataset)
    limits = {config.target.metric: 1.0, **config.target.limits}
    check_budget(BUDGETS.make(config.budget), limits, tuple(limits))
    rule, search = DERIVATIONS.make(config.derive.rule), config.search
    make_methods(space, task, config)
    if search.strategy.name == GRADIENT:
        return
    strategy = STRATEGIES.make(search.strategy)
    check_strategy(strategy, space.mask)
    EVALUATORS.make(search.evaluator)
    if rule.name != "most_probable":
        raise UserError(
            f"derive.rule = {rule.name!r} orders networks by what a gradient search knows of them; "
            f"search.strategy = {strategy.name!r} leaves the scores it was told, by which its "
            "networks are ordered"
        )
    if several and config.target.measurements:
        raise UserError(
            f"target.measurements goes with search.strategy = {GRADIENT!r} alone, not with "
            f"{strategy.name!r}"
        )
