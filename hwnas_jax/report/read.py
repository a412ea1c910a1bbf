"""Reads a run folder into plain values, and checks that each file is what the report expects."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.report.task_metric import TaskMetric
from hwnas_jax.search.decided import Decided
from hwnas_jax.train.tested import load_tested

SEARCH = "search"
"""The origin of the networks that a search found; those of a control have its name."""

MEASURED, PREDICTED, STD = "measured", "predicted", "std"
"""What `cost_fit.json` and `measurements_during_search.json` call the costs of a network."""

COUNTED = ("macs", "flops", "params", "bit_operations", "size_kib")
"""Metrics that follow from an architecture; nothing is measured to know them."""

_NUMBER = float

_POINT = {MEASURED: _NUMBER, PREDICTED: _NUMBER, f"{STD}?": _NUMBER}
_MODEL = {
    "name": str, "label?": str, "spearman?": _NUMBER, "mape?": _NUMBER, "within_10?": _NUMBER,
}  # fmt: skip
_NETWORK = {
    "origin": str, "label": str, "search?": str, "string?": str, "target?": _NUMBER,
    "seed?": _NUMBER, "probability?": _NUMBER, "score?": _NUMBER,
    "predicted?": _NUMBER, "predicted_std?": _NUMBER, "predicted_bound?": _NUMBER,
    "measured?": _NUMBER, "measured_iqr?": _NUMBER, "drift?": _NUMBER,
    "supernet_metric?": _NUMBER, "validation_metric?": _NUMBER, "test_metric?": _NUMBER,
    "params?": _NUMBER, "macs?": _NUMBER, "selected?": bool, "meets_budget?": bool,
}  # fmt: skip
_DECIDED = {
    "search": str, "network": str, "probability": _NUMBER, "cost_over_target": _NUMBER,
    "least_used": _NUMBER, "within_budget": _NUMBER, "derived": _NUMBER,
}  # fmt: skip
_TASK = {
    "name?": str, "metric": str, "higher_is_better": bool, "unit?": str, "chance?": _NUMBER,
    "test_examples?": _NUMBER, "outputs?": [str],
}  # fmt: skip

# What the report reads of each file. A key that ends in "?" may be absent or null.
_FILES: dict[str, dict[str, Any]] = {
    "config": {"config": {}},
    "versions": {"device?": {}},
    "space": {"decisions": [{"name": str, "options": [str]}]},
    "searches": {"targets?": [_NUMBER], "percentiles?": [_NUMBER], "seeds?": [_NUMBER]},
    "measurements": {
        "source?": str, "batch_size?": _NUMBER, "operations?": [{}], "networks?": [{"metrics": {}}],
    },
    "cost_fit": {"metric?": str, "models": [_MODEL], "held_out": [_POINT], "fitted?": [_POINT]},
    "measurements_during_search": {"networks": [{**_POINT, "step": _NUMBER}]},
    "targets": {
        "metric": str, "unit?": str, "confidence?": _NUMBER, "limits?": {},
        "targets": [{"value": _NUMBER, "percentile?": _NUMBER}], "range": [_NUMBER], "task": _TASK,
    },
    "architecture": {"architecture": {}, "string?": str},
    "networks": {"networks": [_NETWORK], "confirmations?": [{}], "decided?": [_DECIDED]},
    "stages": {},
}  # fmt: skip

_SEARCH_LINE = {
    "stage": str, "step": _NUMBER, "member?": str, "weight_loss?": _NUMBER,
    "weight_metric?": _NUMBER, "arch_loss?": _NUMBER, "arch_metric?": _NUMBER, "cost?": _NUMBER,
    "argmax_cost?": _NUMBER, "target?": _NUMBER, "multiplier?": _NUMBER,
    "probabilities?": [[_NUMBER]],
}  # fmt: skip
_STRATEGY_LINE = {
    "stage": str, "step": _NUMBER, "member?": str, "best?": _NUMBER, "score?": _NUMBER,
    "within_budget?": _NUMBER,
}  # fmt: skip
_RETRAIN_LINE = {"stage": str, "network": str, "step": _NUMBER, "loss?": _NUMBER}
_LINES = {
    "warmup": _SEARCH_LINE, "search": _SEARCH_LINE, "supernet": _SEARCH_LINE,
    "strategy": _STRATEGY_LINE, "retrain": _RETRAIN_LINE,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run folder holds, as plain JSON values.

    Legend: `N` test examples.

    Attributes:
      path: the folder.
      log: lines of `metrics.jsonl` by stage ("search", "supernet", "strategy", "retrain"), in the
        order of their steps.
      right: by label of a network, which test examples it got right, `bool[N]`.
      config: and the others: the content of the JSON file of that name; None where the run has
        not written it yet.
    """

    path: Path
    log: dict[str, list[dict[str, Any]]]
    right: dict[str, np.ndarray]
    config: dict[str, Any] | None
    versions: dict[str, Any] | None
    space: dict[str, Any] | None
    searches: dict[str, Any] | None
    measurements: dict[str, Any] | None
    cost_fit: dict[str, Any] | None
    measurements_during_search: dict[str, Any] | None
    targets: dict[str, Any] | None
    architecture: dict[str, Any] | None
    networks: dict[str, Any] | None
    stages: dict[str, Any] | None

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
        return "counted" if self.metric in COUNTED else self.source

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
        return [Decided(**{key: one[key] for key in _DECIDED}) for one in found]

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
    files = {stem: _read_file(path / f"{stem}.json") for stem in _FILES}
    log = _read_log(path / "metrics.jsonl")
    if not any(log.values()) and not any(files.values()):
        known = ", ".join(f"{stem}.json" for stem in _FILES)
        raise UserError(f"{path} is no run folder: it holds none of {known}, metrics.jsonl")
    return RunFiles(path=path, log=log, right=load_tested(path), **files)


