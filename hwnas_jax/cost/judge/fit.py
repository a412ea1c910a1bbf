"""Fits the configured cost model and judges it on networks that were held out."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.files.measurements import Measurements
from hwnas_jax.cost.files.observations import Observations, unit
from hwnas_jax.cost.judge.metrics import coverage, far_from_zero, mape, share_within, spearman
from hwnas_jax.cost.models.base import (
    CostModel,
    FittedModel,
    predict_architectures,
    std_architectures,
)
from hwnas_jax.cost.models.registry import COST_MODELS, check_cost_model, fit_model
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.spaces.base import Choices, Space

# These are quick to fit, and a learned model must beat them. `hwnas cost study` compares all.
_TABLE = "table"
_BESIDE = ("linear", _TABLE, "analytic")
_LEAST_TRAIN = 8
_FIRST = "latency_ms"
# Of the chosen model on held-out networks: beyond these a budget in its unit means little.
_MOST_ERROR, _LEAST_RANKS, _LEAST_COVERED = 0.2, 0.7, 0.7
_FEW_TESTED = 10

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class FitReport:
    """How several cost models did on the same held-out networks.

    Attributes:
      metric: the metric of `models`, `held_out` and `fitted`.
      train_size: networks that the judged models were fitted to.
      test_size: networks held out.
      models: for each model its name and label, `spearman` in [-1, 1], `mape` as a share,
        `within_10` and `within_5`, the shares in [0, 1] that were predicted within 10 and 5
        percent, and `covered_90`, the share inside the model's own 90 % intervals. Relative errors
        leave out networks that cost next to nothing. All are None where no network was measured.
      held_out: for each held-out network the architecture, what was measured and predicted, and
        the standard deviation of the prediction, in the unit of `metric`.
      fitted: the same for the networks of the fit.
      metrics: `models` for every metric, by its name.
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

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on why the chosen model should not be trusted; none for a good one."""
        if not self.test_size:
            return (
                "warning: the measurements are of single operations: the cost of a network is "
                "predicted as their sum, and no measured network says how far that is off",
            )
        chosen = self.models[0]
        name, tested = chosen["label"], f"{self.test_size} held-out networks"
        said = []
        if chosen["mape"] > _MOST_ERROR:
            said.append(
                f"{name} errs by {chosen['mape']:.0%} on {tested}: a budget in {unit(self.metric)} "
                "would mean little; measure more networks, or more rounds of each"
            )
        if chosen["spearman"] is None or chosen["spearman"] < _LEAST_RANKS:
            ranks = "none" if chosen["spearman"] is None else f"{chosen['spearman']:.2f}"
            said.append(f"{name} hardly ranks {tested}: its rank correlation is {ranks}")
        covered = chosen["covered_90"]
        if covered is not None and covered < _LEAST_COVERED and self.test_size >= _FEW_TESTED:
            said.append(f"its 90 % intervals hold only {covered:.0%} of {tested}")
        if said and self.test_size < _FEW_TESTED:
            said.append(f"with {tested} these figures are rough")
        return tuple(f"warning: {sentence}" for sentence in said)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values, with None for what is undefined."""
        return dataclasses.asdict(self)


