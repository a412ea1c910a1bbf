"""Reads a run folder into plain values and checks that each file is what it should be."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError

_NUMBER = float

_NETWORK = {
    "origin": str, "label": str, "string?": str, "probability?": _NUMBER,
    "predicted_ms?": _NUMBER, "predicted_std_ms?": _NUMBER, "predicted_bound_ms?": _NUMBER,
    "measured_ms?": _NUMBER,
    "measured_iqr_ms?": _NUMBER, "validation_accuracy?": _NUMBER, "test_accuracy?": _NUMBER,
    "params?": _NUMBER, "macs?": _NUMBER, "selected?": bool,
}  # fmt: skip
_POINT = {"measured_ms": _NUMBER, "predicted_ms": _NUMBER, "std_ms?": _NUMBER}
_SEARCHED = {**_POINT, "step": _NUMBER, "string?": str}
_MODEL = {
    "name": str, "label?": str, "spearman?": _NUMBER, "mape?": _NUMBER, "within_10?": _NUMBER,
}  # fmt: skip

# What the report reads of each file; a key ending in "?" may be absent or null.
_FILES: dict[str, dict[str, Any]] = {
    "config": {"config": {}},
    "versions": {"device?": {}},
    "space": {"decisions": [{"name": str, "options": [str]}]},
    "measurements": {
        "batch_size?": _NUMBER, "operations?": [{}], "networks?": [{"metrics": {}}],
    },
    "cost_fit": {"models": [_MODEL], "held_out": [_POINT], "fitted?": [_POINT]},
    "measurements_during_search": {"networks": [_SEARCHED]},
    "target": {
        "metric": str, "target_ms": _NUMBER, "percentile?": _NUMBER, "confidence?": _NUMBER,
    },
    "architecture": {"architecture": {}, "string?": str},
    "networks": {"networks": [_NETWORK], "drift?": _NUMBER},
    "stages": {},
}  # fmt: skip
_VERSIONS = {
    "config": 1, "measurements": 2, "measurements_during_search": 1, "architecture": 1
}  # fmt: skip
_SEARCH_LINE = {
    "stage": str, "step": _NUMBER, "weight_loss?": _NUMBER, "arch_loss?": _NUMBER,
    "expected_ms?": _NUMBER, "argmax_ms?": _NUMBER, "target_ms?": _NUMBER,
    "multiplier?": _NUMBER, "probabilities?": [[_NUMBER]],
}  # fmt: skip
_RETRAIN_LINE = {"stage": str, "network": str, "step": _NUMBER, "loss?": _NUMBER}
_LINES = {"search": _SEARCH_LINE, "retrain": _RETRAIN_LINE}


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder holds, as plain JSON values; None for a file that is not there (yet)."""

    path: Path
    config: dict[str, Any] | None
    versions: dict[str, Any] | None
    space: dict[str, Any] | None
    measurements: dict[str, Any] | None
    cost_fit: dict[str, Any] | None
    measurements_during_search: dict[str, Any] | None
    target: dict[str, Any] | None
    architecture: dict[str, Any] | None
    networks: dict[str, Any] | None
    stages: dict[str, Any] | None
    search: list[dict[str, Any]]
    retrain: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The run's name: the config's, or the folder's."""
        name = self.settings("name")
        return str(name) if name else self.path.resolve().name

    @property
    def metric(self) -> str:
        """The metric that has the budget."""
        return self.target["metric"] if self.target else "latency_ms"

    @property
    def confidence(self) -> float | None:
        """The confidence with which the budget is to be kept; None without one."""
        value = (self.target or {}).get("confidence")
        return value if value and value > 0.5 else None

    def settings(self, *keys: str) -> Any:
        """Returns a value of the config by its nested keys, or None."""
        value: Any = self.config and self.config["config"]
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run(path: Path) -> Run:
    """Reads a finished or unfinished run folder.

    Raises:
      UserError: when there is no such folder, it holds no run, or a file is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"no run folder {path}")
    files = {stem: _read_file(path / f"{stem}.json") for stem in _FILES}
    search, retrain = _read_metrics(path / "metrics.jsonl")
    if not search and not retrain and not any(files.values()):
        known = ", ".join(f"{stem}.json" for stem in _FILES)
        raise UserError(f"{path} is not a run folder: it holds none of {known}, metrics.jsonl")
    return Run(path=path, search=search, retrain=retrain, **files)


def _read_file(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    problem = _problem(value, _FILES[path.stem], "")
    if problem:
        raise UserError(f"{path} is damaged: {problem}")
    if path.stem in _VERSIONS:
        given = (value.get("format"), value.get("version"))
        known = (f"hwnas_jax.{path.stem}", _VERSIONS[path.stem])
        if given != known:
            raise UserError(
                f"{path} has format {given[0]!r}, version {given[1]!r}; "
                f"known is {known[0]!r}, version {known[1]}"
            )
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


def _read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the search's and the retraining's lines, in order of their steps."""
    histories: dict[tuple[str, str], list[dict[str, Any]]] = {}
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8"))
            problem = _problem(row, {"stage": str}, "the line")
        except ValueError as error:
            # No newline after it: the writer was stopped in the middle of this line.
            if number == len(lines):
                break
            row, problem = None, str(error)
        if not problem and row["stage"] in _LINES:
            problem = _problem(row, _LINES[row["stage"]], "")
        if problem:
            raise UserError(f"{path}, line {number} is damaged: {problem}")
        history = histories.setdefault((row["stage"], row.get("network") or ""), [])
        # A run that resumed from a checkpoint repeats steps; what it redid counts.
        while history and history[-1].get("step", -1) >= row.get("step", 0):
            history.pop()
        history.append(row)
    search = [row for (stage, _), rows in histories.items() if stage == "search" for row in rows]
    retrain = [row for (stage, _), rows in histories.items() if stage == "retrain" for row in rows]
    return search, retrain
