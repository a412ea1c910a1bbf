"""`hwnas report`: the page of a run or a sweep, written again."""

import dataclasses
from pathlib import Path

import tyro

from hwnas_jax.commands.search import show_result
from hwnas_jax.commands.sweep import show_sweep
from hwnas_jax.display import Terminal


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Writes the page of a run and its figures as JSON."""

    run: tyro.conf.Positional[Path]
    """the run folder"""


def run(words: list[str]) -> None:
    """Writes the page of a run or a sweep again."""
    from hwnas_jax.runs.run import Run
    from hwnas_jax.runs.sweep import Sweep, is_sweep

    options = tyro.cli(ReportOptions, args=words, prog="hwnas report")
    if is_sweep(options.run):
        sweep = Sweep.open(options.run, display=Terminal())
        sweep.report()
        show_sweep(sweep)
        return
    run = Run.open(options.run, display=Terminal())
    run.report()
    show_result(run)
