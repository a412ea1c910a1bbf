"""`hwnas report`: the page of a run or a sweep, written again."""

import dataclasses
from pathlib import Path

import tyro

from hwnas_jax.commands.search import show_result
from hwnas_jax.display import Terminal


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Writes the page of a run and its figures as JSON."""

    run: tyro.conf.Positional[Path]
    """the run folder"""


def run(words: list[str]) -> None:
    """Writes the page of a run again."""
    from hwnas_jax.runs.run import Run

    options = tyro.cli(ReportOptions, args=words, prog="hwnas report")
    run = Run.open(options.run, display=Terminal())
    run.report()
    show_result(run)
