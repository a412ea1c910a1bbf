"""`hwnas sweep`: many searches in one program."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas_jax.commands.options import RunOptions, parse
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError

if TYPE_CHECKING:
    from hwnas_jax.runs.sweep import Sweep, Wanted


@dataclasses.dataclass(frozen=True)
class SweepOptions(RunOptions):
    """Many targets searched in one program: a whole front, one run folder, one page."""

    targets: tuple[float, ...] = ()
    """budgets in milliseconds per call"""
    percentiles: tuple[float, ...] = ()
    """budgets as percentiles of the predicted latency; 10 to 80 by tens when both are left out"""
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
    sweep = _new(options) if options.resume is None else _resumed(options, options.resume)
    display = sweep.run.display = Terminal()
    display.say(f"run folder {sweep.folder}")
    try:
        sweep.all(until=options.until, from_step=options.from_step)
    except Interrupted as stop:
        message = f"{stop}; continue with: hwnas sweep --resume {sweep.folder}"
        raise Interrupted(message, stop.signum) from None
    if sweep.run.finished("report"):
        show_sweep(sweep)


def show_sweep(sweep: "Sweep") -> None:
    """Prints the table of a sweep and where its page lies."""
    from hwnas_jax.report.sweep import sweep_rows

    header, *rows = sweep_rows(sweep.folder)
    sweep.run.display.table("result", header, rows)
    sweep.run.display.say(f"page {sweep.folder / 'report.html'}")


def _wanted(options: SweepOptions) -> "Wanted":
    from hwnas_jax.runs.sweep import Wanted

    return Wanted.check(
        options.config,
        targets_ms=options.targets,
        percentiles=options.percentiles,
        seeds=options.seeds,
        retrain=options.retrain,
    )


def _new(options: SweepOptions) -> "Sweep":
    from hwnas_jax.runs.sweep import Sweep

    return Sweep.create(
        options.config,
        _wanted(options),
        options.run_dir,
        measurements=options.measurements,
        cost_model=options.cost_model,
    )


def _resumed(options: SweepOptions, folder: Path) -> "Sweep":
    from hwnas_jax.runs.sweep import Sweep

    sweep = Sweep.open(folder)
    given = _wanted(options)
    asked = {
        "targets": (options.targets, sweep.wanted.targets_ms, given.targets_ms),
        "percentiles": (options.percentiles, sweep.wanted.percentiles, given.percentiles),
        "seeds": (options.seeds, sweep.wanted.seeds, given.seeds),
    }
    for name, (typed, kept, now) in asked.items():
        if typed and kept != now:
            its = " ".join(f"{value:g}" for value in kept) or "none"
            raise UserError(
                f"a resumed sweep keeps its {name}: {its}; given were "
                f"{' '.join(f'{value:g}' for value in now)}. Others need a new sweep, which can "
                f"take --cost-model {folder / 'cost_model.npz'}"
            )
    if options.from_step is not None and sweep.run.finished("search"):
        raise UserError(f"--from-step: the search of {folder} is finished")
    changed = [
        field.name
        for field in dataclasses.fields(Config)
        if field.name != "sweep"
        and getattr(sweep.config, field.name) != getattr(options.config, field.name)
    ]
    if sweep.config.sweep.share_warmup != options.config.sweep.share_warmup:
        changed.append("sweep.share_warmup")
    if changed:
        raise UserError(
            f"a resumed sweep keeps its config; changed were: {', '.join(changed)}. "
            "Only --sweep.devices and --sweep.within may change"
        )
    sweep.run.config = options.config
    return sweep
