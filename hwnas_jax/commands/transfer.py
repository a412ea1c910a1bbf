"""`hwnas transfer`: a finished search carried over to another device."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro
from annotated_types import Interval

from hwnas_jax.commands.options import Experiment, is_place, parse
from hwnas_jax.config import Config, load_config
from hwnas_jax.config.experiment import CountOrNone
from hwnas_jax.display import Silent, Terminal
from hwnas_jax.errors import Interrupted, UserError, choose, shown
from hwnas_jax.files.new import taken_file

_Inside = Annotated[float, Interval(gt=0, lt=1)]


@dataclasses.dataclass(frozen=True)
class TransferOptions:
    """Carries a finished search over to another device, without paying for it again.

    A new run keeps the supernet's weights, the data, the space and the settings of the finished
    one. Its cost model comes from --measurements or --cost-model of the new device, or is measured
    here with --profile.device or --profile.runtime. The architecture's parameters move for a few
    steps towards the budget there (--target.value or --target.percentile), and networks are
    derived, retrained and measured as in `hwnas search`.

    With --samples nothing is searched: the networks that the run found are ranked again for the new
    device, from a few networks measured there (One-proxy).
    """

    run: tyro.conf.Positional[Path]
    """the folder of the finished run; it comes first"""
    measurements: Path | None = None
    """a measurement file of the new device"""
    cost_model: Path | None = None
    """a cost model of the new device"""
    run_dir: Path | None = None
    """the new run folder; runs/<name>-<time> when left out"""
    steps: CountOrNone = None
    """architecture steps, or rounds of a strategy; a tenth of those of the finished run when left
    out"""
    train_weights: bool = False
    """train the supernet's weights in these steps too, at a tenth of their learning rate"""
    percentiles: tuple[float, ...] = ()
    """of a sweep: other budgets, as percentiles of the predicted cost on the new device"""
    until: str = "report"
    """the last stage to run: profile, fit_cost, search, derive, retrain, measure or report"""
    samples: str | None = None
    """rank the run's networks again: a file with measurements of at least five networks on the new
    device; or how many networks to list for that, in the file --plan"""
    plan: Path = Path("to_sample.csv")
    """with a number of --samples: the sheet of networks to measure, whose column you fill"""
    threshold: _Inside = 0.9
    """with --samples: the rank correlation from which on the order of the first device is kept; the
    interval around it must lie above"""
    level: _Inside = 0.9
    """with --samples: the probability of that interval"""
    json: bool = False
    """with --samples: print one JSON object"""
    config: Experiment = Config()

    def check(self) -> None:
        """Refuses options that do not go together, and an unknown stage."""
        from hwnas_jax.runs.run import STAGES

        choose(self.until, STAGES, "stage")
        default = {field.name: field.default for field in dataclasses.fields(self)}
        ranking = ("threshold", "level", "json", "plan")
        searching = (
            "measurements", "cost_model", "run_dir", "steps", "train_weights", "percentiles",
            "until",
        )  # fmt: skip
        for name in ranking if self.samples is None else searching:
            if getattr(self, name) != default[name]:
                flag, goes = (
                    f"--{name.replace('_', '-')}",
                    "with" if self.samples is None else "not with",
                )
                raise UserError(f"{flag} goes {goes} --samples")


def run(words: list[str]) -> None:
    """Makes the new run and runs it, or ranks the networks of the finished one."""
    from hwnas_jax.runs.run import Run
    from hwnas_jax.runs.transferred import kept_config

    finished, base = None, load_config()
    if words and not words[0].startswith("-"):
        if not is_place(words[0], Path.is_dir):
            raise UserError(f"there is no run folder {shown(words[0])}")
        finished = Run.open(Path(words[0]))
        ranking = any(word.partition("=")[0] == "--samples" for word in words)
        base = finished.config if ranking else kept_config(finished)
    options = parse(TransferOptions, words, "transfer", files=1, kept=base)
    if finished is None:
        raise UserError(f"give the run folder first: hwnas transfer {options.run} [--options]")
    options.check()
    if options.samples is not None:
        _rank(finished, options, options.samples)
        return
    _search(finished, options)


def _search(finished: Any, options: TransferOptions) -> None:
    from hwnas_jax.commands.search import show_result
    from hwnas_jax.runs.run import Run
    from hwnas_jax.runs.transferred import transfer_config

    config = transfer_config(
        finished, options.config, steps=options.steps, train_weights=options.train_weights
    )
    display = Terminal()
    run = Run.create(
        config,
        options.run_dir,
        data=finished.dataset if finished.kept_data.is_file() else None,
        wanted=_wanted(finished, options),
        measurements=options.measurements,
        cost_model=options.cost_model,
        display=display,
    )
    display.say(f"run folder {run.folder}")
    display.say(f"transferred from {finished.folder}")
    try:
        run.all(until=options.until)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; {run.goes_on}", stop.signum) from None
    if run.finished("report"):
        show_result(run)


def _wanted(finished: Any, options: TransferOptions) -> Any:
    wanted = finished.wanted
    if not options.percentiles:
        return wanted
    if not wanted.several:
        raise UserError(
            f"--percentiles is for a sweep, and {finished.folder} is one search; its budget on the "
            "new device is set by --target.value or --target.percentile"
        )
    return dataclasses.replace(wanted, targets=(), percentiles=options.percentiles)


def _rank(finished: Any, options: TransferOptions, samples: str) -> None:
    from hwnas_jax.cost.judge.proxy import LEAST
    from hwnas_jax.runs.proxy_front import rank_again, write_plan

    display: Silent = Terminal()
    if options.config != finished.config:
        raise UserError("--samples ranks networks that are there: it takes no other settings")
    if samples.isdecimal():
        count = int(samples[:9])
        if count < LEAST:
            raise UserError(f"--samples must be at least {LEAST} networks, got {count}")
        with taken_file(options.plan, "--plan"):
            listed = write_plan(finished, options.plan, count, seed=finished.config.seed)
        display.say(
            f"wrote {options.plan}: measure its {listed} networks on the new device, fill the "
            f"column, and give the file as --samples"
        )
        return
    found = rank_again(
        finished, Path(samples), threshold=options.threshold, level=options.level,
        seed=finished.config.seed,
    )  # fmt: skip
    if options.json:
        print(json.dumps(found.to_dict()))
        return
    rows = found.rows()
    display.table(f"networks of {finished.folder} on {found.device}", rows[0], rows[1:])
    display.say(found.in_words())
