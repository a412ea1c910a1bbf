"""`hwnas derive`: the best architecture of a finished search."""

import dataclasses
from pathlib import Path

import tyro

from hwnas_jax.commands.options import check_out, refuse_sweep
from hwnas_jax.config import override
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class DeriveOptions:
    """Derives the most probable architecture of a finished search, under any budget."""

    run: tyro.conf.Positional[Path]
    """the run folder"""
    target_ms: float | None = None
    """another budget; the run's own when left out"""
    out: Path = Path("architecture.json")
    """the architecture file to write"""


def run(words: list[str]) -> None:
    """Writes an architecture file."""
    from hwnas_jax.runs.run import Run
    from hwnas_jax.search import cost_range, resolve_target
    from hwnas_jax.spaces.core.architecture_files import save_architecture

    options = tyro.cli(DeriveOptions, args=words, prog="hwnas derive")
    check_out(options.out)
    run = Run.open(options.run)
    refuse_sweep(run.folder, "its networks are in architectures/")
    if not run.finished("search"):
        raise UserError(f"{run.folder} holds no finished search; continue it with --resume")
    if options.target_ms is not None:
        settings = override(run.config, target__ms=options.target_ms).target
        reachable = cost_range(
            run.space, run.cost_model, settings.metric, seed=run.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        resolve_target(settings, reachable)
    candidate = run.candidates(target_ms=options.target_ms)[0]
    save_architecture(options.out, run.space, candidate.architecture)
    display = Terminal()
    display.say(
        f"{run.space.to_string(candidate.architecture)}, predicted {candidate.predicted:.4g} ms"
    )
    display.say(f"wrote {options.out}")
