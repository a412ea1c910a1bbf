"""A search that asks and tells, as an experiment: strategy, evaluator and budget in one program.

Legend: `R` rounds, `n` architectures a round, `D` decisions.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import hwnas_jax.tabular  # noqa: F401  registers the evaluator of tables
from hwnas_jax.budgets import BUDGETS, Budget
from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.data.pipeline import augmentation
from hwnas_jax.data.recognise import DEFAULT
from hwnas_jax.parallel.base import Experiment, Resident, steps_per_dispatch
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.gradient_search import examples_of
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.runs.population import Member
from hwnas_jax.runs.start import Start, start_of
from hwnas_jax.runs.strategy_supernet import Further, check_phases, trained_supernet
from hwnas_jax.search.evaluators import (
    EVALUATORS,
    Bench,
    Evaluator,
    check_evaluator,
    check_fidelities,
    judged_only,
    make_ahead,
    make_evaluate,
)
from hwnas_jax.search.outlook import outlook_of
from hwnas_jax.search.strategies import STRATEGIES, Strategy, Told
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Task, make_task

_ROUNDS_PER_CALL = 10


class StrategyState(NamedTuple):
    """What is carried from round to round, and checkpointed.

    Attributes:
      step: `int32[]`, rounds done.
      key: the run's random key; every round folds its number in.
      strategy: the strategy's own state.
      architectures: `int32[R, n, D]`, what was asked for; zeros where nothing was yet.
      told: what was told, leaves `float32[R, n]`.
      fidelity: `int32[R]`, how many fidelities below the highest each round was evaluated. Weights
        that are trained on in later phases count as a lower fidelity.
    """

    step: jax.Array
    key: jax.Array
    strategy: Any
    architectures: jax.Array
    told: Told
    fidelity: jax.Array


class StrategyInfo(NamedTuple):
    """What is reported of a round; every leaf is `float32[]`."""

    score: jax.Array
    within_budget: jax.Array


def search_by_strategy(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
    *,
    folder: Path | None = None,
    from_step: int | None = None,
    progress: Progress = quiet,
) -> Found:
    """Lets a strategy ask for architectures and an evaluator judge them, for every search.

    Where the evaluator judges by shared weights, a supernet is trained first, by paths drawn
    uniformly, once for every seed; `search.start_from` takes the one of a finished run instead. A
    strategy of several phases has it trained on before each of them, by paths of the options that
    are still alive, and `search.steps` are shared out to these trainings.

    Args:
      space: the search space.
      dataset: what the evaluator looks at.
      cost_model: predicts whether an architecture is within the budget.
      members: the searches, one after another.
      config: the experiment; `search`, `task`, `budget` and `data` are read.
      folder: takes `checkpoints/` and `metrics.jsonl`; existing checkpoints are continued.
      from_step: the round to continue from; None takes the newest checkpoint.
      progress: reports rounds done.

    Raises:
      UserError: when the evaluator does not fit the space or the data, or has less fidelities than
        the strategy uses, or the rounds are too few for the strategy.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    evaluator = EVALUATORS.make(config.search.evaluator)
    strategy = STRATEGIES.make(config.search.strategy)
    budget = BUDGETS.make(config.budget)
    task = make_task(config.task, dataset)
    start = Start.load(folder, space, len(members)) if folder else None
    if start is None and config.search.start_from is not None:
        start = start_of(space, cost_model, members, config)
        if folder:
            start.save(folder)
    check_phases(strategy, evaluator, space, config)
    phases = strategy.phases(space.mask)
    if not evaluator.needs_weights or (start is not None and start.weights is not None):
        phases = (0,)
    ends = [*phases[1:], config.search.rounds]
    trained: dict[int, np.ndarray] = {}
    weights, results, several = [], [], len(members) > 1

    def weights_of(number: int, member: Member, config: Config, further: Further | None):
        """Returns the supernet's weights that judge in a phase; None where none do."""
        if not evaluator.needs_weights:
            return None
        if start is not None and start.weights is not None:
            return start.weights[number]
        share, rest = divmod(config.search.steps, len(phases))
        name = f"supernet-seed{member.seed}"
        if further is not None:
            name = f"{f'supernet-{member.label}' if several else name}-phase{further.phase}"
        elif member.seed in trained:
            return trained[member.seed]
        found = trained_supernet(
            space, dataset, cost_model, member, config, steps=share if further else share + rest,
            name=name, further=further, folder=folder, progress=progress,
        )  # fmt: skip
        if further is None:
            trained[member.seed] = found
        return found

    for number, member in enumerate(members):
        own = dataclasses.replace(config, seed=member.seed)
        named = strategy.named(search_name(own, member.label if several else ""))
        further: Further | None = None
        state: StrategyState | None = None
        for phase, end in enumerate(ends):
            judging = weights_of(number, member, own, further)
            bench = bench_of(space, dataset, task, own, judging)
            check_fidelities(strategy, evaluator, bench)
            state = _run(
                named, evaluator, budget, bench, space, cost_model, member, own,
                first=None if start is None else start.networks[number], several=several,
                phase=phase if len(ends) > 1 else None, later=len(ends) - 1 - phase,
                before=state, end=end,
                folder=folder, from_step=from_step, progress=progress,
            )  # fmt: skip
            if phase + 1 < len(ends):
                alive = named.alive(state.strategy)
                left = space.mask if alive is None else np.asarray(alive)
                further = Further(phase + 1, judging, left)
        assert state is not None
        weights += [] if judging is None else [judging]
        results.append(state)
    count = len(members), -1
    return Found(
        weights=np.stack(weights) if weights else None,
        networks=np.stack([s.architectures for s in results]).reshape(*count, space.num_decisions),
        scores=np.stack([s.told.score for s in results]).reshape(count),
        excess=np.stack([s.told.excess for s in results]).reshape(count),
        fidelity=np.repeat([s.fidelity for s in results], strategy.each, axis=1),
    )


