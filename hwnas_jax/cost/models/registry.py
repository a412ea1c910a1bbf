"""The cost models by name: fitted by a config, and read from files.

A user's own cost model is a subclass of `FittedModel` in a file of its own and is called by its
path, `my_model.py:MyModel`.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import METRICS, Observations, unit
from hwnas_jax.cost.models.base import FittedModel, predict_architectures, std_architectures
from hwnas_jax.cost.models.model_file import read_model
from hwnas_jax.errors import UserError, choose
from hwnas_jax.registry import Part, Registry, checked_options
from hwnas_jax.spaces.base import Choices, Space
from hwnas_jax.spaces.core.published import choices_from_spec

_GROUP = "hwnas_jax.cost_models"

_ASKED = 16
"""Random networks that a model from a file is asked for."""

COST_MODELS: Registry[FittedModel] = Registry("cost model", FittedModel, _GROUP)  # type: ignore[type-abstract]


def check_cost_model(part: Part) -> type[FittedModel]:
    """Returns the class of a cost model once its name and options are known to be right.

    Args:
      part: name and options.

    Raises:
      UserError: for an unknown name, or an option that is unknown or out of range.
    """
    kind = COST_MODELS.find(part.name)
    _options(kind, part)
    return kind


def fit_model(
    part: Part, space: Choices, observations: Observations, *, seed: int = 0
) -> FittedModel:
    """Fits a cost model.

    Args:
      part: which model, with its options.
      space: the space of the observed architectures.
      observations: what the networks cost.
      seed: of all random choices.

    Raises:
      UserError: for an unknown model or option, a space that the model cannot be fitted on, or
        observations that it cannot be fitted to.
    """
    kind = check_cost_model(part)
    if kind.needs_space and not isinstance(space, Space):
        others = [name for name in COST_MODELS if not COST_MODELS[name].needs_space]
        raise UserError(
            f"the cost model {part.name} needs a space that is built here; {space.name} is only "
            f"known by its decisions: take one of {', '.join(others)}"
        )
    model = kind.fit(space, observations, _options(kind, part), seed=seed)
    if part.name not in COST_MODELS:
        _check_predictions(model, space, part.name)
    return model


def refit(
    model: FittedModel, part: Part, space: Choices, observations: Observations, *, seed: int = 0
) -> FittedModel:
    """Fits a model of the same kind as `model` to other observations.

    Args:
      model: a fitted model, perhaps from a file.
      part: the configured model. Its options are used if it is of the same kind, and the default
        options otherwise.
      space: the space of the observed architectures.
      observations: what the networks cost.
      seed: of all random choices.

    Raises:
      UserError: for observations that it cannot be fitted to.
    """
    kind = type(model)
    options = _options(kind, part) if COST_MODELS.find(part.name) is kind else kind.Options()
    return kind.fit(space, observations, options, seed=seed)


def load_cost_model(path: Path, space: Choices) -> FittedModel:
    """Reads a cost model that `FittedModel.save` wrote.

    Raises:
      UserError: names the file when it is missing, damaged, foreign, or of another space.
    """
    return _load(path, *read_model(path, space), space)


def open_cost_model(path: Path) -> tuple[FittedModel, Choices]:
    """Reads a cost model and builds the space that its file names.

    Raises:
      UserError: as `load_cost_model`.
    """
    header, arrays = read_model(path, None)
    try:
        space = choices_from_spec(header.get("space"))
    except UserError as error:
        raise UserError(f"cost model {path}: {error}") from error
    return _load(path, header, arrays, space), space


def _options(kind: type[FittedModel], part: Part) -> Any:
    return kind.Options(**checked_options(kind.Options, part.args, f"cost model {part.name}"))


def _load(
    path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
) -> FittedModel:
    name = str(header.get("model"))
    try:
        kind = COST_MODELS.called(name)
        if kind is None:
            choose(name, COST_MODELS, "cost model")
        assert kind is not None
        model = kind.load(header, arrays, space)
        if model.knows_costs:
            _check_costs(model, space)
        return model
    except UserError as error:
        raise UserError(f"cost model {path}: {error}") from error


def _check_costs(model: FittedModel, space: Choices) -> None:
    """Raises UserError for a model whose means or deviations no costs of networks can have."""
    some = space.random(np.random.default_rng(0), _ASKED)
    for metric, values in predict_architectures(model, some, space.num_options).items():
        mean = float(np.mean(values, dtype=float))
        if metric in METRICS and not 0 <= mean < np.inf:
            raise UserError(
                f"it predicts that networks cost {mean:.3g} {unit(metric)} on average; costs are "
                "positive and finite"
            )
    if model.knows_uncertainty:
        for metric, values in std_architectures(model, some, space.num_options).items():
            if not (np.isfinite(values) & (values >= 0)).all():
                raise UserError(f"its standard deviations of {metric} are no finite numbers")


def _check_predictions(model: FittedModel, space: Choices, name: str) -> None:
    """Raises UserError unless a user's model predicts one number for each of its metrics."""
    gates = jax.ShapeDtypeStruct(space.mask.shape, jnp.float32)
    for method in ("predict", "std"):
        try:
            found = jax.eval_shape(getattr(model, method), gates)
        except Exception as error:
            raise UserError(
                f"the cost model {name}: {method} fails on gates float32{list(gates.shape)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        shapes = {key: value.shape for key, value in dict(found).items()}
        if shapes != dict.fromkeys(model.metrics, ()):
            raise UserError(
                f"the cost model {name}: {method} must return one number for each of "
                f"{', '.join(model.metrics)}, got {shapes}"
            )
