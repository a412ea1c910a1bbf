"""What a run found, as one HTML page, as JSON, as a table and as figures for a notebook."""

import importlib
import json
import math
from pathlib import Path
from typing import Any

from hwnas_jax.report.read import Run, read_run
from hwnas_jax.report.summary import chosen, headings, network_row, verdict

__all__ = [
    "plot_cell",
    "plot_cost_fit",
    "plot_probabilities",
    "plot_progress",
    "plot_retraining",
    "plot_tradeoff",
    "summary_rows",
    "write_report",
]

_FIGURES = {
    "plot_cell": "cell",
    "plot_cost_fit": "plots",
    "plot_probabilities": "plots",
    "plot_progress": "plots",
    "plot_retraining": "plots",
    "plot_tradeoff": "plots",
}


def __getattr__(name: str) -> Any:
    """Loads a figure's module when it is asked for: a search needs no matplotlib."""
    if name not in _FIGURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FIGURES[name]}"), name)


def write_report(run: Path) -> Path:
    """Writes `report.html` (one file, nothing loaded from elsewhere) and `report.json`.

    Parts that an unfinished run does not have yet are named on the page.

    Args:
      run: the run folder.

    Returns:
      The path of `report.html`.

    Raises:
      UserError: when `run` is not a run folder, or one of its files is damaged.
    """
    from hwnas_jax.report.page import render

    data = read_run(run)
    page = render(data)
    path = data.path / "report.html"
    payload = json.dumps(_finite(_figures(data)), indent=1, allow_nan=False, ensure_ascii=False)
    (data.path / "report.json").write_text(payload + "\n", encoding="utf-8")
    path.write_text(page, encoding="utf-8")
    return path


def summary_rows(run: Path) -> list[tuple[str, ...]]:
    """Returns the final table as text: the headings, then the chosen network of each origin.

    Args:
      run: the run folder; a run without networks has only the headings.

    Raises:
      UserError: as `write_report`.
    """
    data = read_run(run)
    networks = [chosen(data, origin) for origin in ("search", "random")]
    return [headings(data), *(network_row(data, network) for network in networks if network)]


def _figures(run: Run) -> dict[str, Any]:
    """Returns what the page shows, as plain values; None for what the run does not have yet."""
    return {
        "format": "hwnas_jax.report",
        "version": 1,
        "name": run.name,
        "verdict": verdict(run),
        "target": run.target,
        "networks": run.networks,
        "cell": run.architecture,
        "decisions": run.space and run.space["decisions"],
        "search": run.search,
        "retrain": run.retrain,
        "cost_fit": run.cost_fit,
        "measurements_during_search": run.measurements_during_search,
        "stages": run.stages,
        "versions": run.versions,
        "config": run.config and run.config["config"],
    }


def _finite(value: Any) -> Any:
    """Returns `value` with null for what JSON cannot say (NaN, infinity)."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
