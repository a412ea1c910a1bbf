"""The built-in data set: scikit-learn's handwritten digits as a TFDS set, prepared offline."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import holdout
from hwnas_jax.data.tfds_source import FILE_FORMAT, one_line, quiet, read_builder
from hwnas_jax.errors import UserError
from hwnas_jax.files.cache import cache_folder

_SEED = 0


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Digits(Source):
    """1797 images of handwritten digits, `uint8[N, 8, 8, 1]`, in ten classes.

    The split into train and test is a fixed shuffle that takes the same share of every class. The
    first call writes the files of the TFDS set to the user's cache folder; nothing is downloaded.
    """

    name = "digits"
    summary = "handwritten digits, 1797 images of 8x8x1, 10 classes; built in, no download"

    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""

    def load(self) -> Dataset:
        """Returns the digits.

        Raises:
          UserError: when the folder cannot be written, or its files are damaged.
        """
        root = cache_folder() / "tfds"
        with quiet():
            import tensorflow_datasets as tfds

            final = Path(_builder(self.test_fraction, root).data_path)
            if not final.is_dir():
                _prepare(self.test_fraction, root, final)
        try:
            builder = tfds.builder_from_directory(final)
            return read_builder(builder, self.name, test_fraction=self.test_fraction)
        except Exception as error:
            raise UserError(
                f"the prepared digits are damaged ({one_line(error)}); delete {final} and they "
                "are prepared again"
            ) from error


def _prepare(test_fraction: float, root: Path, final: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="preparing-") as scratch:
            builder = _builder(test_fraction, Path(scratch))
            builder.download_and_prepare(file_format=FILE_FORMAT)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                Path(builder.data_path).rename(final)
            except OSError:
                # Another process was first; its files are the same.
                if not final.is_dir():
                    raise
    except OSError as error:
        raise UserError(
            f"cannot write the digits to {root}: {error.strerror or error}; set HWNAS_CACHE to a "
            "folder that can be written"
        ) from error


def _builder(test_fraction: float, root: Path) -> Any:
    """Returns the TFDS builder of one split; each fraction has files of its own."""
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """Handwritten digits of 43 people, 8x8 pixels, from scikit-learn."""

        name = "digits"
        VERSION = tfds.core.Version("1.0.0")
        # Nothing is downloaded, so TFDS need not look for checksums beside the code: that would
        # import importlib_resources, which TFDS needs but does not declare.
        code_path = None

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description=type(self).__doc__,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            from sklearn.datasets import load_digits

            source = load_digits()
            images = np.round(source.images * (255 / 16)).astype(np.uint8)[..., None]
            labels = source.target
            train, test = holdout(labels, test_fraction, _SEED)
            return {
                "train": self._generate_examples(images[train], labels[train]),
                "test": self._generate_examples(images[test], labels[test]),
            }

        def _generate_examples(self, images, labels):
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image, "label": int(label)}

    config = tfds.core.BuilderConfig(name=f"test_{float(test_fraction)!r}")
    return Builder(config=config, data_dir=root)
