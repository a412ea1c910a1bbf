"""From what a config says of data to the data set."""

import dataclasses
import re
from typing import Any

from hwnas_jax.config import DataConfig
from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import augmentation
from hwnas_jax.data.recognise import check_path, recognised
from hwnas_jax.data.tfds_source import Tfds
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part

_CLASS_OF_A_FILE = re.compile(r":[A-Za-z_]\w*$")


def load_data(config: DataConfig) -> Dataset:
    """Returns the data set that `config` names, or that lies in its path.

    A name is one of `SOURCES`, a class of the user's own (`my_data.py:MyData`), or the name of a
    set of TensorFlow Datasets. Without a name, `recognised` tells it by the path.

    Raises:
      UserError: when there is no such data set, it cannot be read, it has no option of that name,
        or it cannot be augmented as `config` says.
    """
    config = recognised(config)
    assert config.name is not None
    name, options = config.name, dict(config.args)
    if not (SOURCES.is_known(name) or _CLASS_OF_A_FILE.search(name)):
        # A version, as in cifar10:3.0.2, begins with a digit.
        name, options = Tfds.name, {**options, "dataset": name}
    if config.path is not None:
        check_path(SOURCES.find(name), config.name, config.path)
    source = SOURCES.make(Part(name, {**_shared_options(name, config), **options}))
    dataset = source.load()
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"the data set {name}: load must return a hwnas_jax.data.Dataset, "
            f"got {type(dataset).__name__}"
        )
    augmentation(dataset, config)
    return dataset


def _shared_options(name: str, config: DataConfig) -> dict[str, Any]:
    """Returns those of the config's `path` and `test_fraction` that the source has fields for."""
    fields = {field.name for field in dataclasses.fields(SOURCES.find(name))}
    given = {"path": config.path, "test_fraction": config.test_fraction}
    return {key: value for key, value in given.items() if key in fields and value is not None}
