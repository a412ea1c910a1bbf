"""`hwnas search`: the whole job in one run folder."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from hwnas_jax.commands.options import (
    RunOptions,
    data_and_space,
    job_display,
    join,
    parse,
    take_resumed,
)
from hwnas_jax.config import override
from hwnas_jax.display import Silent, Terminal
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.parallel import distributed


@dataclasses.dataclass(frozen=True)
class SearchOptions(RunOptions):
    """From this device to a network that meets its budget: all stages, one run folder."""

    compile_for: str | None = None
    """a TPU topology such as v5e:16x16: only compile the search step for it, and print its needs"""


def run(words: list[str]) -> None:
    """Runs the whole job, or continues it."""
    options = parse(SearchOptions, words, "search", several=True)
    options.check()
    if options.compile_for is not None:
        _compile_for(options, options.compile_for)
        return
    join(options, options.resume or options.run_dir or Path("runs"))
    open_run = _new_run if options.resume is None else _resumed_run
    if distributed.is_first():
        run = open_run(options)
        distributed.exchange(str(run.folder.resolve()))
    else:
        run = _run_of_job(options, Path(distributed.exchange(None)[0]))
    display = run.display = job_display()
    display.say(f"run folder {run.folder}")
    try:
        run.all(until=options.until, from_step=options.from_step)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; {run.goes_on}", stop.signum) from None
    if distributed.is_first() and run.finished("report"):
        show_result(run)


def show_result(run: Any) -> None:
    """Prints the table of a run and what follows from it, if any, and where its page lies."""
    from hwnas_jax.report import run_conclusion, summary_rows

    rows = summary_rows(run.folder)
    if rows:
        run.display.table("result", rows[0], rows[1:])
    for said in run_conclusion(run.folder):
        run.display.say(said)
    run.display.say(f"page {run.folder / 'report.html'}")


def _compile_for(options: SearchOptions, topology: str) -> None:
    """Prints what the search step takes on TPU chips; leaves no files."""
    from hwnas_jax.cost import load_cost_model
    from hwnas_jax.files.json_files import load_or_offer

    for name in ("run_dir", "resume", "from_step", "measurements"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} does not go with --compile-for")
    if "JAX_PLATFORMS" not in os.environ:
        import jax

        jax.config.update("jax_platforms", "cpu")  # no hardware is looked for, or taken
    from hwnas_jax.data.sizes import check_search_sizes
    from hwnas_jax.runs.checks import check_config, check_methods
    from hwnas_jax.runs.compile_for import compile_for, replicas_of
    from hwnas_jax.runs.for_search import for_search
    from hwnas_jax.tasks import make_task, task_for

    config, model = options.config, None
    replicas = replicas_of(topology, config)  # a mistake in it shows before the data are read
    check_config(config, replicas)
    data, space = data_and_space(config)
    config = override(config, task=task_for(config.task, data.task))
    given = for_search(config, data, make_task(config.task, data), space)
    check_search_sizes(config, data, replicas, searched=given.dataset)
    check_methods(given.config, given.space, given.dataset)
    if options.cost_model is not None:
        model = load_or_offer(options.cost_model, lambda path: load_cost_model(path, space))
    display = Terminal()
    with display.stage("compile") as report:
        report(0, 1, topology)
        step = compile_for(topology, given.space, given.dataset, given.config, cost_model=model)
        report(1, 1, topology)
    display.table(f"search step on {topology}", ("", "per step"), step.rows())
    display.say("the TPU compiler's estimate, not a measurement")


def _new_run(options: SearchOptions) -> Any:
    """Returns a run in a new folder; a mistake in what it is given leaves no folder behind."""
    from hwnas_jax.runs.run import Run

    return Run.create(
        options.config, options.run_dir,
        measurements=options.measurements, cost_model=options.cost_model, display=job_display(),
    )  # fmt: skip


def _run_of_job(options: SearchOptions, folder: Path) -> Any:
    """Returns the run that process 0 has opened, as the other processes see it."""
    from hwnas_jax.runs.checks import check_config
    from hwnas_jax.runs.run import Run

    check_config(options.config)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"there is no {folder / 'config.json'} here: the processes of a job need the run "
            "folder on a file system they share"
        )
    return Run(folder, options.config, Silent())


def _resumed_run(options: SearchOptions) -> Any:
    from hwnas_jax.report.few_shot_files import is_few_shot
    from hwnas_jax.runs.run import Run

    folder = options.resume
    assert folder is not None
    run = Run.open(folder)
    if is_few_shot(folder):
        raise UserError(
            f"{folder} is a run of few-shot learning; continue it with: hwnas fewshot --resume "
            f"{folder}"
        )
    if run.wanted.several:
        raise UserError(f"{folder} is a sweep; continue it with: hwnas sweep --resume {folder}")
    run.display = job_display()
    with run.writing():
        take_resumed(options, run, "parallel")
    return run
