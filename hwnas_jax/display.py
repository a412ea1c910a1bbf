"""What a person sees in the terminal: stages with the time they have left, results and tables."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from hwnas_jax.parallel import progress


class Silent:
    """Shows nothing, for use from Python. A request to stop is noticed all the same."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[progress.Progress]:
        """Yields a function that reports the progress of the stage `name`."""
        yield progress.quiet

    def say(self, text: str) -> None:
        """Prints one line."""

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints a table."""


class Terminal(Silent):
    """Shows everything in the terminal."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(highlight=False)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[progress.Progress]:
        """Shows a bar with the time spent and the time left while the stage runs."""
        columns = (
            TextColumn("[bold]{task.fields[stage]:<9}[/]"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, speed_estimate_period=60) as bars:
            tasks: dict[str, TaskID] = {}

            def report(done: int, total: int, what: str) -> None:
                if total == 0:
                    self.say(what)
                    return
                if what not in tasks:
                    tasks[what] = bars.add_task(escape(what), total=total, stage=name)
                bars.update(tasks[what], completed=done, total=total)
                progress.StopRequest.check(f"stopped during {name}")

            yield report

    def say(self, text: str) -> None:
        self.console.print(f"          {escape(text)}", soft_wrap=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, name in enumerate(header):
            table.add_column(name, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self.console.print(table)


def cost_fit_table(fitted: dict[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the title, header and rows of a table on how well the cost models did.

    Args:
      fitted: `FitReport.to_dict()`.
    """
    header = ("model", "rank correlation", "mean error", "within 10 %", "in 90 % intervals")
    rows: list[tuple[str, ...]] = [
        (
            str(model["label"]),
            "-" if model["spearman"] is None else f"{model['spearman']:.3f}",
            f"{model['mape']:.1%}",
            f"{model['within_10']:.0%}",
            "-" if model.get("covered_90") is None else f"{model['covered_90']:.0%}",
        )
        for model in fitted["models"]
    ]
    title = f"cost models on {fitted['test_size']} held-out networks"
    near_zero = fitted.get("near_zero", {}).get(fitted["metric"], 0)
    if near_zero:
        title += f"; {near_zero} cost next to nothing and are left out of relative errors"
    return title, header, rows
