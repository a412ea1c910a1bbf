"""`hwnas derive`: the best architectures of a finished search, under any budgets."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import tyro

from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.new import taken_file, taken_folder
from hwnas_jax.files.whole import write_whole
from hwnas_jax.search.specialise import Specialising

_TABLE = "budgets.csv"


@dataclasses.dataclass(frozen=True)
class DeriveOptions:
    """Derives the best architecture of a finished search under each of any budgets.

    With `--by rule` an architecture is chosen as the run itself chooses one. With `--by supernet`
    the supernet of the run judges a sample of networks, a predictor learns from that, and evolution
    finds the networks of every budget. What the supernet said is kept in the run folder, so that
    the next call takes seconds.
    """

    run: tyro.conf.Positional[Path]
    """the run folder"""
    targets: tuple[float, ...] = ()
    """other budgets than the run's own, in the unit of its metric: --targets 1.0 1.5 2.0"""
    by: Literal["rule", "supernet"] | None = None
    """what chooses: the run's derive.rule, or its supernet; None takes the supernet where it was
    trained for networks of all sizes (search.elastic.networks)"""
    search: str | None = None
    """of a run with several searches: the label of one"""
    out: Path | None = None
    """architecture file to write, architecture.json when left out; with several targets a folder
    for a file of each and the table budgets.csv, architectures when left out"""
    supernet: Specialising = Specialising()

    def check(self) -> None:
        """Refuses targets that are named twice, and numbers out of range."""
        self.supernet.check("--supernet")
        named = [f"{target:.6g}" for target in self.targets]
        for target in named:
            if named.count(target) > 1:
                raise UserError(f"--targets names {target} more than once")


def run(words: list[str]) -> None:
    """Writes an architecture file, or a folder of them."""
    options = tyro.cli(DeriveOptions, args=words, prog="hwnas derive")
    options.check()
    with _place(options) as out:
        _derive(options, out)


@contextlib.contextmanager
def _place(options: DeriveOptions) -> Iterator[Path]:
    """Yields the file, or with several targets the folder, that the command writes."""
    if len(options.targets) < 2:
        path = options.out or Path("architecture.json")
        with taken_file(path):
            yield path
    else:
        folder = options.out or Path("architectures")
        with taken_folder(folder, named=options.out is not None, resumes=False) as made:
            yield made


def _derive(options: DeriveOptions, out: Path) -> None:
    from hwnas_jax.report.outcome import decided_in_words
    from hwnas_jax.runs.any_budget import by_rule, by_supernet, in_table, table_file
    from hwnas_jax.runs.run import Run
    from hwnas_jax.runs.shared_weights import search_number
    from hwnas_jax.spaces.core.architecture_files import save_architecture

    display = Terminal()
    run = Run.open(options.run, display=display)
    if not run.finished("search"):
        command = "sweep" if run.wanted.several else "search"
        raise UserError(
            f"{run.folder} holds no finished search; continue it with: hwnas {command} --resume "
            f"{run.folder}"
        )
    number, elastic = search_number(run, options.search), run.config.search.elastic.networks
    with display.stage("derive") as report:
        if (options.by or ("supernet" if elastic else "rule")) == "supernet":
            found = by_supernet(run, number, options.targets, options.supernet, report)
        else:
            found = by_rule(run, number, options.targets, report)
    if len(options.targets) < 2:
        if decided := run.proposals.decided.get(number):
            display.say(decided_in_words(decided))
        save_architecture(out, run.space, found[0].architecture)
    else:
        files = [f"{one.target.value:.6g}.json" for one in found]
        for name, one in zip(files, found, strict=True):
            save_architecture(out / name, run.space, one.architecture)
        write_whole(out / _TABLE, table_file(run, found, files))
    display.table("derived", *in_table(run, found))
    display.say(f"wrote {out}")
