"""`hwnas measure`: times one network, or takes what was measured elsewhere."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from hwnas_jax.commands.options import Experiment, is_place, network_of, parse
from hwnas_jax.commands.search import show_result
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError, choose


@dataclasses.dataclass(frozen=True)
class MeasureOptions:
    """Times a network on this device.

    With --from it takes a run that searched for a device elsewhere, and what you measured there.
    """

    architecture: tyro.conf.Positional[str]
    """an architecture file; or a network of the config's space: its text in the notation of the
    space, the numbers of its options as [0,3,1], a row of a table as TABLE:6111, or the published
    number alone (nasbench201, transnas_cell), whose table is looked for in HWNAS_DATA. What the
    notation of the space reads is not taken for a number. With --from, the run folder"""
    taken: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """to_measure.csv of the run folder with its empty column filled, or as much of it as is known;
    the page of the run is written again"""
    cost_model: Path | None = None
    """a cost model whose prediction is shown beside"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Times one network and prints it, or notes the measurements in a run."""
    options = parse(MeasureOptions, words, "measure", files=1)
    if options.taken is not None:
        if options.cost_model is not None:
            raise UserError("--cost-model does not go with --from: the run has a cost model")
        _take_back(Path(options.architecture), options.taken)
    elif is_place(options.architecture, Path.is_dir):
        raise UserError(
            f"{options.architecture} is a directory: name an architecture file, or with --from "
            "what was measured of a run's networks elsewhere"
        )
    else:
        _time(options)


def _take_back(folder: Path, path: Path) -> None:
    from hwnas_jax.runs.run import Run

    display = Terminal()
    run = Run.open(folder, display=display)
    with run.writing():
        for said in run.take_back(path):
            display.say(said)
        run.report()
    show_result(run)


def _time(options: MeasureOptions) -> None:
    from hwnas_jax.cost import load_cost_model, measure_networks
    from hwnas_jax.cost.models.base import predict_architectures
    from hwnas_jax.files.json_files import load_or_offer

    space, architecture = network_of(options.architecture, options.config)
    model = None
    if options.cost_model is not None:
        model = load_or_offer(options.cost_model, lambda path: load_cost_model(path, space))
        choose("latency_ms", model.metrics, f"metric of {options.cost_model}")
    display = Terminal()
    with display.stage("measure") as report:
        measured = measure_networks(
            space, architecture[None], None, options.config.profile,
            seed=options.config.seed, progress=report,
        )  # fmt: skip
    timing = measured.as_timed[0]
    display.say(
        f"{space.to_string(architecture)}: {timing.median:.4g} ms per call of "
        f"{options.config.profile.batch_size} images, spread {timing.iqr:.2g} ms"
    )
    for note in measured.conditions["notes"]:
        display.say(note)
    if model is not None:
        predicted = predict_architectures(model, architecture[None], space.num_options)
        display.say(f"predicted {float(predicted['latency_ms'][0]):.4g} ms")
