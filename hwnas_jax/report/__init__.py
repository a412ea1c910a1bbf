"""What a run found: as one HTML page, as JSON, as a table, and as figures for a notebook."""

import importlib
import json
from pathlib import Path
from typing import Any

from hwnas_jax.files.json_files import finite
from hwnas_jax.files.whole import write_whole
from hwnas_jax.report import summary, sweep_summary
from hwnas_jax.report.comparison import comparisons
from hwnas_jax.report.few_shot_files import is_few_shot
from hwnas_jax.report.read import RunFiles, read_run

__all__ = [
    "plot_cell",
    "plot_cost_fit",
    "plot_probabilities",
    "plot_progress",
    "plot_retraining",
    "plot_strategy",
    "plot_tradeoff",
    "run_conclusion",
    "summary_rows",
    "write_report",
]

_FIGURES = {
    "plot_cell": "cell",
    "plot_cost_fit": "network_plots",
    "plot_probabilities": "probability_plot",
    "plot_progress": "search_plots",
    "plot_retraining": "network_plots",
    "plot_strategy": "search_plots",
    "plot_tradeoff": "network_plots",
}


def __getattr__(name: str) -> Any:
    """Loads the module of a figure when it is asked for, since a search needs no matplotlib."""
    if name not in _FIGURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FIGURES[name]}"), name)


def write_report(folder: Path) -> Path:
    """Writes `report.html` (one file that loads nothing from elsewhere) and `report.json`.

    The page is that of one search or of several, as `searches.json` says. Parts that an unfinished
    run does not have yet are named on the page.

    Args:
      folder: the run folder.

    Returns:
      The path of `report.html`.

    Raises:
      UserError: when `folder` is no run folder, or one of its files is damaged.
    """
    if is_few_shot(folder):
        from hwnas_jax.report import few_shot_page

        write_whole(folder / "report.html", few_shot_page.render(folder))
        return folder / "report.html"
    from hwnas_jax.report.page import render

    run = read_run(folder)
    page = render(run)
    path = run.path / "report.html"
    payload = json.dumps(finite(_payload(run)), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(run.path / "report.json", payload + "\n")
    write_whole(path, page)
    return path


def summary_rows(folder: Path) -> list[tuple[str, ...]]:
    """Returns the final table as text, headers first; empty before there are networks.

    One search has a column for its chosen network and one for that of each control. Several
    searches have a row each.

    Args:
      folder: the run folder.

    Raises:
      UserError: as `write_report`.
    """
    run = read_run(folder)
    return (sweep_summary if run.several else summary).rows(run)


def run_conclusion(folder: Path) -> list[str]:
    """Returns how the search did beside its controls, and whether it failed to decide.

    Empty before the networks are tested.

    Args:
      folder: the run folder.

    Raises:
      UserError: as `write_report`.
    """
    return summary.conclusion(read_run(folder))


def _payload(run: RunFiles) -> dict[str, Any]:
    """Returns what the page shows, as plain values; None for what the run does not have yet."""
    front = sweep_summary.front_of(run) if run.several else None
    return {
        "format": "hwnas_jax.report",
        "version": 3,
        "name": run.name,
        "verdict": (sweep_summary if run.several else summary).verdict(run),
        "comparisons": [one.to_dict() for one in comparisons(run)],
        "targets": run.targets,
        "networks": run.networks,
        "front": front and front.to_dict(),
        "cell": run.architecture,
        "decisions": run.space and run.space["decisions"],
        "log": run.log,
        "cost_fit": run.cost_fit,
        "measurements_during_search": run.measurements_during_search,
        "stages": run.stages,
        "versions": run.versions,
        "device": run.device,
        "config": run.config and run.config["config"],
    }
