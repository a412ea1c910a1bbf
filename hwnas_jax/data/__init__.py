"""Data sets in memory, where they come from, and the pure functions that make batches of them."""

from hwnas_jax.config import DataConfig
from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.cluttered_digits import ClutteredDigits
from hwnas_jax.data.dataset import Dataset, together
from hwnas_jax.data.digit_scenes import DigitScenes
from hwnas_jax.data.digits import Digits
from hwnas_jax.data.digits_multi_label import DigitsMultiLabel
from hwnas_jax.data.gratings import Gratings
from hwnas_jax.data.idx import Idx
from hwnas_jax.data.load import load_data
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
    holdout,
    normalise,
    split_halves,
)
from hwnas_jax.data.recognise import recognised
from hwnas_jax.data.scenes import Scenes
from hwnas_jax.data.series.ecg_like import EcgLike
from hwnas_jax.data.series.emg_like import EmgLike
from hwnas_jax.data.series.satellite_like import SatelliteLike
from hwnas_jax.data.series.time_series import TimeSeries
from hwnas_jax.data.spherical import Spherical
from hwnas_jax.data.tfds_source import Tfds
from hwnas_jax.data.unreal.colour import Colour
from hwnas_jax.data.unreal.jigsaw import Jigsaw
from hwnas_jax.data.unreal.noise import Noise
from hwnas_jax.data.unreal.random_labels import RandomLabels
from hwnas_jax.data.unreal.rotation import Rotation
from hwnas_jax.data.unreal.shuffled_pixels import ShuffledPixels
from hwnas_jax.data.unreal.textures import Textures

__all__ = [
    "SOURCES", "ArrayFiles", "ClutteredDigits", "Colour", "Darcy", "DataConfig", "Dataset",
    "DigitScenes", "Digits", "DigitsMultiLabel", "EcgLike", "EmgLike", "Gratings", "HuggingFace",
    "Idx", "ImageFolder", "ImageTable", "Jigsaw", "Nb360Cifar100", "Nb360Cosmic", "Nb360Darcy",
    "Nb360Deepsea", "Nb360Ecg", "Nb360Ninapro", "Nb360Psicov", "Nb360Satellite", "Nb360Spherical",
    "Noise", "RandomLabels", "Rotation", "Sampler", "SatelliteLike", "Scenes", "ShuffledPixels",
    "Source", "Spherical", "Textures", "Tfds", "TimeSeries", "arrays", "augment", "holdout",
    "load_data", "normalise", "recognised", "split_halves", "together",
]  # fmt: skip
