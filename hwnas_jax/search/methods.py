"""Builds the methods of a gradient search from a config, and checks them before anything runs."""

import jax
import jax.numpy as jnp

from hwnas_jax.budgets import BUDGETS, Budget
from hwnas_jax.config import Config
from hwnas_jax.errors import UserError
from hwnas_jax.nn.precision import compute_dtype
from hwnas_jax.relax import RELAXATIONS, Relaxation, check_relaxation
from hwnas_jax.search.elastic import stages_of
from hwnas_jax.search.estimators import ESTIMATORS, Estimator, check_estimator
from hwnas_jax.search.gradient import Methods
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Task


def make_budget(config: Config) -> Budget:
    """Returns the budget that a config names."""
    return BUDGETS.make(config.budget)


def make_relaxation(config: Config, space: Space) -> Relaxation:
    """Returns the relaxation that a config names, when the space can use it.

    Raises:
      UserError: when it cannot, or the relaxation does not keep its contract.
    """
    relaxation = RELAXATIONS.make(config.search.relaxation)
    if relaxation.chooses_several and not space.adds_options:
        raise UserError(
            f"the relaxation {relaxation.name} may choose several options of a decision, and the "
            f"space {space.name} cannot: its supernet does not add up the options' outputs. "
            f"Allowed are {', '.join(n for n in RELAXATIONS if not RELAXATIONS[n].chooses_several)}"
        )
    check_relaxation(relaxation, space.mask)
    return relaxation


def make_estimator(config: Config, relaxation: Relaxation) -> Estimator:
    """Returns the estimator that a config names, when it goes with the other methods.

    Raises:
      UserError: when it does not, or does not keep its contract.
    """
    search = config.search
    estimator = ESTIMATORS.make(search.estimator)
    if estimator.name == "implicit" and search.weights.optimizer == "adamw":
        raise UserError(
            "search.estimator = 'implicit' does not go with search.weights.optimizer = 'adamw': it "
            "differentiates a minimum of the loss plus the weights' squares, and AdamW, whose "
            "decay is no part of the loss, ends at another point. Use 'sgd', or 'second_order'"
        )
    own_paths = search.paths == "own" and config.parallel.sync_batch_statistics
    drawing = [
        f"search.{part} = {method.name!r}"
        for part, method in (("relaxation", relaxation), ("estimator", estimator))
        if method.draws_paths
    ]
    if own_paths and drawing:
        raise UserError(
            "search.paths = 'own' does not go with parallel.sync_batch_statistics and "
            f"{' and '.join(drawing)}: statistics can be averaged only where all replicas run the "
            "same operation. Use search.paths = 'shared', statistics per replica, or a method "
            "that runs all options"
        )
    check_estimator(estimator, jax.ShapeDtypeStruct((2, 3), jnp.float32))
    return estimator


def make_methods(
    space: Space, task: Task, config: Config, *, sync_axis: str | None = None
) -> Methods:
    """Returns the methods of the gradient search that a config describes.

    Args:
      space: what is searched.
      task: what is learned.
      config: `budget`, `search` and `parallel` are read.
      sync_axis: replica axis over which batch statistics are averaged, or None for per replica.

    Raises:
      UserError: for an unknown method or option, methods that do not go together, or a method that
        does not keep its contract.
    """
    relaxation = make_relaxation(config, space)
    estimator = make_estimator(config, relaxation)
    supernet = make_supernet(
        space,
        sync_axis=sync_axis,
        dtype=compute_dtype(config.search.dtype, "search.dtype"),
        rematerialise=config.search.rematerialise,
    )
    if supernet.scored and not relaxation.has_logits:
        raise UserError(
            f"the space {space.name} scores its options by their weights and adds the scores to "
            f"logits; the relaxation {relaxation.name} has none. Allowed are "
            f"{', '.join(name for name in RELAXATIONS if RELAXATIONS[name].has_logits)}"
        )
    elastic = config.search.elastic.networks is not None
    if elastic and config.search.fair:
        raise UserError(
            "search.fair and search.elastic.networks both say which networks the warm-up trains; "
            "choose one of them"
        )
    return Methods(
        supernet=supernet,
        mask=space.mask,
        stages=stages_of(space) if elastic else None,
        task=task,
        relaxation=relaxation,
        estimator=estimator,
        budget=make_budget(config),
    )
