"""`hwnas retrain`: trains one network from scratch."""

import dataclasses
import functools
from pathlib import Path

import tyro

from hwnas_jax.commands.options import Experiment, job_display, join, network_of, parse
from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.parallel import distributed


@dataclasses.dataclass(frozen=True)
class RetrainOptions:
    """Trains one network from scratch and tests it."""

    architecture: tyro.conf.Positional[str]
    """an architecture file; or a network of the config's space: its text in the notation of the
    space, the numbers of its options as [0,3,1], a row of a table as TABLE:6111, or the published
    number alone (nasbench201, transnas_cell), whose table is looked for in HWNAS_DATA. What the
    notation of the space reads is not taken for a number"""
    out: Path | None = None
    """folder for checkpoints and metrics.jsonl; nothing is kept when left out"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Trains one network and prints how good it is."""
    from hwnas_jax.data import load_data
    from hwnas_jax.data.sizes import check_retraining_sizes
    from hwnas_jax.files.new import make_folder
    from hwnas_jax.nn.outputs import output_shape
    from hwnas_jax.parallel.replicas import statistics_axis
    from hwnas_jax.runs.network_stages import NetworkStages
    from hwnas_jax.runs.recycling import taken_over
    from hwnas_jax.runs.retrain import train
    from hwnas_jax.tasks import make_task, task_for

    options = parse(RetrainOptions, words, "retrain", files=1, several=True)
    join(options, options.out or Path())
    space, architecture = network_of(options.architecture, options.config)
    data = load_data(options.config.data)
    config = override(options.config, task=task_for(options.config.task, data.task))
    task = make_task(config.task, data)
    outputs = output_shape(task.outputs(data.num_outputs), data.input_shape)
    if (data.input_shape, outputs) != (space.input_shape, space.output_shape):
        raise UserError(
            f"{options.architecture} is for inputs {space.input_shape} and outputs "
            f"{space.output_shape}; task {task.name} on {data.name} has inputs {data.input_shape} "
            f"and outputs {outputs}"
        )
    check_retraining_sizes(config, data)
    taken, said = taken_over(NetworkStages, config, space, architecture, task, data)
    if options.out is not None and distributed.is_first():
        make_folder(options.out, named=True, resumes=False)
    distributed.exchange(None)
    display = job_display()
    for note in data.notes:
        display.say(note)
    if said:
        display.say(f"the network {said}")
    with display.stage("retrain") as report:
        trained = train(
            functools.partial(
                space.network, architecture, axis_name=statistics_axis(options.config.parallel)
            ),
            data, config, seed=config.seed, folder=options.out, progress=report, **taken,
        )  # fmt: skip
    metric = task.metric.replace("_", " ")
    display.say(
        f"test {metric} {task.show(trained.test_metric)}, "
        f"validation {metric} {task.show(trained.validation_metric)}"
    )
    others = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in trained.test_metrics.items()
        if name != task.metric
    ]
    if others:
        display.say(f"also on the test data: {', '.join(others)}")