def _read_file(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    value = read_json(path, "file")
    problem = _problem(value, _FILES[path.stem], "")
    if not problem and path.stem == "targets" and not value["targets"]:
        problem = "targets must not be empty"
    if problem:
        raise UserError(f"{path} is damaged: {problem}")
    return value


def _problem(value: Any, wanted: Any, where: str) -> str | None:
    """Returns what is wrong with `value`, or None."""
    shown = where or "the file"
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return f"{shown} must be a list"
        found = (_problem(item, wanted[0], f"{where}[{i}]") for i, item in enumerate(value))
        return next(filter(None, found), None)
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            return f"{shown} must be an object"
        for name, inner in wanted.items():
            key = name.removesuffix("?")
            if value.get(key) is None:
                if name == key:
                    return f"{shown} has no {key!r}"
                continue
            problem = _problem(value[key], inner, f"{where}.{key}".lstrip("."))
            if problem:
                return problem
        return None
    kinds = (int, float) if wanted is _NUMBER else wanted
    if not isinstance(value, kinds) or (wanted is _NUMBER and isinstance(value, bool)):
        return f"{shown} must be a {'number' if wanted is _NUMBER else wanted.__name__}"
    return None


def _kind(stage: str) -> str:
    """Returns which kind of line a stage writes: "supernet-seed0" is a kind of "supernet"."""
    return "supernet" if stage.startswith("supernet") else stage


def _read_log(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the lines of a log by kind; those of each search or network in order of steps."""
    histories: dict[tuple[str, str], list[dict[str, Any]]] = {}
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8"))
            problem = _problem(row, {"stage": str}, "the line")
        except ValueError as error:
            # Without a newline after it, the writer was stopped in the middle of this line.
            if number == len(lines):
                break
            row, problem = None, str(error)
        if not problem and _kind(row["stage"]) in _LINES:
            problem = _problem(row, _LINES[_kind(row["stage"])], "")
        if problem:
            raise UserError(f"{path}, line {number} is damaged: {problem}")
        whose = str(row.get("member") or row.get("network") or "")
        history = histories.setdefault((row["stage"], whose), [])
        # A run that resumed from a checkpoint repeats steps; what it did last counts.
        while history and history[-1].get("step", -1) >= row.get("step", 0):
            history.pop()
        history.append(row)
    return {
        kind: [row for (stage, _), rows in histories.items() if _kind(stage) == kind
               for row in rows]
        for kind in _LINES
    }  # fmt: skip
