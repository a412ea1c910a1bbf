"""What the JSON files of a run folder hold: a dataclass for each, by which it is checked.

Every file says its `format` and `version`, apart from `stages.json`; one that says neither is taken
as of version 1.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, MinLen

from hwnas_jax.config import Config
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json, write_json
from hwnas_jax.files.typed import (
    Amount,
    NotNegative,
    Probability,
    SafeName,
    Whole,
    check_value,
    open_ended,
)
from hwnas_jax.search.decided import Decided

_Seed = Annotated[int, Interval(ge=0, lt=2**50)]
_Odds = Annotated[float, Interval(ge=0, le=1.0001)]
"""A probability that was added up in float32."""


@dataclasses.dataclass(frozen=True)
class NetworkEntry:
    """A network of `networks.json`; costs are in the unit of the target."""

    origin: SafeName
    label: SafeName
    search: SafeName
    seed: _Seed
    training_seed: _Seed
    architecture: dict[str, str]
    string: str
    target: Amount | None = None
    probability: _Odds | None = None
    score: float | None = None
    predicted: float | None = None
    predicted_std: NotNegative | None = None
    predicted_bound: float | None = None
    measured: NotNegative | None = None
    measured_iqr: NotNegative | None = None
    measured_now: NotNegative | None = None
    measured_limits: dict[str, NotNegative] | None = None
    drift: NotNegative | None = None
    supernet_metric: float | None = None
    validation_metric: float | None = None
    test_metric: float | None = None
    test_metrics: dict[str, float] | None = None
    params: NotNegative | None = None
    macs: NotNegative | None = None
    selected: bool | None = None
    meets_budget: bool | None = None


@dataclasses.dataclass(frozen=True)
class Confirmation:
    """A network that was measured before the training."""

    origin: SafeName
    meets_budget: bool
    search: SafeName = "search"
    string: str = ""
    predicted: float | None = None
    measured: NotNegative | None = None


@dataclasses.dataclass(frozen=True)
class Networks:
    """`networks.json`: the networks of the search and of the controls."""

    networks: Annotated[list[NetworkEntry], MinLen(1)]
    confirmations: list[Confirmation] = dataclasses.field(default_factory=list)
    decided: list[Decided] | None = None


@dataclasses.dataclass(frozen=True)
class OneTarget:
    """A budget, and the percentile that it was given as."""

    value: Amount
    percentile: Annotated[float, Interval(ge=0, le=100)] | None = None


@dataclasses.dataclass(frozen=True)
class PartEntry:
    """One of several tasks that are learned at once."""

    name: str
    task: str
    outputs: list[str]


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """What is learned, as `TaskMetric` shows it."""

    metric: str
    higher_is_better: bool
    name: str = ""
    unit: str | None = None
    chance: float | None = None
    test_examples: Whole | None = None
    outputs: list[str] | None = None
    parts: list[PartEntry] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Targets:
    """`targets.json`: the budgets of the searches, and what is reachable."""

    metric: str
    targets: Annotated[list[OneTarget], MinLen(1)]
    range: list[float]
    task: TaskEntry
    unit: str | None = None
    confidence: Annotated[float, Interval(ge=0.5, lt=1)] | None = None
    limits: dict[str, Amount] = dataclasses.field(default_factory=dict)
    budget: str = ""
    quantiles: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DeviceFile:
    """`device.json`: a device that is not here, and why a timing here would not mean the same."""

    device: str
    runtime: str
    batch_size: Whole
    reason: str


@dataclasses.dataclass(frozen=True)
class JudgedModel:
    """How a cost model did on networks that it was not fitted to."""

    name: str
    label: str | None = None
    spearman: Annotated[float, Interval(ge=-1.0001, le=1.0001)] | None = None
    mape: NotNegative | None = None
    within_10: Probability | None = None
    within_5: Probability | None = None
    covered_90: Probability | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    """A network that was measured, and what was predicted of it."""

    measured: NotNegative
    predicted: float
    std: NotNegative | None = None
    architecture: str = ""


@dataclasses.dataclass(frozen=True)
class CostFit:
    """`cost_fit.json`: how the cost models did."""

    models: list[JudgedModel]
    held_out: list[Point]
    fitted: list[Point] = dataclasses.field(default_factory=list)
    metric: str | None = None
    train_size: Whole | None = None
    test_size: Whole | None = None
    metrics: dict[str, list[JudgedModel]] = dataclasses.field(default_factory=dict)
    near_zero: dict[str, Whole] = dataclasses.field(default_factory=dict)
    unfit: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class OneDecision:
    """A decision of the space and its options."""

    name: str
    options: Annotated[list[str], MinLen(1)]


@dataclasses.dataclass(frozen=True)
class SpaceFile:
    """`space.json`: the decisions of the space."""

    decisions: list[OneDecision]


@dataclasses.dataclass(frozen=True)
class Stage:
    """When a stage has left its files, and how long it took."""

    seconds: NotNegative


_Count = Annotated[int, Interval(ge=1, lt=2**31)]


@dataclasses.dataclass(frozen=True)
class Began:
    """On how many devices an experiment began, and in how many parts each took its share.

    Devices that average their batch statistics count as one.
    """

    devices: _Count
    parts: _Count


@dataclasses.dataclass(frozen=True)
class SharesFile:
    """`shares.json`: how the experiments of a run began, by their names."""

    began: dict[str, Began]


@open_ended
@dataclasses.dataclass(frozen=True)
class _Versions:
    device: dict[str, Any] | None = None
    started: str | None = None


@dataclasses.dataclass(frozen=True)
class _Config:
    config: Config


# The loaders of these files check the rest, for which they need the space or the options.
@open_ended
@dataclasses.dataclass(frozen=True)
class _Searches:
    targets: list[Amount] | None = None
    percentiles: list[float] | None = None
    seeds: list[Whole] | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _Measured:
    metrics: dict[str, Any]


@open_ended
@dataclasses.dataclass(frozen=True)
class _Measurements:
    source: str | None = None
    batch_size: Whole | None = None
    operations: list[dict[str, Any]] | None = None
    networks: list[_Measured] | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _MeasuredDuring:
    measured: Amount
    predicted: float
    step: Whole
    std: NotNegative | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _DuringSearch:
    networks: list[_MeasuredDuring]


@open_ended
@dataclasses.dataclass(frozen=True)
class _Architecture:
    architecture: dict[str, str]
    string: str | None = None


FILES: dict[str, tuple[Any, int]] = {
    "config": (_Config, 2),
    "versions": (_Versions, 1),
    "device": (DeviceFile, 1),
    "space": (SpaceFile, 1),
    "searches": (_Searches, 1),
    "measurements": (_Measurements, 2),
    "cost_fit": (CostFit, 1),
    "measurements_during_search": (_DuringSearch, 1),
    "targets": (Targets, 1),
    "architecture": (_Architecture, 1),
    "networks": (Networks, 1),
    "shares": (SharesFile, 1),
    "stages": (dict[str, Stage], 1),
}
"""The schema and version of each file, by its name without `.json`."""


def read_run_file(folder: Path, stem: str) -> dict[str, Any]:
    """Returns the content of a file of a run folder, without its format and version.

    Args:
      folder: the run folder.
      stem: a key of `FILES`.

    Raises:
      UserError: names the file, what is wrong in it, and what is allowed there.
    """
    path, (kind, version) = folder / f"{stem}.json", FILES[stem]
    payload = read_json(path, "run file")
    try:
        if isinstance(payload, dict):
            said = payload.pop("format", f"hwnas_jax.{stem}"), payload.pop("version", version)
            if said != (f"hwnas_jax.{stem}", version):
                raise UserError(
                    f"format and version are {said[0]!r:.60} and {said[1]!r:.60}, and must be "
                    f"'hwnas_jax.{stem}' and {version}"
                )
        check_value(kind, payload, "file")
    except UserError as error:
        raise UserError(f"the run file {path}: {error}") from error
    return payload


def write_run_file(folder: Path, stem: str, payload: dict[str, Any]) -> None:
    """Writes such a file, with its format and version."""
    head = {"format": f"hwnas_jax.{stem}", "version": FILES[stem][1]}
    write_json(folder / f"{stem}.json", payload if stem == "stages" else {**head, **payload})


def check_networks(networks: dict[str, Any], targets: dict[str, Any], path: Path) -> None:
    """Refuses networks of one label, or whose metrics are no shares although the task's is one.

    Args:
      networks: content of `networks.json`.
      targets: content of `targets.json`.
      path: of `networks.json`.

    Raises:
      UserError: names the network and the value.
    """
    labels = [entry["label"] for entry in networks["networks"]]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"the run file {path}: the label {twice!r} stands twice; labels differ")
    if targets["task"].get("unit") != "%":
        return
    for number, entry in enumerate(networks["networks"]):
        for name in ("supernet_metric", "validation_metric", "test_metric"):
            value = entry.get(name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(
                    f"the run file {path}: networks[{number}].{name} = {value!r} must be a share "
                    f"from 0 to 1, since {targets['task']['metric']} is one"
                )
