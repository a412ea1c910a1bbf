"""`hwnas fewshot`: a start for small tasks, and what adapting it to them is worth."""

import dataclasses
from pathlib import Path

from hwnas_jax.commands.options import Experiment, parse
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted, UserError, choose
from hwnas_jax.runs.few_shot import STAGES, FewShotRun


@dataclasses.dataclass(frozen=True)
class FewShotOptions:
    """Learns to adapt: weights and architecture from which few examples are enough.

    Many small tasks are drawn from the classes of a data set. From them a start is learned, which a
    few steps adapt to a task: its weights and its architecture. On tasks of classes that were held
    out, the adapted architecture stands beside that of the start and random ones.
    `--few-shot.percentiles 10 25 50` adapts each task to these budgets as well; where they are in
    what is measured, networks are timed on this device first.

    hwnas fewshot digits --few-shot.shots 5 --target.metric macs --few-shot.percentiles 10 25 50
    """

    run_dir: Path | None = None
    """the new run folder; runs/<name>-<time> when left out"""
    resume: Path | None = None
    """an existing run folder to continue"""
    until: str = "report"
    """the last stage to run: profile, fit_cost, learn, judge or report"""
    cost_model: Path | None = None
    """of the device whose budgets are kept, in place of profiling and fitting; of the same space
    with an output for each class of a task, such as that of another run of this command"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Learns and judges a start, or continues."""
    options = parse(FewShotOptions, words, "fewshot")
    choose(options.until, STAGES, "stage")
    found = _resumed(options) if options.resume is not None else FewShotRun.create(
        options.config, options.run_dir, cost_model=options.cost_model, display=Terminal(),
    )  # fmt: skip
    found.display.say(f"run folder {found.folder}")
    try:
        found.all(until=options.until)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; {found.goes_on}", stop.signum) from None
    if found.finished("report"):
        show(found)


def show(found: FewShotRun) -> None:
    """Prints the tables of a run, and what they say in words."""
    from hwnas_jax.report.few_shot_files import FewShotFile
    from hwnas_jax.report.few_shot_page import cost_rows, rows_of, verdict

    result = FewShotFile.load(found.folder)
    head, rows = rows_of(result)
    found.display.table(f"{result.metric} over {result.episodes} tasks", head, rows)
    head, rows = cost_rows(result)
    if rows:
        found.display.table("budgets", head, rows)
    found.display.say(verdict(result))
    found.display.say(f"page {found.folder / 'report.html'}")


def _resumed(options: FewShotOptions) -> FewShotRun:
    from hwnas_jax.runs.resumed import check_changes, take_config

    for name in ("run_dir", "cost_model"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} does not go with --resume")
    assert options.resume is not None
    found = FewShotRun.open(options.resume, display=Terminal())
    with found.writing():
        changed = check_changes(found, options.config, ("parallel",))
        take_config(found, options.config, changed)
    return found
