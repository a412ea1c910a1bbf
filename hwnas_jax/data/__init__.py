"""Data sets in memory, where they come from, and the pure functions that make batches of them."""

import dataclasses
import re
from typing import Any

from hwnas_jax.config import DataConfig
from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.cluttered_digits import ClutteredDigits
from hwnas_jax.data.dataset import Dataset, together
from hwnas_jax.data.digit_scenes import DigitScenes
from hwnas_jax.data.digits import Digits
from hwnas_jax.data.digits_multi_label import DigitsMultiLabel
from hwnas_jax.data.gratings import Gratings
from hwnas_jax.data.idx import Idx
from hwnas_jax.data.nasbench360.cifar100 import Nb360Cifar100
from hwnas_jax.data.nasbench360.cosmic import Nb360Cosmic
from hwnas_jax.data.nasbench360.darcy import Nb360Darcy
from hwnas_jax.data.nasbench360.deepsea import Nb360Deepsea
from hwnas_jax.data.nasbench360.ecg import Nb360Ecg
from hwnas_jax.data.nasbench360.ninapro import Nb360Ninapro
from hwnas_jax.data.nasbench360.psicov import Nb360Psicov
from hwnas_jax.data.nasbench360.satellite import Nb360Satellite
from hwnas_jax.data.nasbench360.spherical import Nb360Spherical
from hwnas_jax.data.own.array_files import ArrayFiles
from hwnas_jax.data.own.given import arrays
from hwnas_jax.data.own.hugging_face import HuggingFace
from hwnas_jax.data.own.image_folder import ImageFolder
from hwnas_jax.data.own.image_table import ImageTable
from hwnas_jax.data.physics.darcy import Darcy
from hwnas_jax.data.pipeline import (
    Sampler,
    augment,
    augmentation,
    holdout,
    normalise,
    split_halves,
)
from hwnas_jax.data.recognise import check_path, recognised
from hwnas_jax.data.scenes import Scenes
from hwnas_jax.data.series.ecg_like import EcgLike
from hwnas_jax.data.series.emg_like import EmgLike
from hwnas_jax.data.series.satellite_like import SatelliteLike
from hwnas_jax.data.series.time_series import TimeSeries
from hwnas_jax.data.tfds_source import Tfds
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part

__all__ = [
    "SOURCES", "ArrayFiles", "ClutteredDigits", "Darcy", "DataConfig", "Dataset", "DigitScenes",
    "Digits", "DigitsMultiLabel", "EcgLike", "EmgLike", "Gratings", "HuggingFace", "Idx",
    "ImageFolder", "ImageTable", "Nb360Cifar100", "Nb360Cosmic", "Nb360Darcy", "Nb360Deepsea",
    "Nb360Ecg", "Nb360Ninapro", "Nb360Psicov", "Nb360Satellite", "Nb360Spherical", "Sampler",
    "SatelliteLike", "Scenes", "Source", "Tfds", "TimeSeries", "arrays", "augment", "holdout",
    "load_data", "normalise", "recognised", "split_halves", "together",
]  # fmt: skip

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
