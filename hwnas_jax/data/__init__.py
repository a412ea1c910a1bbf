"""Data sets in memory, and the pure functions that make batches of them."""

from hwnas_jax.config import DataConfig
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import Sampler, augment, holdout, normalise, split_halves
from hwnas_jax.errors import UserError

__all__ = [
    "DATA_SETS",
    "DataConfig",
    "Dataset",
    "Sampler",
    "augment",
    "holdout",
    "load_data",
    "normalise",
    "split_halves",
]

DATA_SETS: dict[str, str] = {
    "digits": "handwritten digits, 1797 images of 8x8x1, 10 classes; built in, no download",
    "idx": "a folder of MNIST-style idx files, gzipped or not; needs data.path",
    "any TFDS name": "image classification sets of TensorFlow Datasets, such as cifar10",
}


def load_data(config: DataConfig) -> Dataset:
    """Returns the data set that `config` names.

    Raises:
      UserError: when there is no such data set, or it cannot be read.
    """
    if config.name == "digits":
        from hwnas_jax.data.digits import load_digits

        return load_digits(config.test_fraction, config.path)
    if config.name == "idx":
        from hwnas_jax.data.idx import load_idx

        if config.path is None:
            raise UserError("data.name = 'idx' needs data.path, the folder of the idx files")
        return load_idx(config.path)
    from hwnas_jax.data.tfds_source import load_tfds

    return load_tfds(
        config.name,
        path=config.path,
        test_fraction=config.test_fraction,
        other_names=("digits", "idx"),
    )
