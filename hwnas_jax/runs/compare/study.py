"""A comparison in a folder, which several workers fill and which can be continued.

    study.json        the settings, the versions and the device
    cells/            a file for each method and case, written whole or not at all
    locks/            what workers hold while they make a cell
    table.csv, table.tex, report.html
    results.json      all figures; written last

A worker claims a cell by a lock that the system frees when the worker ends, however it ends.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import finite
from hwnas_jax.files.new import taken_folder
from hwnas_jax.files.whole import write_whole
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.report.compared import Compared
from hwnas_jax.runs.compare.cell import Cell, Program, make_program, run_cell
from hwnas_jax.runs.compare.measured import Devices, make_measured_program
from hwnas_jax.runs.compare.plan import Plan, make_plan
from hwnas_jax.runs.compare.results import compared
from hwnas_jax.runs.compare.settings import Comparison, check_same, check_tables
from hwnas_jax.runs.folder import new_folder

_PAUSE_S = 0.2
"""How long a worker waits before it looks again whether the others have finished."""


def compare(
    settings: Comparison | None = None,
    folder: Path | str | None = None,
    *,
    resume: bool = False,
    display: Silent | None = None,
) -> Compared:
    """Compares search methods on a table of trained networks, with many seeds each.

    Every method searches every case with the same seeds and the same budget. Several processes may
    work on one folder: all but the first resume it.

    Args:
      settings: what is compared; when left out, the defaults on the built-in table, or those of
        the comparison that is resumed.
      folder: a new folder for the results, `runs/compare-<time>` when left out; with `resume` an
        existing one.
      resume: continue a comparison, or help another process with it.
      display: shows progress.

    Returns:
      What was found; the folder has it as `results.json`, `table.csv`, `table.tex` and
      `report.html`.

    Raises:
      UserError: for settings that cannot be used, before anything runs; when a new folder exists;
        and when a resumed one has other settings.
      Interrupted: when a stop was asked for; finished cells are on disk.
    """
    folder, plan = opened(settings, None if folder is None else Path(folder), resume=resume)
    return worked_out(plan, folder, display or Silent())


def opened(settings: Comparison | None, folder: Path | None, *, resume: bool) -> tuple[Path, Plan]:
    """Makes the folder of a comparison, or opens one, and says what is to be done in it.

    Args:
      settings: as `compare` takes them, and so are the others.
      folder: likewise.
      resume: likewise.

    Returns:
      The folder and the plan.

    Raises:
      UserError: as `compare`; no folder is left behind then.
    """
    if resume:
        if folder is None:
            raise UserError("resume needs the folder of the comparison to continue")
        saved = Comparison.load(folder)
        if settings is not None:
            check_same(settings, saved, folder)
        plan = make_plan(saved)
        check_tables(folder, plan.fingerprint)
        return folder, plan
    with taken_folder(folder or new_folder("compare"), named=folder is not None) as made:
        plan = make_plan(settings or Comparison())
        (made / "cells").mkdir()
        (made / "locks").mkdir()
        plan.settings.save(made, plan.fingerprint)
    return made, plan


def worked_out(plan: Plan, folder: Path, display: Silent) -> Compared:
    """Makes what is missing of a comparison, or waits for others to do so, and returns it all.

    Args:
      plan: what is to be done.
      folder: of the comparison, which `opened` returned with it.
      display: shows progress.

    Raises:
      Interrupted: when a stop was asked for; finished cells are on disk.
    """
    display.say(f"folder {folder}")
    with display.stage("compare") as report:
        _fill(plan, folder, report)
    cells = {
        (method, case.label): Cell.load(_path(folder, name))
        for name, (method, case) in plan.cells.items()
    }
    found = compared(plan, cells)
    with FileLock(folder / "locks" / "results.lock"):
        if not (folder / "results.json").exists():
            _write(folder, found)
    return found


def _path(folder: Path, name: str) -> Path:
    return folder / "cells" / f"{name}.npz"


def _fill(plan: Plan, folder: Path, report: Progress) -> None:
    """Makes every cell that is missing, and waits for those that other workers make."""
    programs: dict[str, Program] = {}
    devices = Devices(plan)
    total = len(plan.cells)

    def missing() -> list[str]:
        """Returns the cells that nobody has finished, and shows how many are."""
        left = [name for name in plan.cells if not _path(folder, name).exists()]
        report(total - len(left), total, "cells")
        return left

    while left := missing():
        made = False
        for name in left:
            with _claimed(folder, name) as is_mine:
                if not is_mine or _path(folder, name).exists():
                    continue
                method, case = plan.cells[name]
                if method not in programs:
                    strategy = plan.methods[method]
                    programs[method] = (
                        make_program(plan, strategy)
                        if plan.settings.measurements is None
                        else make_measured_program(plan, strategy, devices)
                    )
                run_cell(plan, programs[method], case).save(_path(folder, name))
                made = True
            missing()
        if not made:
            time.sleep(_PAUSE_S)


@contextlib.contextmanager
def _claimed(folder: Path, name: str) -> Iterator[bool]:
    """Yields whether the cell is this worker's to make."""
    lock = FileLock(folder / "locks" / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _write(folder: Path, found: Compared) -> None:
    """Writes the tables, the page and, last, the figures; each whole or not at all."""
    from hwnas_jax.report.compare_page import render
    from hwnas_jax.report.compare_tables import to_csv, to_latex

    texts = {
        "table.csv": to_csv(found),
        "table.tex": to_latex(found),
        "report.html": render(found),
        "results.json": json.dumps(finite(found.to_dict()), indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
