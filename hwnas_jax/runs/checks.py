"""What can be refused before a run begins.

Each check is that of the stage it belongs to, called before minutes of profiling are spent.
"""

import numpy as np

from hwnas_jax.budgets import Budget, check_budget
from hwnas_jax.config import Config, SearchConfig, alone, override, validate
from hwnas_jax.cost import AnalyticModel, estimate
from hwnas_jax.cost.models.registry import check_cost_model
from hwnas_jax.cost.simulate.codesign import Systolic
from hwnas_jax.cost.simulate.estimates import computes
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.base import steps_per_dispatch
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs.blockwise_search import check_blockwise
from hwnas_jax.runs.controls import controls_of
from hwnas_jax.runs.start import check_start
from hwnas_jax.runs.strategy_search import bench_of, search_name
from hwnas_jax.runs.strategy_supernet import check_phases
from hwnas_jax.runs.warm_start import check_warm_start
from hwnas_jax.search.blockwise import BLOCKWISE
from hwnas_jax.search.derivation import DERIVATIONS, Derivation
from hwnas_jax.search.evaluators import EVALUATORS, check_evaluator, check_fidelities
from hwnas_jax.search.methods import make_methods
from hwnas_jax.search.refine import rounds
from hwnas_jax.search.strategies import GRADIENT, STRATEGIES, check_strategy
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import make_task


def check_config(config: Config, replicas: Replicas | None = None) -> None:
    """Refuses an experiment that a later stage would refuse.

    Args:
      config: the experiment.
      replicas: the devices that it is for; those of this machine or job when left out.

    Raises:
      UserError: for a value out of range, a cost model, an option of it or a control that is not
        there, too few devices, a batch that does not divide by them, or a search too short to
        measure in.
    """
    validate(config)
    check_cost_model(config.cost.model)
    controls_of(config, several=False)
    replicas = replicas or Replicas.from_config(config.parallel)
    replicas.check_batch(config.search.batch_size, "search.batch_size", config.search.parts)
    replicas.check_batch(config.retrain.batch_size, "retrain.batch_size", config.retrain.accumulate)
    length = steps_per_dispatch(config.search.steps, config.search.steps_per_dispatch)
    rounds(config.search, config.target, range(0, config.search.steps, length))


def one_device_each(config: Config) -> Config:
    """Returns the config with every search on one device; UserError when it asks for more."""
    if config.parallel.devices not in (None, 1):
        raise UserError(
            f"parallel.devices = {config.parallel.devices}: each search of a sweep runs on one "
            "device; --sweep.devices says how many devices the searches are spread over"
        )
    if config.search.warmup_steps == config.search.steps:
        raise UserError(
            f"search.warmup_steps = {config.search.warmup_steps}, as many as search.steps: such "
            "weights know no budget, so that one search serves them all. Use hwnas search, then "
            "hwnas derive RUN --targets"
        )
    if False in (config.data.resident, config.search.data.resident):
        raise UserError("data.resident = False: the searches of a sweep keep data on the devices")
    return override(config, parallel__devices=1)


def check_methods(config: Config, space: Space, dataset: Dataset) -> None:
    """Refuses methods that are not there, do not go together, or do not keep their contract.

    Nothing is compiled: what a method returns is looked at by its shapes.

    Args:
      config: names the methods.
      space: what is searched.
      dataset: the task's targets.

    Raises:
      UserError: names the method, what it lacks and what is allowed.
    """
    if config.search.start_from is not None:
        by_gradient = config.search.strategy.name == GRADIENT
        (check_warm_start if by_gradient else check_start)(config, space)
    elif config.search.weights.frozen:
        raise UserError(
            "search.weights.frozen keeps the weights of another run: name it with "
            "--search.start-from, or leave the weights to be trained"
        )
    task = make_task(config.task, dataset)
    rule, search = DERIVATIONS.make(config.derive.rule), config.search
    methods = make_methods(space, task, config)
    check_fair(search, space)
    if search.strategy.name == GRADIENT:
        if search.strategy.args:
            raise UserError(
                f"search.strategy = {GRADIENT!r} has no options of its own, got "
                f"{', '.join(search.strategy.args)}: its methods are search.relaxation and "
                "search.estimator"
            )
        return
    check_without_gradients(config, rule)
    if search.strategy.name == BLOCKWISE:
        check_blockwise(config, space)
        return
    strategy = STRATEGIES.make(search.strategy).named(search_name(config))
    check_strategy(strategy, space.mask)
    evaluator = EVALUATORS.make(search.evaluator)
    weights = np.zeros(methods.supernet.num_weights, np.float32)
    bench = bench_of(space, dataset, task, config, weights)
    check_evaluator(evaluator, bench)
    check_fidelities(strategy, evaluator, bench)
    check_phases(strategy, evaluator, space, config)


def check_without_gradients(config: Config, rule: Derivation) -> None:
    """Refuses what only a gradient search can do.

    Args:
      config: of a search by another strategy.
      rule: that derives.

    Raises:
      UserError: names the method and what is allowed.
    """
    name = config.search.strategy.name
    if rule.needs_weights:
        fit = [name for name in DERIVATIONS if not DERIVATIONS[name].needs_weights]
        raise UserError(
            f"derive.rule = {rule.name!r} asks the supernet of a gradient search; "
            f"search.strategy = {name!r} leaves scores. Allowed are {', '.join(fit)}"
        )
    for unfit, what in (
        (config.target.measurements, "target.measurements"),
        (config.parallel != alone(config.parallel), "a job of several processes"),
    ):
        if unfit:
            raise UserError(
                f"{what} goes with search.strategy = {GRADIENT!r} alone, not with {name!r}"
            )


def check_fair(search: SearchConfig, space: Space) -> None:
    """Refuses fair draws that cannot be fair: too few for the options, or no multiple of them.

    Raises:
      UserError: names how many draws are fair.
    """
    if not search.fair:
        return
    widest = int(space.mask.sum(axis=1).max())
    if search.draws % widest:
        raise UserError(
            f"search.fair runs each of the {widest} options of the widest decision equally often "
            f"in a step; search.draws = {search.draws} must be {widest} or a multiple"
        )


def check_limits(
    config: Config, budget: Budget, space: Space, observed: tuple[str, ...] | None
) -> None:
    """Refuses a limit on a metric that the cost model will not predict, before there is one.

    Args:
      config: `target`, `cost` and `profile` are read.
      budget: is checked with the limits.
      space: what is searched.
      observed: the metrics of the measurement file; None where the space will be profiled.

    Raises:
      UserError: names the metric and those that will be predicted.
    """
    if observed is None:
        if computes(space, config.profile):
            one = np.zeros((1, space.num_decisions), np.int32)
            observed = estimate(space, one, Systolic()).metrics
        else:
            observed = ("latency_ms", *(("energy_mj",) if config.profile.energy else ()))
    kind = check_cost_model(config.cost.model)
    if kind is AnalyticModel:
        observed = ("latency_ms", "peak_memory_mib")
    elif isinstance(vars(kind).get("metrics"), tuple):
        observed = vars(kind)["metrics"]
    limits = {config.target.metric: 1.0, **config.target.limits}
    # What can be counted stands beside the predictions of every cost model.
    counted = AnalyticModel.counted_metrics(space)
    check_budget(budget, limits, tuple(dict.fromkeys((*observed, *counted))))
