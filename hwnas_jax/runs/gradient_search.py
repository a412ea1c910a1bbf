"""A gradient search as an experiment: from data and cost model to probabilities."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.compile.ahead import memory_help
from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.data.batches import Batches
from hwnas_jax.data.pipeline import split_halves
from hwnas_jax.parallel.base import Experiment, steps_per_dispatch
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import AXIS, Replicas, statistics_axis
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.runs.shares import keep_shares
from hwnas_jax.search.candidates import bounded_costs
from hwnas_jax.search.evaluators import Data
from hwnas_jax.search.gradient import HALVES, Methods, Search, SearchState, make_search
from hwnas_jax.search.methods import make_methods
from hwnas_jax.search.refine import Refinement
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import make_task


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a gradient search leaves behind.

    Attributes:
      state: the final state, unreplicated.
      methods: what it was made of.
      probabilities: `float32[D, K]`, of the options.
      cost_model: the one it ended with, refitted where it measured.
    """

    state: SearchState
    methods: Methods
    probabilities: np.ndarray
    cost_model: CostModel


def halves_of(
    dataset: Dataset, config: Config, *, seed: int | None = None
) -> dict[str, np.ndarray]:
    """Returns the rows of the training data that weights and architecture learn from.

    Args:
      dataset: whose training examples are halved.
      config: the experiment.
      seed: of the search; the config's own when left out.
    """
    rows = split_halves(len(dataset.train_targets), config.seed if seed is None else seed)
    return dict(zip(HALVES, rows, strict=True))


def examples_of(dataset: Dataset, config: Config, *, seed: int) -> Data:
    """Returns the training examples in the halves of the search with that seed."""
    halves = halves_of(dataset, config, seed=seed)
    return Data(
        dataset.train_inputs, dataset.train_targets, halves["weight"], halves["arch"],
        dataset.mean, dataset.std,
    )  # fmt: skip


def batches_of(dataset: Dataset, config: Config, length: int) -> Batches:
    """Returns the batches of a search whose calls take `length` steps."""
    parts = halves_of(dataset, config)
    return Batches(dataset, config.data, parts, config.search.batch_size, length)


def search_functions(methods: Methods, target: Target, config: Config) -> Search:
    """Returns the functions of the search that a config describes, under a target."""
    return make_search(
        methods, config.search, deviations=target.deviations, samples=config.target.samples
    )


def make_dispatch(
    search: Search, batches: Batches, axis_name: str | None = AXIS
) -> Callable[[SearchState, Any], tuple[SearchState, Any]]:
    """Returns `(state, data) -> (state, info)`, the steps of one compiled call.

    The entry `cost_model` of the data is the model that the search goes by: it is an input of the
    compiled step, so that a refitted model runs in the same program.
    """

    def step(state, drawn, data):
        return search.step(state, drawn, data["cost_model"], axis_name)

    return batches.scan(step, axis_name)


def search_architecture(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    target: Target,
    config: Config,
    *,
    folder: Path | None = None,
    stage: str = "search",
    from_step: int | None = None,
    begin: Callable[[SearchState], SearchState] | None = None,
    progress: Progress = quiet,
) -> SearchResult:
    """Optimises weights and architecture together, under the budget.

    Args:
      space: the search space.
      dataset: its training examples are split into a half for the weights and one for the
        architecture.
      cost_model: predicts the metrics that have a limit.
      target: the budget.
      config: the experiment; `seed`, `search`, `task`, `budget`, `target`, `data` and `parallel`
        are read.
      folder: takes `checkpoints/<stage>/` and `metrics.jsonl`; an existing checkpoint is continued.
        With `target.measurements` it must hold `measurements.json`, what the cost model was fitted
        to, and takes what `hwnas_jax.search.refine` writes.
      stage: names the search in log lines and messages.
      from_step: the checkpoint to continue from; None takes the newest.
      begin: changes the state that a search begins with, such as `WarmStart.into`.
      progress: reports steps done.

    Raises:
      UserError: for a batch that does not divide, a damaged checkpoint, a loss that is not finite,
        measurements that cannot be taken, or methods that do not go together.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    replicas = Replicas.from_config(config.parallel)
    config, note = keep_shares(folder, stage, config, replicas.count)
    if note:
        progress(0, 0, note)
    settings = config.search
    replicas.check_batch(settings.batch_size, "search.batch_size", settings.parts)
    task = make_task(config.task, dataset)
    methods = make_methods(space, task, config, sync_axis=statistics_axis(config.parallel))
    search = search_functions(methods, target, config)
    length = steps_per_dispatch(settings.steps, settings.steps_per_dispatch)
    batches = batches_of(dataset, config, length)
    refinement = Refinement(
        space, cost_model, [target], config, range(0, settings.steps, length),
        folder=folder, progress=progress,
    )  # fmt: skip
    prior = methods.prior()

    def init() -> SearchState:
        state = jax.jit(search.init)(jax.random.key(config.seed), target.limits)
        return state if begin is None else begin(state)

    def inputs(step, read_state):
        def probabilities():
            return methods.probabilities(read_state().params)[None]

        return {"cost_model": refinement.at(step, probabilities, prior)}

    experiment = Experiment(
        name=stage,
        describe=f"{stage} on {dataset.name}",
        init=init,
        dispatch=make_dispatch(search, batches),
        data=batches,
        total=settings.steps,
        per_dispatch=length,
        streams=replicas.streams(config.data.resident),
        checkpoint_every=settings.checkpoint_every,
        log={"stage": stage},
        extra=lambda state: log_values(
            space, refinement.model, target, methods, config, state, length
        ),
        inputs=inputs,
        helps=memory_help("search", settings),
    )
    state = run_experiment(
        experiment, replicas, folder=folder, from_step=from_step, progress=progress
    )
    return SearchResult(state, methods, methods.probabilities(state.params), refinement.model)


def log_values(
    space: Space, cost_model: CostModel, target: Target, methods: Methods, config: Config,
    state: SearchState, length: int,
) -> dict[str, Any]:  # fmt: skip
    """Returns what a log line says about a state beside the means of its infos.

    The means of the architecture's loss and metric are left out where some of the `length` steps
    of the call belong to the warm-up, which has none, and those of the weights where they are
    frozen.
    """
    share = methods.probabilities(state.params)
    likeliest = np.where(space.mask, share, -1.0).argmax(-1)[None].astype(np.int32)
    bounds = bounded_costs(space, cost_model, target, likeliest)[1]
    kept = {}
    if methods.relaxation.chooses_several:
        options = methods.relaxation.kept(state.params, jnp.asarray(space.mask))
        kept = {"kept_options": int(options.sum())}
    warming = int(state.step) - length < config.search.warmup_steps
    idle = ("loss", "metric", "grad_norm") if config.search.weights.frozen else ()
    return {
        **{f"weight_{name}": None for name in idle},
        **({"arch_loss": None, "arch_metric": None} if warming else {}),
        **kept,
        "argmax_cost": float(bounds[target.metric][0]),
        "target": float(target.value),
        "probabilities": np.round(share, 5).tolist(),
    }
