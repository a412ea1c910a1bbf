"""The supernet by whose weights a strategy's architectures are judged, trained by single paths.

Legend: `P` weights of the supernet, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.registry import Part
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import Member
from hwnas_jax.search.evaluators import Evaluator
from hwnas_jax.search.gradient import SearchState
from hwnas_jax.search.strategies import Strategy
from hwnas_jax.spaces.base import Choices, Space

_RULED_OUT = -1e9
"""Logit of an option that is never drawn."""


class Further(NamedTuple):
    """What a training goes on with.

    Attributes:
      phase: its number; that of the first training is zero.
      weights: `float32[P]`, of the training before.
      alive: `bool[D, K]`, the options that paths are drawn of.
    """

    phase: int
    weights: np.ndarray
    alive: np.ndarray

    def into(self, state: SearchState) -> SearchState:
        """Returns the first state of the training with these weights and options."""
        return state._replace(
            key=jax.random.fold_in(state.key, self.phase),
            weights=jnp.asarray(self.weights),
            params=jnp.where(jnp.asarray(self.alive), state.params, _RULED_OUT),
        )


def check_phases(strategy: Strategy, evaluator: Evaluator, space: Choices, config: Config) -> None:
    """Refuses a search that ends before its strategy has decided, or trains for too few steps.

    Args:
      strategy: what asks.
      evaluator: what judges.
      space: what is searched.
      config: `search` is read.

    Raises:
      UserError: names the number of rounds, or of steps, that would do; for warm-ups that train
        options which were dropped.
    """
    phases, search = strategy.phases(space.mask), config.search
    if search.rounds <= phases[-1]:
        raise UserError(
            f"the strategy {strategy.name} takes {phases[-1] + 1} rounds to decide for a network "
            f"of {space.name}; search.rounds = {search.rounds} must be at least that"
        )
    if not evaluator.needs_weights or len(phases) == 1:
        return
    for option, given in (
        ("search.fair", search.fair),
        ("search.elastic.networks", search.elastic.networks is not None),
    ):
        if given:
            raise UserError(
                f"{option} draws from all options, and the strategy {strategy.name} trains the "
                "supernet for those that are left: leave it out"
            )
    if search.steps < len(phases):
        raise UserError(
            f"the strategy {strategy.name} trains the supernet {len(phases)} times; search.steps = "
            f"{search.steps}, which are shared out to these trainings, must be at least that"
        )


def trained_supernet(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    member: Member,
    config: Config,
    *,
    steps: int,
    name: str,
    further: Further | None,
    folder: Path | None,
    progress: Progress,
) -> np.ndarray:
    """Returns the weights of a supernet that learned from paths drawn uniformly, `float32[P]`.

    The learning rate falls from its start to its end in every training, so that the architectures
    are judged by weights that have settled.

    Args:
      space: what is searched.
      dataset: what it learns from.
      cost_model: of the search; it changes nothing here.
      member: the search, whose seed draws.
      config: the experiment.
      steps: of the training.
      name: of its checkpoints and log lines.
      further: what it goes on with; None begins with new weights and all options.
      folder: the run folder, or None.
      progress: reports steps done.
    """
    search = dataclasses.replace(
        config.search,
        steps=steps,
        warmup_steps=steps,
        relaxation=Part("sampled_path"),
        estimator=Part("backprop"),
    )
    begin: Callable[[SearchState], SearchState] | None = further and further.into
    result = search_architecture(
        space, dataset, cost_model, member.target, dataclasses.replace(config, search=search),
        folder=folder, stage=name, begin=begin, progress=progress,
    )  # fmt: skip
    return np.asarray(result.state.weights)
