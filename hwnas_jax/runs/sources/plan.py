"""A comparison of sources: the config of the searches on each, checked before any of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hwnas_jax.config import Config, DataConfig, override
from hwnas_jax.data import SOURCES, Dataset, Source, load_data
from hwnas_jax.data.sizes import check_search_sizes
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Options, Part
from hwnas_jax.runs.for_search import for_search, has_own_data, with_known_sources
from hwnas_jax.runs.sources.settings import SourceComparison
from hwnas_jax.spaces import Space
from hwnas_jax.tabular import Benchmark, check_decisions, load_benchmark
from hwnas_jax.tasks import make_task, space_for, task_for

REAL = "real"
"""What the data of the config are called among the sources."""


@dataclasses.dataclass(frozen=True, eq=False)
class SourcePlan:
    """Everything that a comparison of sources needs.

    Attributes:
      configs: of the runs, by what the source is called; the real data come first. They differ in
        `search.data` alone.
      tables: accuracies by data set.
    """

    configs: Mapping[str, Config]
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
    if has_own_data(config):
        raise UserError("search.data: leave it out, since sources says what is searched on")
    config = with_known_sources(config)
    real = load_data(config.data)
    config = override(
        config, task=task_for(config.task, real.task), derive__confirm=0, derive__controls=()
    )
    task = make_task(config.task, real)
    space = space_for(config, real, task)
    configs = {REAL: config}
    for text in settings.sources:
        part = Part.parse(text)
        if part.label in configs:
            raise UserError(f"sources: {part.label!r} is named more than once")
        try:
            own = override(config, search__data=_data_of(part, config.data, real))
            searched = for_search(own, real, task, space).dataset
            check_search_sizes(own, real, searched=searched)
        except UserError as error:
            raise UserError(f"source {part.label}: {error}") from error
        configs[part.label] = own
    return SourcePlan(configs, _tables(settings, space))


def _tables(settings: SourceComparison, space: Space) -> dict[str, Benchmark]:
    tables: dict[str, Benchmark] = {}
    for name in settings.data_sets or (None,):
        table = load_benchmark(settings.table, data_set=name)
        check_decisions(space, table.space, table.source)
        tables[name or table.source.rpartition(":")[2]] = table
    return tables


def _data_of(part: Part, config: DataConfig, real: Dataset) -> DataConfig:
    """Returns the data of a source, which resemble the real data where that is left open."""
    args, path = dict(part.args), None
    if part.name in SOURCES or ":" in part.name:
        like = _like(config, real, SOURCES.find(part.name))
        path = like.pop("path", None)
        args = {**like, **args}
    data = DataConfig(
        name=part.name, args=args, path=path, test_fraction=config.test_fraction,
        resident=config.resident,
    )  # fmt: skip
    if load_data(data).movable:
        data = dataclasses.replace(data, shift=config.shift, flip=config.flip)
    return data


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
