"""The search from data and cost model to logits: batches, dispatches, checkpoints, log lines."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.compile.ahead import memory_help
from hwnas_jax.config import Config, SearchConfig
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.data.pipeline import Sampler, augment, normalise, split_halves
from hwnas_jax.data.stream import Stream
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import AXIS, Replicas, own_slice, statistics_axis
from hwnas_jax.relax import softmax_probabilities as probabilities
from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.loop import MetricsLog, run_steps, steps_per_dispatch
from hwnas_jax.search.bilevel import Batch, Search, SearchState, make_search
from hwnas_jax.search.candidates import bounded_costs
from hwnas_jax.search.objective import Target
from hwnas_jax.search.refine import Refinement
from hwnas_jax.spaces.base import Space


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search leaves behind.

    Attributes:
      state: the final state, unreplicated.
      search: the functions it ran.
      probabilities: `float32[D, K]`, of the options.
      cost_model: the one it ended with, refitted where it measured.
    """

    state: SearchState
    search: Search
    probabilities: np.ndarray
    cost_model: CostModel


def search_architecture(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    target: Target,
    config: Config,
    *,
    folder: Path | None = None,
    from_step: int | None = None,
    progress: Progress = quiet,
) -> SearchResult:
    """Optimises weights and architecture together, under the budget.

    Args:
      space: the search space.
      dataset: its training images are split into a half for the weights and one for the
        architecture.
      cost_model: predicts `target.metric`.
      target: the budget.
      config: the experiment; `seed`, `search`, `target`, `data` and `parallel` are read.
      folder: takes `checkpoints/search/` and `metrics.jsonl`; an existing checkpoint is continued.
        With `target.measurements` it must hold `measurements.json`, what the cost model was fitted
        to, and takes what `hwnas_jax.search.refine` writes.
      from_step: the checkpoint to continue from; None takes the newest.
      progress: reports steps done.

    Raises:
      UserError: for a batch that does not divide, a damaged checkpoint, a loss not finite,
        measurements that cannot be taken.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    settings = config.search
    replicas = Replicas.from_config(config.parallel)
    replicas.check_batch(settings.batch_size, "search.batch_size", settings.accumulate)
    search = make_search(
        space, cost_model, target, settings, config.target,
        sync_axis=statistics_axis(config.parallel),
    )  # fmt: skip
    length = steps_per_dispatch(settings.steps, settings.steps_per_dispatch)
    own_data = replicas.streams(config.data.resident)
    dispatch = replicas.compile(make_dispatch(search, dataset, config, length), own_data=own_data)
    refinement = Refinement(
        space, cost_model, [target], config, range(0, settings.steps, length),
        folder=folder, progress=progress,
    )  # fmt: skip
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoints" / "search")
    log = None
    if folder is not None and distributed.is_first():
        log = MetricsLog(folder / "metrics.jsonl", stage="search")
    try:
        state = run_steps(
            dispatch, search.init(jax.random.key(config.seed)),
            make_stream(dataset, config, length, replicas)
            if own_data
            else replicas.share(device_data(dataset, config)),
            total=settings.steps, per_dispatch=length, replicas=replicas,
            describe=f"search on {dataset.name}", helps=memory_help("search", settings),
            checkpoints=checkpoints,
            checkpoint_every=settings.checkpoint_every, from_step=from_step,
            log=log,
            extra=lambda state: log_values(space, refinement.model, target, settings, state),
            prepare=model_input(
                refinement, replicas, lambda state: state.logits[None], own_data=own_data
            ),
            progress=progress,
        )  # fmt: skip
    finally:
        if checkpoints is not None:
            checkpoints.close()
    share = np.asarray(probabilities(state.logits, jnp.asarray(space.mask)))
    return SearchResult(state, search, share, refinement.model)


def model_input(
    refinement: Refinement,
    replicas: Replicas,
    logits_of: Callable[[Any], jax.Array],
    *,
    own_data: bool = False,
) -> Callable[..., dict[str, Any]]:
    """Returns what adds the current cost model to the data of a dispatch, as `run_steps` asks.

    The model is an input of the compiled step: after a refit the same program runs on.

    Args:
      refinement: knows the model.
      replicas: the devices.
      logits_of: from a state, unreplicated, the logits of its searches, `[S, D, K]`.
      own_data: whether each replica has data of its own.
    """
    placed: list[Any] = [None, None]

    def place(model):
        if not own_data:
            return replicas.share(model)
        copies = len(replicas.own)
        return replicas.spread(jax.tree.map(lambda leaf: np.stack([leaf] * copies), model))

    def prepare(step, read_state, data):
        model = refinement.at(step, lambda: np.asarray(logits_of(read_state())))
        if placed[0] is not model:
            placed[:] = model, place(model)
        return {**data, "cost_model": placed[1]}

    return prepare


def log_values(
    space: Space, cost_model: CostModel, target: Target, settings: SearchConfig, state: SearchState
) -> dict[str, Any]:
    """Returns what a log line says of a state beside the means of its infos."""
    share = np.asarray(probabilities(state.logits, jnp.asarray(space.mask)))
    likeliest = np.where(space.mask, share, -1.0).argmax(-1)[None].astype(np.int32)
    bound = bounded_costs(space, cost_model, target, likeliest)[1]
    warming = int(state.step) <= settings.warmup_steps
    return {
        **({"arch_loss": None, "arch_accuracy": None} if warming else {}),
        "argmax_ms": float(bound[0]),
        "target_ms": float(target.value),
        "probabilities": np.round(share, 5).tolist(),
    }


def device_data(dataset: Dataset, config: Config) -> dict[str, np.ndarray]:
    """Returns what stays on the device during a search: images, labels and the two halves."""
    first, second = split_halves(len(dataset.train_targets), config.seed)
    return {
        "images": dataset.train_inputs,
        "labels": dataset.train_targets,
        "weight_half": first,
        "arch_half": second,
        "mean": dataset.mean,
        "std": dataset.std,
    }


def make_stream(dataset: Dataset, config: Config, length: int, replicas: Replicas) -> Stream:
    """Returns what takes the place of `device_data` when the data stay on the host."""
    count = len(dataset.train_targets)
    samplers = _samplers(config, count, length)

    def plan(key, first_step):
        keys = _data_keys(key, config)
        return {half: sampler.batches(keys[half], first_step) for half, sampler in samplers.items()}

    first, second = split_halves(count, config.seed)
    return Stream(dataset, plan, {"weight": first, "arch": second}, replicas)


def _samplers(config: Config, count: int, length: int) -> dict[str, Sampler]:
    size = config.search.batch_size
    return {
        "weight": Sampler(count - count // 2, size, length),
        "arch": Sampler(count // 2, size, length),
    }


def _data_keys(key: jax.Array, config: Config) -> dict[str, jax.Array]:
    split = jax.random.split(jax.random.fold_in(key, config.search.steps))
    return dict(zip(("weight", "arch"), split, strict=True))


def make_dispatch(
    search: Search,
    dataset: Dataset,
    config: Config,
    length: int,
    *,
    axis_name: str | None = AXIS,
):
    """Returns `(state, data) -> (state, info)`: `length` steps, sampling and augmenting inside.

    `data` are those of `device_data`, or one replica's share from a stream. The batches of a step
    depend on the run's key and the step's number alone, never on the number of replicas, on where
    a run was resumed or on where the data lie. The entry `cost_model` of `data`, where there is
    one, takes the place of the model that the search was built with. `axis_name` is the axis of
    the replicas, None for one that stands alone.
    """
    samplers = _samplers(config, len(dataset.train_targets), length)

    def dispatch(state: SearchState, data):
        first_step, streamed = state.step, "batches" in data
        keys = _data_keys(state.key, config)
        orders = (
            {}
            if streamed
            else {
                half: sampler.orders(keys[half], first_step) for half, sampler in samplers.items()
            }
        )

        def draw(half, step, given):
            batch_size = samplers[half].batch_size
            augment_keys = jax.random.split(jax.random.fold_in(keys[half], step), batch_size)
            if streamed:
                augment_keys, (images, labels) = own_slice(augment_keys, axis_name), given[half]
            else:
                rows = samplers[half].indices(orders[half], first_step, step)
                rows = jnp.take(data[f"{half}_half"], rows)
                rows, augment_keys = own_slice((rows, augment_keys), axis_name)
                images, labels = data["images"][rows], data["labels"][rows]
            images = augment(augment_keys, images, shift=config.data.shift, flip=config.data.flip)
            return normalise(images, data["mean"], data["std"]), labels

        def one(state, given):
            batch = Batch(*draw("weight", state.step, given), *draw("arch", state.step, given))
            return search.step(state, batch, axis_name, data.get("cost_model"))

        return jax.lax.scan(one, state, data.get("batches"), length=length)

    return dispatch
