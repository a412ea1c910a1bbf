"""Reads a run folder into plain values, and checks that each file is what the report expects."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_bytes
from hwnas_jax.files.json_text import parse_json
from hwnas_jax.files.typed import Amount, SafeName, Whole, check_value, open_ended
from hwnas_jax.report.run_files import FILES, check_networks, read_run_file
from hwnas_jax.report.task_metric import TaskMetric
from hwnas_jax.search.decided import Decided
from hwnas_jax.train.tested import load_tested

SEARCH = "search"
"""The origin of the networks that a search found; those of a control have its name."""

MEASURED, PREDICTED, STD = "measured", "predicted", "std"
"""What `cost_fit.json` and `measurements_during_search.json` call the costs of a network."""

_LARGEST_MIB = 64
"""The largest log that is read."""

COUNTED = ("macs", "flops", "params", "bit_operations", "size_kib")
"""Metrics that follow from an architecture; nothing is measured to know them."""


@open_ended
@dataclasses.dataclass(frozen=True)
class _Line:
    """What every line of a log says."""

    stage: str


@open_ended
@dataclasses.dataclass(frozen=True)
class _SearchLine(_Line):
    step: Whole
    member: SafeName | None = None
    weight_loss: float | None = None
    weight_metric: float | None = None
    arch_loss: float | None = None
    arch_metric: float | None = None
    cost: float | None = None
    argmax_cost: float | None = None
    target: Amount | None = None
    multiplier: float | None = None
    probabilities: list[list[float]] | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _StrategyLine(_Line):
    step: Whole
    member: SafeName | None = None
    best: float | None = None
    score: float | None = None
    within_budget: float | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _RetrainLine(_Line):
    network: SafeName
    step: Whole
    loss: float | None = None


@open_ended
@dataclasses.dataclass(frozen=True)
class _MetaLine(_Line):
    step: Whole
    support_loss: float | None = None
    query_loss: float | None = None
    query_metric: float | None = None
    temperature: float | None = None
    entropy: float | None = None


_LINES: dict[str, type[_Line]] = {
    "warmup": _SearchLine, "search": _SearchLine, "supernet": _SearchLine,
    "strategy": _StrategyLine, "retrain": _RetrainLine,
    "meta": _MetaLine,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run folder holds, as plain JSON values.

    Legend: `N` test examples.

    Attributes:
      path: the folder.
      log: lines of `metrics.jsonl` by stage ("search", "supernet", "strategy", "retrain",
        "meta"), in the order of their steps.
      right: by label of a network, which test examples it got right, `bool[N]`.
      config: and the others: the content of the JSON file of that name; None where the run has
        not written it yet.
    """

    path: Path
    log: dict[str, list[dict[str, Any]]]
    right: dict[str, np.ndarray]
    config: dict[str, Any] | None
    versions: dict[str, Any] | None
    device: dict[str, Any] | None
    space: dict[str, Any] | None
    searches: dict[str, Any] | None
    measurements: dict[str, Any] | None
    cost_fit: dict[str, Any] | None
    measurements_during_search: dict[str, Any] | None
    targets: dict[str, Any] | None
    architecture: dict[str, Any] | None
    networks: dict[str, Any] | None
    stages: dict[str, Any] | None
    shares: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The run's name: the config's, or the folder's."""
        name = self.settings("name")
        return str(name) if name else self.path.resolve().name

    @property
    def several(self) -> bool:
        """Whether the run holds several searches: a sweep over targets or seeds."""
        searches = self.searches or {}
        return any(searches.get(key) for key in ("targets", "percentiles", "seeds"))

    @property
    def metric(self) -> str:
        """The metric that has the budget."""
        return str(self.targets["metric"]) if self.targets else "latency_ms"

    @property
    def unit(self) -> str:
        """The unit of that metric."""
        return unit(self.metric)

    @property
    def target(self) -> float | None:
        """The budget of the first search; None before the targets are fixed."""
        return self.targets["targets"][0]["value"] if self.targets else None

    @property
    def task(self) -> TaskMetric:
        """The metric of what is learned."""
        return TaskMetric.of(self.targets and self.targets["task"])

    @property
    def confidence(self) -> float | None:
        """The confidence with which the budget is kept; None where the prediction alone counts."""
        value = (self.targets or {}).get("confidence")
        return value if value and value > 0.5 else None

    @property
    def source(self) -> str:
        """How the costs that the cost model was fitted to were obtained ("simulated")."""
        source = (self.measurements or {}).get("source") or "measured"
        return {"compiler estimate": "estimated"}.get(source, source)

    @property
    def obtained(self) -> str:
        """How the costs of the finished networks were obtained, in the metric of the budget."""
        if self.metric in COUNTED:
            return "counted"
        return "measured" if self.device else self.source

    @property
    def elsewhere(self) -> str | None:
        """The device that the budget is for where that is not here; None where it is."""
        return str(self.device["device"]) if self.device and self.obtained != "counted" else None

    @property
    def obtained_where(self) -> str:
        """How the costs of the finished networks were obtained, with the device if not here."""
        return f"measured on {self.elsewhere}" if self.elsewhere else self.obtained

    @property
    def handed_back(self) -> list[dict[str, Any]]:
        """The networks that were measured on a device that is not here."""
        return [n for n in self.found if self.elsewhere and n.get("measured") is not None]

    @property
    def found(self) -> list[dict[str, Any]]:
        """The networks of `networks.json`; empty before there are any."""
        return self.networks["networks"] if self.networks else []

    @property
    def controls(self) -> list[str]:
        """The controls that networks stand beside the search for, in the order of the file."""
        origins = dict.fromkeys(str(network["origin"]) for network in self.found)
        return [origin for origin in origins if origin != SEARCH]

    @property
    def searched(self) -> list[dict[str, Any]]:
        """The networks of the searches, without those of the controls."""
        return [network for network in self.found if network["origin"] == SEARCH]

    @property
    def decided(self) -> list[Decided]:
        """How decided the gradient searches were; empty before the derivation."""
        found = (self.networks or {}).get("decided") or []
        return [Decided(**one) for one in found]

    @property
    def test_examples(self) -> int | None:
        """How many examples the networks are tested on; None when unknown."""
        given = self.targets and self.targets["task"].get("test_examples")
        return given or next((len(right) for right in self.right.values()), None)

    def settings(self, *keys: str) -> Any:
        """Returns a value of the config by its nested keys, or None."""
        value: Any = self.config and self.config["config"]
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run(path: Path) -> RunFiles:
    """Reads a run folder, finished or not.

    Raises:
      UserError: when there is no such folder, when it holds no run, or when a file is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"there is no run folder {path}")
    files = {stem: _read_file(path, stem) for stem in FILES}
    log = _read_log(path / "metrics.jsonl")
    if not any(log.values()) and not any(files.values()):
        known = ", ".join(f"{stem}.json" for stem in FILES)
        raise UserError(f"{path} is no run folder: it holds none of {known}, metrics.jsonl")
    if files["networks"] and files["targets"]:
        check_networks(files["networks"], files["targets"], path / "networks.json")
    return RunFiles(path=path, log=log, right=load_tested(path), **files)


def _read_file(folder: Path, stem: str) -> dict[str, Any] | None:
    return read_run_file(folder, stem) if (folder / f"{stem}.json").exists() else None


def _kind(stage: str) -> str:
    """Returns which kind of line a stage writes: "supernet-seed0" is a kind of "supernet"."""
    return "supernet" if stage.startswith("supernet") else stage


def _read_log(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the lines of a log by kind; those of each search or network in order of steps."""
    histories: dict[tuple[str, str], list[dict[str, Any]]] = {}
    content = read_bytes(path, "log", _LARGEST_MIB) if path.exists() else b""
    lines = content.split(b"\n")
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            row = parse_json(raw, unknown=True)
        except UserError as error:
            # Without a newline after it, the writer was stopped in the middle of this line.
            if number == len(lines):
                break
            raise UserError(f"the log {path}, line {number}: {error}") from error
        try:
            kind = _LINES.get(_kind(check_value(_Line, row, "line").stage))
            if kind is None:
                continue
            check_value(kind, row, "line")
        except UserError as error:
            raise UserError(f"the log {path}, line {number}: {error}") from error
        whose = str(row.get("member") or row.get("network") or "")
        history = histories.setdefault((row["stage"], whose), [])
        # A run that resumed from a checkpoint repeats steps; what it did last counts.
        while history and history[-1]["step"] >= row["step"]:
            history.pop()
        history.append(row)
    return {
        kind: [row for (stage, _), rows in histories.items() if _kind(stage) == kind
               for row in rows]
        for kind in _LINES
    }  # fmt: skip
