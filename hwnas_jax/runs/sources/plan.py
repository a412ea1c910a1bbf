"""What a comparison of sources searches on: a config for each source, checked before any search."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hwnas_jax.config import Config, DataConfig, override
from hwnas_jax.data import SOURCES, Dataset, Source, load_data, recognised
from hwnas_jax.data.sizes import check_search_sizes
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Options, Part
from hwnas_jax.runs.sources.settings import SourceComparison
from hwnas_jax.spaces import Space, make_space
from hwnas_jax.tabular import Benchmark, check_decisions, load_benchmark
from hwnas_jax.tasks import make_task, task_for

REAL = "real"
"""What the data of the config are called among the sources."""


@dataclasses.dataclass(frozen=True, eq=False)
class SourcePlan:
    """Everything that a comparison of sources needs.

    Attributes:
      configs: of the runs, by what the source is called; the real data come first.
      spaces: that are searched, likewise; they differ in their outputs alone.
      tables: accuracies by data set.
    """

    configs: Mapping[str, Config]
    spaces: Mapping[str, Space]
    tables: Mapping[str, Benchmark]


def make_plan(settings: SourceComparison, config: Config) -> SourcePlan:
    """Loads the data of every source once and refuses what could not be compared.

    Raises:
      UserError: names the source or the table, and what is wrong with it.
    """
    settings.check()
    if config.target.measurements:
        raise UserError(
            "target.measurements must be 0 where sources are compared: all searches share one cost "
            "model, which none may change"
        )
    config = override(
        config, data=recognised(config.data), derive__confirm=0, derive__controls=(),
    )  # fmt: skip
    real = load_data(config.data)
    config = override(config, task=task_for(config.task, real.task))
    space = space_for(config, real)
    tables = _tables(settings, space)
    configs, spaces = {REAL: config}, {REAL: space}
    for text in settings.sources:
        part = Part.parse(text)
        if part.label in configs:
            raise UserError(f"sources: {part.label!r} is named more than once")
        configs[part.label], spaces[part.label] = _of_source(part, config, real)
    check_search_sizes(config, real)
    return SourcePlan(configs, spaces, tables)


def space_for(config: Config, dataset: Dataset) -> Space:
    """Returns the search space in the shape of a data set."""
    outputs = make_task(config.task, dataset).outputs(dataset.num_outputs)
    return make_space(
        config.space.name, config.space.args, off=config.space.off,
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs, outputs=outputs,
    )  # fmt: skip


def _tables(settings: SourceComparison, space: Space) -> dict[str, Benchmark]:
    tables: dict[str, Benchmark] = {}
    for name in settings.data_sets or (None,):
        table = load_benchmark(settings.table, data_set=name)
        check_decisions(space, table.space, table.source)
        tables[name or table.source.rpartition(":")[2]] = table
    return tables


def _of_source(part: Part, config: Config, real: Dataset) -> tuple[Config, Space]:
    """Returns config and space of the searches on one source; errors as of `make_plan`."""
    data = DataConfig(
        name=part.name, args=part.args, test_fraction=config.data.test_fraction,
        resident=config.data.resident,
    )  # fmt: skip
    if part.name in SOURCES or ":" in part.name:
        kind = SOURCES.find(part.name)
        missing = {key: value for key, value in _like(config.data, real, kind).items()
                   if key not in part.args}  # fmt: skip
        path = missing.pop("path", None)
        data = dataclasses.replace(data, args={**part.args, **missing}, path=path)
    dataset = load_data(data)
    if dataset.input_shape != real.input_shape:
        raise UserError(
            f"source {part.label}: its inputs have the shape {dataset.input_shape}, those of "
            f"{real.name} have {real.input_shape}; networks of one space are compared, so both "
            "must be the same"
        )
    if dataset.movable:
        data = dataclasses.replace(data, shift=config.data.shift, flip=config.data.flip)
    task = config.task if dataset.task == real.task else Part(dataset.task)
    own = override(config, data=data, task=task)
    check_search_sizes(own, dataset)
    return own, space_for(own, dataset)


def _like(config: DataConfig, real: Dataset, kind: type[Source]) -> dict[str, Any]:
    """Returns the options by which a source that has them resembles the real data."""
    height, width, channels = real.input_shape
    train, test = len(real.train_inputs), len(real.test_inputs)
    options: dict[str, Any] = {
        "height": height, "width": width, "channels": channels, "examples": train + test,
        "test_fraction": test / (train + test),
    }  # fmt: skip
    if real.task == "classification":
        options["classes"] = real.num_outputs
    fields = {field.name for field in dataclasses.fields(kind)}
    if "of" in fields:
        options["of"] = _as_text(config.name or "", config.args)
        options["test_fraction"] = config.test_fraction
        if config.path is not None:
            options["path"] = config.path
    return {key: value for key, value in options.items() if key in fields}


def _as_text(name: str, args: Options) -> str:
    """Returns what `Part.parse` reads as this source; UserError where it would read another."""
    text = ",".join([name, *(f"{key}={value}" for key, value in args.items())])
    if Part.parse(text) != Part(name, dict(args)):
        raise UserError(
            f"the data source {name} has options that cannot be written behind commas: {args}; "
            "give them as fields of a class of your own, or by a path"
        )
    return text
