"""What a person sees in the terminal: stages with the time they have left, results and tables."""

import codecs
import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
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
from rich.text import Text

from hwnas_jax.parallel import distributed, progress

_SAVING = ("search", "retrain", "table", "compare", "learn", "judge")
"""Stages that save their work when they are asked to stop."""

_FRAME_S = 0.1
_IN_ASCII = {
    "\u00b1": "+-",
    "\u00b5": "u",
    "\u00b7": "*",
    "\u2026": "...",
    "\u2192": "->",
    "\u2013": "-",
}

_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that control a terminal or turn the direction of writing, and halves of pairs."""


def plain(text: object) -> str:
    r"""Returns a text of any origin as a terminal, a plot or a page may show it.

    Characters that do not show themselves become the mark for what cannot be shown; tabs and new
    lines stay.

    >>> plain("a phone\x1b[2J")
    'a phone\ufffd[2J'
    """
    return _UNSEEN.sub("\ufffd", str(text))


class Silent:
    """Shows nothing, for use from Python. A request to stop is noticed all the same.

    Attributes:
      goes_on: what is said of how to continue when a stage is stopped.
    """

    goes_on = ""

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
        if console is None:
            _print_all(sys.stdout)
        self.console = console or Console(highlight=False)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[progress.Progress]:
        """Shows a bar with the time spent and the time left while the stage runs."""
        columns = (
            TextColumn("{task.fields[stage]:<9}", style="bold", markup=False),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        bars = Progress(
            *columns, console=self.console, speed_estimate_period=60, auto_refresh=False
        )
        with self._ended_soon(name), bars, _drawn(bars):
            tasks: dict[str, TaskID] = {}

            def report(done: int, total: int, what: str) -> None:
                if total == 0:
                    self.say(what)
                    return
                if what not in tasks:
                    tasks[what] = bars.add_task(plain(what), total=total, stage=name)
                bars.update(tasks[what], completed=done, total=total)
                progress.StopRequest.check(f"stopped during {name}")

            yield report

    @contextlib.contextmanager
    def _ended_soon(self, name: str) -> Iterator[None]:
        """Ends the program some seconds after a signal, in a stage that saves nothing."""

        def end(signum: int) -> None:
            self.console.show_cursor()
            message = f"stopped during {name}"
            stderr = sys.__stderr__ or sys.stderr  # past the bars, which print for sys.stderr
            stderr.write(f"\n{distributed.name()}{message}{self.goes_on}\n")
            stderr.flush()
            distributed.fail(128 + signum, message)
            os._exit(128 + signum)

        with contextlib.nullcontext() if name in _SAVING else progress.StopRequest.hurried(end):
            yield

    def say(self, text: str) -> None:
        self.console.print(Text(f"          {plain(text)}"), soft_wrap=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        # As `Text` and not as `str`, in which Rich looks for markup and for names of emoji.
        table = Table(title=Text(plain(title), style="bold"), title_justify="left")
        for number, name in enumerate(header):
            table.add_column(Text(plain(name)), justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        self.console.print(table)


@contextlib.contextmanager
def _drawn(bars: Progress) -> Iterator[None]:
    """Draws bars again and again from a thread of its own; a frame that fails is left out.

    Frames fail while a library is imported that puts a hook of its own in the place of Python's
    import, as TFDS does: drawing imports too.
    """
    done = threading.Event()

    def draw() -> None:
        while not done.wait(_FRAME_S):
            with contextlib.suppress(Exception):
                bars.refresh()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _print_all(stream: Any) -> None:
    """Lets a stream print what its encoding lacks by other characters, in place of an error."""

    def in_ascii(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        lacking = error.object[error.start : error.end]
        return "".join(_IN_ASCII.get(letter, "?") for letter in lacking), error.end

    codecs.register_error("hwnas_ascii", in_ascii)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="hwnas_ascii")


def cost_fit_table(fitted: dict[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the title, header and rows of a table on how well the cost models did.

    Args:
      fitted: `FitReport.to_dict()`.
    """
    header = ("model", "rank correlation", "mean error", "within 10 %", "in 90 % intervals")
    rows: list[tuple[str, ...]] = [
        (
            str(model["label"]),
            _shown(model["spearman"], ".3f"),
            _shown(model["mape"], ".1%"),
            _shown(model["within_10"], ".0%"),
            _shown(model.get("covered_90"), ".0%"),
        )
        for model in fitted["models"]
    ]
    title = f"cost models on {fitted['test_size']} held-out networks"
    near_zero = fitted.get("near_zero", {}).get(fitted["metric"], 0)
    if near_zero:
        title += f"; {near_zero} cost next to nothing and are left out of relative errors"
    return title, header, rows


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