def search_name(config: Config, member: str = "") -> str:
    """Returns the name of a search, the same in all processes that were started alike.

    Args:
      config: `space`, `data`, `target` and `search` are read.
      member: the label of one search of several, which has its budget.
    """
    target = config.target
    limit = f"percentile {target.percentile:g}" if target.value is None else f"{target.value:g}"
    budget = member or f"{target.metric} {limit}"
    data = Part(config.data.name or DEFAULT, config.data.args).label
    if config.data.path is not None:
        data = f"{data} {config.data.path}"
    space = Part(config.space.name, config.space.args).label
    return " / ".join([space, data, config.search.evaluator.label, budget])


def bench_of(
    space: Space, dataset: Dataset, task: Task, config: Config, weights: np.ndarray | None
) -> Bench:
    """Returns what an evaluator judges with.

    Args:
      space: what is searched.
      dataset: whose training examples are judged by.
      task: what is learned.
      config: `seed`, `search` and `data` are read.
      weights: `float32[P]`, of a trained supernet, or None.
    """
    return Bench(
        space=space,
        task=task,
        data=examples_of(dataset, config, seed=config.seed),
        supernet=make_supernet(space),
        weights=weights,
        batch_size=config.search.batch_size,
        augmentation=augmentation(dataset, config.data),
        seed=config.seed,
    )


def _run(
    strategy: Strategy, evaluator: Evaluator, budget: Budget, bench: Bench, space: Space,
    cost_model: CostModel, member: Member, config: Config, *, first: np.ndarray | None,
    several: bool, phase: int | None, later: int, before: StrategyState | None, end: int,
    folder: Path | None, from_step: int | None, progress: Progress,
) -> StrategyState:  # fmt: skip
    """Returns the state after the rounds of a phase, or of the whole search where that is None."""
    mask, rounds = jnp.asarray(space.mask), config.search.rounds
    shape = (rounds, strategy.each)
    begun = 0 if before is None else int(before.step)
    # All phases take the same program, whatever their lengths, so that a cache of programs helps.
    length = steps_per_dispatch(end - begun, _ROUNDS_PER_CALL) if phase is None else 1
    if phase is not None and from_step is not None and not begun < from_step <= end:
        from_step = None

    def init() -> StrategyState:
        if before is not None:
            return before
        key = jax.random.key(config.seed)
        return StrategyState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            strategy=strategy.init(jax.random.fold_in(key, rounds), mask),
            architectures=jnp.zeros((*shape, mask.shape[0]), jnp.int32),
            told=Told(jnp.zeros(shape), jnp.full(shape, jnp.inf), jnp.zeros(shape)),
            fidelity=jnp.zeros(rounds, jnp.int32),
        )

    def one(state: StrategyState, data: Any):
        ask_key, evaluate_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        costs = outlook_of(data["cost_model"], member.target, budget, space.num_options)
        ahead = make_ahead(space, costs)
        asked = strategy.ask(state.strategy, ask_key, ahead)
        if first is not None:
            places = state.step * strategy.each + jnp.arange(strategy.each)
            given = jnp.asarray(first)[jnp.minimum(places, len(first) - 1)]
            asked = jnp.where((places < len(first))[:, None], given, asked)
        fidelity = strategy.fidelity(state.strategy)
        evaluate = make_evaluate(evaluator, bench, data["arrays"], ahead)
        told = judged_only(evaluate(asked, fidelity, evaluate_key)[0])
        history = jax.tree.map(lambda every, new: every.at[state.step].set(new), state.told, told)
        state = StrategyState(
            step=state.step + 1,
            key=state.key,
            strategy=strategy.tell(state.strategy, asked, told),
            architectures=state.architectures.at[state.step].set(asked),
            told=history,
            fidelity=state.fidelity.at[state.step].set(fidelity + data["later"]),
        )
        return state, StrategyInfo(told.score.mean(), (told.excess <= 0).mean())

    def dispatch(state: StrategyState, data: Any):
        return jax.lax.scan(lambda state, _: one(state, data), state, None, length=length)

    def best(state: StrategyState) -> dict[str, Any]:
        """Returns the highest score within the budget so far; None before there is one.

        It is that of the highest fidelity at which any was evaluated.
        """
        meets = np.asarray(state.told.excess) <= 0
        levels = np.broadcast_to(np.asarray(state.fidelity)[:, None], shape)
        if not meets.any():
            return {"best": None}
        top = meets & (levels == levels[meets].min())
        return {"best": float(np.asarray(state.told.score)[top].max())}

    name = f"search-{member.label}" if several else "search"
    given = {"cost_model": cost_model, "later": np.asarray(later, np.int32)}
    whose = {"member": member.label} if several else {}
    experiment = Experiment(
        name=f"{name}-phase{phase}" if phase else name,
        describe=f"{strategy.name} by {evaluator.name}" + (f" {member.label}" if several else ""),
        init=init,
        dispatch=dispatch,
        data=Resident({"arrays": check_evaluator(evaluator, bench)}),
        total=end,
        start=begun,
        per_dispatch=length,
        checkpoint_every=max(1, rounds // 10),
        log={"stage": "strategy", **whose, **({} if phase is None else {"phase": phase})},
        extra=best,
        inputs=lambda step, read_state: given,
    )
    place = Replicas((jax.local_devices()[0],), config.parallel.backend)
    return run_experiment(experiment, place, folder=folder, from_step=from_step, progress=progress)