def fit_cost(
    space: Choices,
    measured: Observations | Measurements,
    config: CostConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[FittedModel, FitReport]:
    """Fits the configured cost model and judges it beside some that are quick to fit.

    All models are fitted to the same networks and compared on the same others. The returned model
    is then fitted again, to all measured networks, so it is slightly better than the report says.
    Measurements of operations alone become a look-up table, whichever model is configured; it is
    not judged.

    Args:
      space: the space of the networks.
      measured: what networks of that space cost.
      config: which model, and how many networks are held out of measurements that set none aside.
      seed: of the split and the training.
      progress: called with `(done, total, what)`.

    Returns:
      The model and the report.

    Raises:
      UserError: for an unknown model, measurements of another space, or too few networks or too
        many for the model, before any is fitted.
    """
    if isinstance(measured, Measurements):
        measured = measured.observations(cast(Space, space))
    check_cost_model(config.model)
    if not len(measured) and measured.operations:
        return _of_operations(space, measured)
    COST_MODELS.find(config.model.name).check_count(len(measured))
    report = progress or (lambda done, total, what: None)
    parts = [config.model, *(Part(name) for name in _BESIDE if name != config.model.name)]
    train, test = split(measured, config.test_fraction, seed)
    judged: dict[str, FittedModel] = {}
    unfit: dict[str, str] = {}
    for done, part in enumerate(parts):
        report(done, len(parts) + 1, "fitting")
        try:
            judged[part.name] = fit_model(part, space, measured.subset(train), seed=seed)
        except UserError as error:
            if part is config.model:
                raise
            unfit[part.name] = str(error)
    held_out = measured.subset(test)
    metrics = {metric: _judge(judged, space, held_out, metric) for metric in measured.metrics}
    chosen = judged[config.model.name]
    known = [metric for metric in measured.metrics if metric in chosen.metrics]
    first = _FIRST if _FIRST in known else known[0]
    report(len(parts), len(parts) + 1, "fitting")
    shipped = fit_model(config.model, space, measured, seed=seed)
    report(len(parts) + 1, len(parts) + 1, "fitting")
    return shipped, FitReport(
        metric=first,
        train_size=len(train),
        test_size=len(test),
        models=metrics[first],
        held_out=_rows(chosen, space, held_out, first),
        fitted=_rows(chosen, space, measured.subset(train), first),
        metrics=metrics,
        near_zero={
            metric: int((~far_from_zero(column)).sum())
            for metric, column in held_out.values.items()
        },
        unfit=unfit,
    )


def _of_operations(space: Choices, measured: Observations) -> tuple[FittedModel, FitReport]:
    """Returns a look-up table of single operations, and a report without judgement."""
    model = fit_model(Part(_TABLE), space, measured)
    unknown = dict.fromkeys(("spearman", "mape", "within_10", "within_5", "covered_90"))
    row = {"name": _TABLE, "label": model.label, **unknown}
    return model, FitReport(
        metric=_FIRST, train_size=0, test_size=0, models=[row], held_out=[], fitted=[],
        metrics={_FIRST: [row]}, near_zero={}, unfit={},
    )  # fmt: skip


def split(observed: Observations, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the networks that models are fitted to, and those that they are judged on.

    Args:
      observed: the networks. Those it holds out are the ones to judge on.
      test_fraction: share held out at random where none are set aside.
      seed: of that choice.

    Returns:
      Two arrays of rows, `int[n]` each.

    Raises:
      UserError: when too few are left to fit to.
    """
    count = len(observed)
    order = np.arange(count)
    held_out = observed.held_out
    if not held_out:
        held_out = max(1, round(count * test_fraction))
        order = np.random.default_rng(seed).permutation(count)
    left = count - held_out
    if left < _LEAST_TRAIN:
        raise UserError(
            f"{count} measured networks leave {max(0, left)} to fit to when {held_out} are held "
            f"out; at least {_LEAST_TRAIN} are needed: raise profile.networks"
        )
    return np.sort(order[:left]), np.sort(order[left:])


def _judge(
    models: Mapping[str, FittedModel], space: Choices, observed: Observations, metric: str
) -> list[dict[str, Any]]:
    """Returns the scores of every model that predicts the metric."""
    return [
        {
            "name": name,
            "label": model.label or name,
            **_scores(model, space, observed, metric),
        }
        for name, model in models.items()
        if metric in model.metrics
    ]


def _scores(
    model: CostModel, space: Choices, observed: Observations, metric: str
) -> dict[str, float | None]:
    measured, architectures = observed.values[metric], observed.architectures
    predicted = predict_architectures(model, architectures, space.num_options)[metric]
    std = std_architectures(model, architectures, space.num_options)[metric]
    correlation = spearman(measured, predicted)
    return {
        "spearman": None if np.isnan(correlation) else correlation,
        "mape": mape(measured, predicted),
        "within_10": share_within(measured, predicted, 0.1),
        "within_5": share_within(measured, predicted, 0.05),
        "covered_90": coverage(measured, predicted, std, 0.9) if model.knows_uncertainty else None,
    }


def _rows(
    model: CostModel, space: Choices, observed: Observations, metric: str
) -> list[dict[str, Any]]:
    architectures = observed.architectures
    predicted = predict_architectures(model, architectures, space.num_options)[metric]
    deviation = std_architectures(model, architectures, space.num_options)[metric]
    columns = zip(architectures, observed.values[metric], predicted, deviation, strict=True)
    return [
        {
            "architecture": _text(space, architecture),
            "measured": float(measured),
            "predicted": float(mean),
            "std": float(std),
        }
        for architecture, measured, mean, std in columns
    ]


def _text(space: Choices, architecture: np.ndarray) -> str:
    if isinstance(space, Space):
        return space.to_string(architecture)
    return ", ".join(space.to_names(architecture).values())
