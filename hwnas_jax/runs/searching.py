"""The search stage of a run: one search on all devices, or many in one program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.display import Silent
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.runs.blockwise_search import search_by_blocks
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import Member, resolve_within, search_population
from hwnas_jax.runs.strategy_search import search_by_strategy
from hwnas_jax.runs.warm_start import warm_start
from hwnas_jax.search.blockwise import BLOCKWISE
from hwnas_jax.search.methods import make_methods
from hwnas_jax.search.strategies import GRADIENT
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import make_task


def run_searches(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
    *,
    folder: Path,
    several: bool,
    from_step: int | None,
    display: Silent,
    progress: Progress,
) -> Found:
    """Runs the searches of a run to their end.

    Args:
      space: the search space.
      dataset: the data.
      cost_model: predicts the metrics of the targets.
      members: the searches.
      config: the experiment.
      folder: the run folder.
      several: whether this is a sweep, whose searches are spread over the devices; a single search
        uses all devices for each of its steps.
      from_step: the checkpoint to continue from; None takes the newest.
      display: says how the searches are spread.
      progress: reports steps done.
    """
    if config.search.strategy.name == BLOCKWISE:
        return search_by_blocks(
            space, dataset, cost_model, members, config, folder=folder, from_step=from_step,
            display=display, progress=progress,
        )  # fmt: skip
    if config.search.strategy.name != GRADIENT:
        return search_by_strategy(
            space, dataset, cost_model, members, config,
            folder=folder, from_step=from_step, progress=progress,
        )  # fmt: skip
    start = warm_start(space, make_task(config.task, dataset), members, config, folder)
    if not several:
        result = search_architecture(
            space, dataset, cost_model, members[0].target, config, folder=folder,
            from_step=from_step, begin=start and start.into, progress=progress,
        )  # fmt: skip
        return Found(
            probabilities=result.probabilities[None],
            prior=result.methods.prior(),
            weights=np.asarray(result.state.weights)[None],
            params=_in_a_row(result.state.params)[None],
        )
    place = Members.over(len(members), config.sweep.devices, config.parallel.backend)
    how = {"map": "one after another", "batch": "batched"}[resolve_within(config.sweep.within)]
    display.say(f"{len(members)} searches on {place.count} device(s), {place.each} on each, {how}")
    states = search_population(
        space, dataset, cost_model, members, config, folder=folder,
        from_step=from_step, begin=start and start.into_seeds, progress=progress,
    )  # fmt: skip
    methods = make_methods(space, make_task(config.task, dataset), config)
    return Found(
        probabilities=np.stack([methods.probabilities(state.params) for state in states]),
        prior=methods.prior(),
        weights=np.stack([np.asarray(state.weights) for state in states]),
        params=np.stack([_in_a_row(state.params) for state in states]),
    )


def _in_a_row(params: Any) -> np.ndarray:
    return np.asarray(ravel_pytree(params)[0], np.float32)
