"""`hwnas sweep`: many searches in one program."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas_jax.commands.options import RunOptions, parse, take_resumed
from hwnas_jax.commands.search import show_result
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError

if TYPE_CHECKING:
    from hwnas_jax.runs.run import Run
    from hwnas_jax.runs.wanted import Wanted


@dataclasses.dataclass(frozen=True)
class SweepOptions(RunOptions):
    """Many targets searched in one program: a whole front, one run folder, one page."""

    targets: tuple[float, ...] = ()
    """budgets in the unit of the target's metric, milliseconds per call for latency_ms"""
    percentiles: tuple[float, ...] = ()
    """budgets as percentiles of the predicted cost; 10 to 80 by tens when both are left out"""
    seeds: tuple[int, ...] = ()
    """every target is searched with each; the config's seed when left out"""
    retrain: bool = True
    """train the network of every search from scratch"""


def run(words: list[str]) -> None:
    """Runs a sweep, or continues it."""
    from hwnas_jax.parallel.replicas import one_cpu_device_per_core

    one_cpu_device_per_core()
    options = parse(SweepOptions, words, "sweep")
    options.check()
    run = _new(options) if options.resume is None else _resumed(options, options.resume)
    run.display = Terminal()
    run.display.say(f"run folder {run.folder}")
    try:
        run.all(until=options.until, from_step=options.from_step)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; {run.goes_on}", stop.signum) from None
    if run.finished("report"):
        show_result(run)


def _wanted(options: SweepOptions) -> "Wanted":
    from hwnas_jax.runs.wanted import front

    return front(
        options.targets, options.percentiles, options.seeds or (options.config.seed,),
        retrain=options.retrain,
    )  # fmt: skip


def _new(options: SweepOptions) -> "Run":
    from hwnas_jax.runs.run import Run

    return Run.create(
        options.config,
        options.run_dir,
        wanted=_wanted(options),
        measurements=options.measurements,
        cost_model=options.cost_model,
        display=Terminal(),
    )


def _resumed(options: SweepOptions, folder: Path) -> "Run":
    from hwnas_jax.runs.run import Run

    run = Run.open(folder)
    if not run.wanted.several:
        raise UserError(
            f"{folder} is a run of one search; continue it with: hwnas search --resume {folder}"
        )
    for name in ("targets", "percentiles", "seeds"):
        now, kept = getattr(options, name), getattr(run.wanted, name)
        if now and kept != now:
            its = " ".join(f"{value:g}" for value in kept) or "none"
            raise UserError(
                f"a resumed sweep keeps its {name}: {its}; given were "
                f"{' '.join(f'{value:g}' for value in now)}. Others need a new sweep, which can "
                f"take --cost-model {folder / 'cost_model.npz'}"
            )
    if not options.retrain and run.wanted.retrain:
        raise UserError("a resumed sweep keeps its --retrain; leave out --no-retrain")
    run.display = Terminal()
    with run.writing():
        take_resumed(options, run, "sweep.devices", "sweep.within")
    return run
