"""`hwnas derive`: the best architecture of a finished search."""

import dataclasses
from pathlib import Path

import tyro

from hwnas_jax.config import override
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.new import taken_file


@dataclasses.dataclass(frozen=True)
class DeriveOptions:
    """Derives the best architecture of a finished search, under any budget."""

    run: tyro.conf.Positional[Path]
    """the run folder"""
    target: float | None = None
    """another budget, in the unit of the run's metric; the run's own when left out"""
    search: str | None = None
    """of a run with several searches: the label of one"""
    out: Path = Path("architecture.json")
    """the architecture file to write"""


def run(words: list[str]) -> None:
    """Writes an architecture file."""
    options = tyro.cli(DeriveOptions, args=words, prog="hwnas derive")
    with taken_file(options.out):
        _derive(options)


def _derive(options: DeriveOptions) -> None:
    from hwnas_jax.cost.files.observations import unit
    from hwnas_jax.report.outcome import decided_in_words
    from hwnas_jax.runs.run import Run
    from hwnas_jax.search.candidates import cost_range, resolve_target
    from hwnas_jax.spaces.core.architecture_files import save_architecture

    display = Terminal()
    run = Run.open(options.run, display=display)
    if not run.finished("search"):
        command = "sweep" if run.wanted.several else "search"
        raise UserError(
            f"{run.folder} holds no finished search; continue it with: hwnas {command} --resume "
            f"{run.folder}"
        )
    labels = [member.label for member in run.members]
    if options.search is None and len(labels) > 1:
        raise UserError(
            f"{run.folder} holds several searches; name one with --search: {', '.join(labels)}"
        )
    number = labels.index(choose(options.search or labels[0], labels, "search"))
    target = None
    if options.target is not None:
        settings = override(run.config, target__value=options.target).target
        reachable = cost_range(
            run.space, run.cost_model, settings.metric, seed=run.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        target = resolve_target(settings, reachable)
    candidate = run.candidates(number, target=target)[0]
    if decided := run.proposals.decided.get(number):
        display.say(decided_in_words(decided))
    save_architecture(options.out, run.space, candidate.architecture)
    display.say(
        f"{run.space.to_string(candidate.architecture)}, predicted {candidate.predicted:.4g} "
        f"{unit(run.target.metric)}"
    )
    display.say(f"wrote {options.out}")
