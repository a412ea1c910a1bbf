"""What the search of a run learns from: the data of the run, or other data (`search.data`).

The networks that are found are built, trained, tested and measured for the run's own data, and so
are the cost model and the budget. Only the search, and the short trainings of its derivation, see
the other data, which may have another task and other outputs.
"""

from typing import NamedTuple

from hwnas_jax.config import Config, DataConfig, override
from hwnas_jax.data import Dataset, load_data, recognised
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.spaces import Space
from hwnas_jax.tasks import Task, make_task, space_for


class ForSearch(NamedTuple):
    """What a search is given.

    Attributes:
      config: the experiment, as if the data of the search were its own.
      dataset: the data of the search.
      task: what is learned from them.
      space: the search space, with the outputs that the task needs.
    """

    config: Config
    dataset: Dataset
    task: Task
    space: Space


def for_search(config: Config, dataset: Dataset, task: Task, space: Space) -> ForSearch:
    """Returns what a search is given by the config, the data, the task and the space of a run.

    Raises:
      UserError: when `search.data` cannot be read, or have inputs of another shape than the data.
    """
    if not has_own_data(config):
        return ForSearch(config, dataset, task, space)
    own = load_data(config.search.data)
    if own.input_shape != dataset.input_shape:
        raise UserError(
            f"search.data: the inputs of {own.name} have the shape {own.input_shape}, those of "
            f"{dataset.name} have {dataset.input_shape}; a network that is found on one and "
            "trained on the other needs the same"
        )
    part = config.task if own.task == dataset.task else Part(own.task)
    config = override(config, data=config.search.data, search__data=DataConfig(), task=part)
    learned = make_task(part, own)
    return ForSearch(config, own, learned, space_for(config, own, learned))


def has_own_data(config: Config) -> bool:
    """Returns whether the search learns from other data than those of the experiment."""
    return config.search.data.name is not None or config.search.data.path is not None


def with_known_sources(config: Config) -> Config:
    """Returns the config with the names of its data sources; errors as of `recognised`."""
    config = override(config, data=recognised(config.data))
    if has_own_data(config):
        config = override(config, search__data=recognised(config.search.data))
    return config
