"""`hwnas sources`: the same search on real data and on data that are not."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hwnas_jax.commands.options import Experiment, parse, resumed_folder
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.runs.sources.settings import SourceComparison

if TYPE_CHECKING:
    from hwnas_jax.report.sources_compared import SourcesCompared


@dataclasses.dataclass(frozen=True)
class SourcesOptions:
    """Searches on several data sources with the same settings, and compares what is found.

    The data of the config are the real ones. Beside them stand others: real images with random
    labels, noise, rendered textures, labels that need no annotation. Whatever a config says of the
    search holds for all of them, and the budget is that of the real data. The networks found are
    looked up in a table of trained networks; beside them stand random networks of the same budget.

    hwnas sources cifar10 --sources random_labels noise jigsaw,grid=4 --data-sets cifar10 cifar100

    A comparison that was stopped is continued by --resume FOLDER, and nothing else.
    """

    settings: Annotated[SourceComparison, tyro.conf.arg(name="")] = SourceComparison()
    run_dir: Path | None = None
    """the new folder for the results; runs/sources-<time> when left out"""
    resume: Path | None = None
    """an existing folder to continue, with the settings that it has"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Runs a comparison of sources, or continues it, and prints its tables."""
    from hwnas_jax.parallel.replicas import one_cpu_device_per_core

    one_cpu_device_per_core()
    resumed = resumed_folder(words)
    if resumed is not None and len(words) > 2:
        raise UserError(
            f"a comparison that is resumed keeps its settings; only --resume {resumed} may be given"
        )
    options = None if resumed is not None else parse(SourcesOptions, words, "sources")
    from hwnas_jax.runs.sources.study import opened, worked_out

    display = Terminal()
    if options is None:
        folder, study, plan = opened(None, None, resumed, resume=True)
    else:
        given = options.settings, options.config, options.run_dir
        folder, study, plan = opened(*given, resume=False)
    try:
        found = worked_out(plan, study, folder, display)
    except Interrupted as stop:
        message = f"{stop}; continue with: hwnas sources --resume {folder}"
        raise Interrupted(message, stop.signum) from None
    show(found, display)
    display.say(f"page {folder / 'report.html'}")


def show(found: "SourcesCompared", display: Terminal) -> None:
    """Prints a table for each data set, and what it says in words."""
    from hwnas_jax.report.sources_tables import source_rows, verdict, what_was_searched

    display.say(what_was_searched(found))
    for data_set in found.data_sets:
        head, *rows = source_rows(found, data_set)
        display.table(data_set, head, rows)
        display.say(verdict(found, data_set))
