"""Fitting a cost model to measurements, and judging it on networks held out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.analytic import AnalyticModel
from hwnas_jax.cost.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.cost.learned import MLPEnsemble
from hwnas_jax.cost.metrics import mape, share_within, spearman
from hwnas_jax.cost.observations import Observations
from hwnas_jax.cost.records import Measurements
from hwnas_jax.cost.store import read_model
from hwnas_jax.cost.table import TableModel
from hwnas_jax.cost.transfer import TransferModel
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.published import choices_from_spec

COST_MODELS: dict[str, tuple[str, Any]] = {
    "mlp": ("ensemble of MLPs on measured networks, starting from the table", MLPEnsemble),
    "table": ("sum of the timed operations of a network", TableModel),
    "analytic": ("multiply-accumulates and parameters; latency on a line over them", AnalyticModel),
    "transfer": ("few samples and other devices' tables: hwnas cost transfer", TransferModel),
}

_OF_OPERATIONS = ("mlp", "table", "analytic")
_LEAST_TRAIN = 8
_METRIC = "latency_ms"

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class FitReport:
    """How the cost models did on the same held-out networks.

    Attributes:
      train_size: networks the judged models were fitted to.
      test_size: networks held out.
      models: per model its name, label, `spearman` in [-1, 1], `mape` as a share, and
        `within_10`, the share in [0, 1] predicted within 10 percent.
      held_out: per held-out network the architecture, what was measured and predicted.
      fitted: the same for the networks of the fit.
    """

    train_size: int
    test_size: int
    models: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    fitted: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values; a correlation that is undefined is None."""
        return {"metric": _METRIC, **dataclasses.asdict(self)}


def fit_cost(
    space: Choices,
    measurements: Measurements | Observations,
    config: CostConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[CostModel, FitReport]:
    """Fits the configured cost model and judges it beside the others.

    All models are judged on the same random split: fitted to the training networks, compared on
    the held-out ones. The model that is returned is then fitted again, to all measured networks,
    so the report understates it slightly.

    Args:
      space: the search space.
      measurements: of that space, or what was observed otherwise.
      config: which model and how it is trained.
      seed: of the split and the training.
      progress: called with `(done, total, what)`.

    Returns:
      The model and the report.

    Raises:
      UserError: for an unknown model, measurements of another space, or too few networks.
    """
    kind = COST_MODELS[choose(config.model, COST_MODELS, "cost model")][1]
    observations = (
        measurements.observations(space) if isinstance(measurements, Measurements) else measurements
    )
    if kind is TransferModel:
        kind.fit(space, observations, config, seed=seed)  # says how such a model is fitted
    count = len(observations)
    _, test_size = split_sizes(count, config)
    order = np.random.default_rng(seed).permutation(count)
    test, train = np.sort(order[:test_size]), np.sort(order[test_size:])
    labels = {
        "mlp": f"learned (ensemble of {config.members})",
        "table": "look-up table",
        "analytic": "FLOPs (scaled)",
    }
    if not observations.operations and config.model != "table":
        del labels["table"]
    if not hasattr(space, "operations"):
        if config.model in _OF_OPERATIONS:
            raise UserError(
                f"the cost model {config.model} needs a space that is built here; {space.name} is "
                f"only known by its decisions: {_others()}"
            )
        labels = {name: label for name, label in labels.items() if name not in _OF_OPERATIONS}
    report = progress or (lambda done, total, what: None)
    total = len(labels) + 1
    judged = {}
    for done, name in enumerate(labels):
        report(done, total, "fitting")
        judged[name] = COST_MODELS[name][1].fit(
            space, observations.subset(train), config, seed=seed
        )
    models = [
        {
            "name": "flops" if name == "analytic" else name,
            "label": label,
            **_scores(judged[name], space, observations.subset(test)),
        }
        for name, label in labels.items()
    ]
    rows = {
        key: _rows(judged[config.model], space, observations.subset(part))
        for key, part in (("held_out", test), ("fitted", train))
    }
    report(total - 1, total, "fitting")
    shipped = kind.fit(space, observations, config, seed=seed)
    report(total, total, "fitting")
    return shipped, FitReport(len(train), len(test), models, **rows)


def _others():
    names = [name for name in COST_MODELS if name not in (*_OF_OPERATIONS, "transfer")]
    return f"take {' or '.join(names)}" if names else "there is no model for such yet"


def split_sizes(count: int, config: CostConfig) -> tuple[int, int]:
    """Returns how many of `count` measured networks are fitted to, and how many held out.

    Raises:
      UserError: when too few are left to fit to.
    """
    test_size = max(1, round(count * config.test_fraction))
    if count - test_size < _LEAST_TRAIN:
        raise UserError(
            f"{count} measured networks leave {max(0, count - test_size)} to fit to with "
            f"cost.test_fraction = {config.test_fraction}; at least {_LEAST_TRAIN} are needed: "
            "raise profile.networks"
        )
    return count - test_size, test_size


def _scores(model, space, observations):
    measured, architectures = observations.values[_METRIC], observations.architectures
    predicted = predict_architectures(model, architectures, space.num_options)[_METRIC]
    correlation = spearman(measured, predicted)
    return {
        "spearman": None if np.isnan(correlation) else correlation,
        "mape": mape(measured, predicted),
        "within_10": share_within(measured, predicted, 0.1),
    }


def _rows(model, space, observations):
    architectures = observations.architectures
    predicted = predict_architectures(model, architectures, space.num_options)[_METRIC]
    deviation = std_architectures(model, architectures, space.num_options)[_METRIC]
    columns = zip(architectures, observations.values[_METRIC], predicted, deviation, strict=True)
    return [
        {
            "architecture": space.to_string(architecture),
            "measured_ms": float(measured),
            "predicted_ms": float(mean),
            "std_ms": float(std),
        }
        for architecture, measured, mean, std in columns
    ]


def load_cost_model(path: Path, space: Choices) -> CostModel:
    """Reads a cost model that any model's `save(path, space)` wrote.

    Raises:
      UserError: names the file when it is missing, damaged, foreign, or of another space.
    """
    return _load(path, *read_model(path, space), space)


def open_cost_model(path: Path) -> tuple[CostModel, Choices]:
    """Reads a cost model, and builds the space that it says it is of.

    Raises:
      UserError: as `load_cost_model`.
    """
    header, arrays = read_model(path, None)
    try:
        space = choices_from_spec(header.get("space"))
    except UserError as error:
        raise UserError(f"cost model {path}: {error}") from error
    return _load(path, header, arrays, space), space


def _load(path, header, arrays, space):
    try:
        kind = COST_MODELS[choose(str(header.get("model")), COST_MODELS, "cost model")][1]
        return kind.load(header, arrays, space)
    except UserError as error:
        raise UserError(f"cost model {path}: {error}") from error
