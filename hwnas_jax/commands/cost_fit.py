"""`hwnas cost fit`: a cost model from measurements."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from hwnas_jax.commands.options import Experiment, parse
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal, cost_fit_table
from hwnas_jax.files.new import taken_file


@dataclasses.dataclass(frozen=True)
class CostFitOptions:
    """Fits the cost model to a measurement file and judges it."""

    measurements: tyro.conf.Positional[Path]
    """the measurement file, or a published table (see hwnas cost eval)"""
    out: Path = Path("cost_model.npz")
    """the cost model to write"""
    device: str | None = None
    """which device, for a table of several"""
    task: Annotated[str | None, tyro.conf.arg(name="table-task")] = None
    """which task, for a table of several; the first when left out. --task is the config's"""
    sample: int | None = None
    """networks of the file to fit to, drawn at random by the config's seed; all when left out"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Writes a cost model."""
    options = parse(CostFitOptions, words, "cost fit", files=1)
    with taken_file(options.out):
        _fit(options)


def _fit(options: CostFitOptions) -> None:
    from hwnas_jax.cost import fit_cost
    from hwnas_jax.cost.files.readers import load_observations
    from hwnas_jax.cost.models.registry import check_cost_model
    from hwnas_jax.files.json_files import load_or_offer

    check_cost_model(options.config.cost.model)
    seen = load_or_offer(
        options.measurements,
        lambda path: load_observations(path, device=options.device, task=options.task),
    )
    observed, display = seen.observations, Terminal()
    if options.sample is not None:
        observed = observed.sample(options.sample, options.config.seed)
        display.say(f"{options.sample:,} of {len(seen.observations):,} networks, drawn at random")
    with display.stage("cost fit") as report:
        model, fitted = fit_cost(
            seen.space, observed, options.config.cost,
            seed=options.config.seed, progress=report,
        )  # fmt: skip
        model.save(options.out, seen.space, observed.architectures, seen.origin)
    display.table(*cost_fit_table(fitted.to_dict()))
    for note in (*seen.notes, *fitted.warnings):
        display.say(note)
    display.say(f"wrote {options.out}")
