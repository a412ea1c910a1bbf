"""Fitting a cost model to measurements, and judging it on networks held out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.files.measurements import Measurements
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.judge.metrics import mape, share_within, spearman
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.attention import AttentionEnsemble
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.cost.models.ensemble import Ensemble
from hwnas_jax.cost.models.gaussian import GaussianProcess
from hwnas_jax.cost.models.linear import LinearEnsemble
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.cost.models.model_file import read_model
from hwnas_jax.cost.models.roofline import RooflineModel
from hwnas_jax.cost.models.table import TableModel
from hwnas_jax.cost.models.transfer import TransferModel
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices, Space
from hwnas_jax.spaces.core.published import choices_from_spec

COST_MODELS: dict[str, tuple[str, Any]] = {
    "gaussian": (
        "Gaussian process over decisions, pairs and triples, from measured networks",
        GaussianProcess,
    ),
    "mlp": ("ensemble of MLPs on a linear base, from measured networks", MLPEnsemble),
    "attention": ("ensemble of small transformers over the decisions", AttentionEnsemble),
    "linear": ("ensemble of ridges on one-hot rows, from measured networks", LinearEnsemble),
    "bayesian": ("Bayesian regression with a weight per decision and option", BayesianAdditive),
    "table": ("sum of the timed operations of a network", TableModel),
    "analytic": (
        "operations, parameters, memory; latency on a line over operations",
        AnalyticModel,
    ),
    "roofline": ("sum of lower bounds by this machine's arithmetic and bandwidth", RooflineModel),
    "transfer": ("few samples and other devices' tables: hwnas cost transfer", TransferModel),
}

_LABELS = {
    "gaussian": "Gaussian process", "mlp": "MLP", "table": "look-up table",
    "analytic": "FLOPs (scaled)",
}  # fmt: skip
_NAMES = {"analytic": "flops"}
_OF_OPERATIONS = ("table", "analytic", "roofline")
# Quick to fit, and what a model must beat; `hwnas cost study` compares all of them.
_BESIDE = ("linear", "table", "analytic")
_LEAST_TRAIN = 8
_FIRST = "latency_ms"
# Share of the median below which a relative error says nothing of a model.
_NEAR_ZERO = 0.02
_DEVIATIONS = 1.6449

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class FitReport:
    """How the cost models did on the same held-out networks.

    Attributes:
      metric: what `models`, `held_out` and `fitted` are about.
      train_size: networks the judged models were fitted to.
      test_size: networks held out.
      models: per model its name, label, `spearman` in [-1, 1], `mape` as a share, `within_10` and
        `within_5`, the shares in [0, 1] predicted within 10 and 5 percent, and `covered_90`, the
        share within the model's own 90 % interval. Relative errors leave out networks near zero.
      held_out: per held-out network the architecture, what was measured and predicted.
      fitted: the same for the networks of the fit.
      metrics: `models` of every metric by its name.
      near_zero: how many held-out networks cost less than 2 % of the median, by metric.
      unfit: why a model could not be fitted, by its name.
    """

    metric: str
    train_size: int
    test_size: int
    models: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    fitted: list[dict[str, Any]]
    metrics: dict[str, list[dict[str, Any]]]
    near_zero: dict[str, int]
    unfit: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values; what is undefined is None."""
        return dataclasses.asdict(self)


