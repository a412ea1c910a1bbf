"""`hwnas compare`: search methods compared on a table of trained networks."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.runs.compare.settings import Comparison

if TYPE_CHECKING:
    from hwnas_jax.report.compared import Compared


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Compares search methods on a table of trained networks: many seeds, one budget of queries.

    Every method searches every case with the same seeds. All seeds of a method run in one compiled
    program, so that hundreds take seconds. The result is a page, a table as CSV and LaTeX, and all
    figures as JSON: means with 95 % intervals, paired tests against random search, and the distance
    to the best network there is.

    Without a table it takes the built-in one: small networks on small images, made on this machine
    in a few minutes when it is used for the first time.

    hwnas compare nb201_accuracy --data-set cifar100 --methods evolution evolution,population=20
    --costs nb201_latency_help --cases 'gold_6226<=11' eyeriss

    Several processes may share the work: start the first as above, and the others with
    --resume FOLDER, which also continues a comparison that was stopped.
    """

    settings: Annotated[Comparison, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """the new folder for the results; runs/compare-<time> when left out"""
    resume: Path | None = None
    """an existing folder to continue, with the settings that it has"""


def run(words: list[str]) -> None:
    """Runs a comparison, or continues it, and prints its tables."""
    from hwnas_jax.parallel.replicas import one_cpu_device_per_core

    one_cpu_device_per_core()  # several networks of the built-in table are trained side by side
    options = _parsed(words)
    from hwnas_jax.runs.compare.study import opened, worked_out

    resumed, display = options.resume is not None, Terminal()
    folder, plan = opened(options.settings, options.resume or options.run_dir, resume=resumed)
    try:
        found = worked_out(plan, folder, display)
    except Interrupted as stop:
        message = f"{stop}; continue with: hwnas compare --resume {folder}"
        raise Interrupted(message, stop.signum) from None
    show(found, display)
    display.say(f"wrote {folder / 'report.html'}")


def _parsed(words: list[str]) -> CompareOptions:
    """Returns the options; the settings of a resumed comparison are the defaults."""
    from hwnas_jax.commands.options import resumed_folder

    folder = resumed_folder(words)
    if folder is None:
        settings = Comparison()
    else:
        settings = Comparison.load(folder)
        if words and not words[0].startswith("-") and words[0] != settings.table:
            raise UserError(
                f"the comparison {folder} keeps its table {settings.table}; leave out {words[0]}"
            )
    options = tyro.cli(
        CompareOptions, args=words, default=CompareOptions(settings), prog="hwnas compare"
    )
    if folder is not None and options.run_dir is not None:
        raise UserError("--run-dir does not go with --resume")
    return options


def show(found: "Compared", display: Terminal) -> None:
    """Prints a table for each case, and what it says in words."""
    from hwnas_jax.report.compare_page import verdict, what_was_compared
    from hwnas_jax.report.compare_tables import case_rows, case_title

    display.say(what_was_compared(found))
    for case in found.cases:
        head, *rows = case_rows(found, case)
        display.table(case_title(found, case), head, rows)
    display.say(verdict(found))
