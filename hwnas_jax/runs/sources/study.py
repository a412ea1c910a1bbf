"""A comparison of data sources in a folder, which can be continued.

sources.json      the settings, the config, the versions and the device
runs/             a run folder for each source
costs/            the one cost model, written for the outputs of each source
table.csv, report.html
results.json      all figures; written last
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas_jax.config import Config, load_config
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import finite
from hwnas_jax.files.new import taken_folder
from hwnas_jax.files.typed import safe_name
from hwnas_jax.files.whole import inner_folder, write_whole
from hwnas_jax.files.writer import Writer
from hwnas_jax.report.sources_compared import SourcesCompared
from hwnas_jax.runs.folder import new_folder
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.sources.plan import REAL, SourcePlan, make_plan
from hwnas_jax.runs.sources.results import compared
from hwnas_jax.runs.sources.settings import SourceComparison, Study
from hwnas_jax.runs.wanted import Wanted


def compare_sources(
    settings: SourceComparison | None = None,
    config: Config | None = None,
    folder: Path | str | None = None,
    *,
    resume: bool = False,
    display: Silent | None = None,
) -> SourcesCompared:
    """Searches on several sources with the same settings and looks the networks up in a table.

    The real data of the config come first: their run makes the cost model and fixes the budget, and
    all others keep both. Only what the search learns from differs (`search.data`). Nothing is
    trained from scratch or measured after the search, and there are no controls but the random
    networks of the table.

    Args:
      settings: what is compared; the defaults when left out, or with `resume` those that the folder
        holds.
      config: the experiment, with the real data; the default config when left out, or with `resume`
        that of the folder.
      folder: a new folder, `runs/sources-<time>` when left out; with `resume` an existing one.
      resume: continue a comparison with its own settings.
      display: shows progress.

    Returns:
      What was found; the folder has it as `results.json`, `table.csv` and `report.html`.

    Raises:
      UserError: for settings that cannot be used, before anything runs; when a new folder exists,
        or another command writes to the one that is resumed.
      Interrupted: when a stop was asked for; the runs are continued by `resume`.
    """
    place, study, plan = opened(
        settings, config, None if folder is None else Path(folder), resume=resume
    )
    return worked_out(plan, study, place, display or Silent())


def opened(
    settings: SourceComparison | None, config: Config | None, folder: Path | None, *, resume: bool
) -> tuple[Path, Study, SourcePlan]:
    """Returns the folder of a comparison with what is to be done in it; a new one is made.

    Args:
      settings: as `compare_sources` takes them, and so are the others.
      config: likewise.
      folder: likewise.
      resume: likewise.

    Raises:
      UserError: as `compare_sources`; a mistake leaves no folder behind.
    """
    if resume:
        if folder is None or settings is not None or config is not None:
            raise UserError(
                "a comparison that is resumed needs its folder, and keeps its settings and config"
            )
        study = Study.load(folder)
        return folder, study, make_plan(study.settings, study.config)
    with taken_folder(folder or new_folder("sources"), named=folder is not None) as made:
        study = Study.new(settings or SourceComparison(), config or load_config())
        plan = make_plan(study.settings, study.config)
        study.save(made)
    return made, study, plan


def worked_out(plan: SourcePlan, study: Study, folder: Path, display: Silent) -> SourcesCompared:
    """Runs the searches that are missing, and returns what all of them found.

    Args:
      plan: what is to be done.
      study: the settings.
      folder: of the comparison; `opened` returned it with both.
      display: shows progress.

    Raises:
      UserError: when another command writes to the folder.
      Interrupted: when a stop was asked for; the runs are continued by resuming.
    """
    display.say(f"folder {folder}")
    with Writer(folder).alone():
        runs = _searched(plan, study, folder, display)
        found = compared(study.settings, runs, plan.tables)
        if not (folder / "results.json").exists():
            _write(folder, found)
    return found


def _searched(plan: SourcePlan, study: Study, folder: Path, display: Silent) -> dict[str, Run]:
    """Returns the runs, whose networks are derived, by what their sources are called."""
    settings, runs = study.settings, dict[str, Run]()
    seeds = settings.all_seeds(study.config)
    for number, (label, config) in enumerate(plan.configs.items()):
        place = inner_folder(folder, "runs") / f"{number}-{safe_name(label)}"
        display.say(f"source {label}")
        wanted = Wanted(seeds=seeds, retrain=False)
        given: dict[str, Any] = settings.given
        if label != REAL:
            real = runs[REAL]
            wanted = Wanted(targets=(real.target.value,), seeds=seeds, retrain=False)
            given = {"cost_model": real.folder / "cost_model.npz"}
        run = _opened(place, given, display)
        if run is None:
            run = Run.create(config, place, wanted=wanted, display=display, **given)
        run.all(until="derive")
        runs[label] = run
    return runs


def _opened(place: Path, given: Mapping[str, Path], display: Silent) -> Run | None:
    """Returns the run that a folder holds; None, and the folder is gone, where it hardly began.

    Args:
      place: the run folder.
      given: files in place of its first stages, as it takes them over when it begins.
      display: of the run.
    """
    taken = "fit_cost" if "cost_model" in given else "profile" if given else None
    with contextlib.suppress(UserError):
        run = Run.open(place, display=display)
        if taken is None or run.finished(taken):
            return run
    shutil.rmtree(place, ignore_errors=True)
    return None


def _write(folder: Path, found: SourcesCompared) -> None:
    """Writes the table, the page and, last, the figures; each whole or not at all."""
    from hwnas_jax.report.sources_page import render
    from hwnas_jax.report.sources_tables import to_csv

    texts = {
        "table.csv": to_csv(found),
        "report.html": render(found),
        "results.json": json.dumps(finite(found.to_dict()), indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