def fit_cost(
    space: Choices,
    measured: Observations | Measurements,
    config: CostConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[CostModel, FitReport]:
    """Fits the configured cost model and judges it beside all others that can be fitted.

    All models are judged on the same random split: fitted to the training networks, compared on
    the held-out ones. The model that is returned is then fitted again, to all measured networks,
    so the report understates it slightly.

    Args:
      space: what the networks are of.
      measured: what networks of that space were found to cost.
      config: which model and how it is trained.
      seed: of the split and the training.
      progress: called with `(done, total, what)`.

    Returns:
      The model and the report.

    Raises:
      UserError: for an unknown model, measurements of another space, or too few networks.
    """
    kind = COST_MODELS[choose(config.model, COST_MODELS, "cost model")][1]
    if config.model in _OF_OPERATIONS and not isinstance(space, Space):
        others = [name for name in COST_MODELS if name not in (*_OF_OPERATIONS, "transfer")]
        raise UserError(
            f"the cost model {config.model} needs a space that is built here; {space.name} is only "
            f"known by its decisions: take {', '.join(others)}"
        )
    if isinstance(measured, Measurements):
        measured = measured.observations(cast(Space, space))
    if kind is TransferModel:
        kind.fit(space, measured, config, seed=seed)  # says how such a model is fitted
    _, test_size = split_sizes(len(measured), config)
    order = np.random.default_rng(seed).permutation(len(measured))
    test, train = np.sort(order[:test_size]), np.sort(order[test_size:])
    report = progress or (lambda done, total, what: None)
    compared = [config.model, *(name for name in _BESIDE if name != config.model)]
    total = len(compared) + 1
    judged, unfit = {}, {}
    for done, name in enumerate(compared):
        report(done, total, "fitting")
        try:
            judged[name] = COST_MODELS[name][1].fit(
                space, measured.subset(train), config, seed=seed
            )
        except UserError as error:
            if name == config.model:
                raise
            unfit[_NAMES.get(name, name)] = str(error)
    held_out = measured.subset(test)
    metrics = {metric: _judge(judged, space, held_out, metric, config)
               for metric in measured.metrics}  # fmt: skip
    chosen = judged[config.model]
    known = [metric for metric in measured.metrics if metric in chosen.metrics]
    first = _FIRST if _FIRST in known else known[0]
    rows = {
        key: _rows(chosen, space, measured.subset(part), first)
        for key, part in (("held_out", test), ("fitted", train))
    }
    report(total - 1, total, "fitting")
    shipped = kind.fit(space, measured, config, seed=seed)
    report(total, total, "fitting")
    near_zero = {
        metric: int((column < _NEAR_ZERO * np.median(column)).sum())
        for metric, column in held_out.values.items()
    }
    return shipped, FitReport(
        first, len(train), len(test), metrics[first], **rows,
        metrics=metrics, near_zero=near_zero, unfit=unfit,
    )  # fmt: skip


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


def _judge(models, space, observations, metric, config):
    """Returns the scores of every model that knows the metric."""
    return [
        {
            "name": _NAMES.get(name, name),
            "label": _label(name, model, config),
            **_scores(model, space, observations, metric),
        }
        for name, model in models.items()
        if metric in model.metrics
    ]


def _label(name, model, config):
    label = _LABELS.get(name, name)
    return f"{label} (ensemble of {config.members})" if isinstance(model, Ensemble) else label


def _scores(model, space, observations, metric):
    measured, architectures = observations.values[metric], observations.architectures
    predicted = predict_architectures(model, architectures, space.num_options)[metric]
    deviation = std_architectures(model, architectures, space.num_options)[metric]
    correlation = spearman(measured, predicted)
    covered = np.abs(measured - predicted) <= _DEVIATIONS * deviation
    shown = measured >= _NEAR_ZERO * np.median(measured)
    return {
        "spearman": None if np.isnan(correlation) else correlation,
        "mape": mape(measured[shown], predicted[shown]),
        "within_10": share_within(measured[shown], predicted[shown], 0.1),
        "within_5": share_within(measured[shown], predicted[shown], 0.05),
        "covered_90": float(covered.mean()) if deviation.any() else None,
    }


def _rows(model, space, observations, metric):
    architectures = observations.architectures
    predicted = predict_architectures(model, architectures, space.num_options)[metric]
    deviation = std_architectures(model, architectures, space.num_options)[metric]
    columns = zip(architectures, observations.values[metric], predicted, deviation, strict=True)
    return [
        {
            "architecture": _text(space, architecture),
            "measured_ms": float(measured),
            "predicted_ms": float(mean),
            "std_ms": float(std),
        }
        for architecture, measured, mean, std in columns
    ]


def _text(space, architecture):
    if isinstance(space, Space):
        return space.to_string(architecture)
    return ", ".join(space.to_names(architecture).values())


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
