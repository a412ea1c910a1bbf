"""Files of tiny data sets, written by other code than that which reads them."""

import gzip
import struct

import numpy as np

from hwnas_jax.data.tfds_source import quiet

with quiet():
    import tensorflow_datasets as tfds

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def encode_idx(array):
    """Returns an idx file of bytes, as http://yann.lecun.com/exdb/mnist describes it."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(path, array):
    content = encode_idx(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_idx_folder(folder, *, mark="-", ending="", shape=(5, 4)):
    """Writes the four files of an MNIST-style set; returns `{part: (images, labels)}`."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("t10k", 7)):
        images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        write_idx(folder / f"{part}-images{mark}idx{images.ndim}-ubyte{ending}", images)
        write_idx(folder / f"{part}-labels{mark}idx1-ubyte{ending}", labels)
        arrays[part] = images, labels
    return arrays


def tensor(shape=(6, 5, 3), dtype=np.uint8):
    return tfds.features.Tensor(shape=shape, dtype=dtype)


def classes():
    return tfds.features.ClassLabel(names=["ant", "bee", "cat"])


def tfds_builder(
    name, features, encode=None, splits=(("train", 0, 20), ("test", 20, 30)), supervised=None
):
    """Returns the class of a builder called `name`, unknown to the registry of TFDS."""
    encode = encode or (lambda i: {"image": IMAGES[i], "label": int(LABELS[i])})

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=supervised,
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(a, b) for split, a, b in splits}

        def _generate_examples(self, first, last):
            for index in range(first, last):
                yield index, encode(index)

    Tiny.name = name
    return Tiny


def prepare_tfds(folder, *args, **kwargs):
    """Writes the files of a TFDS set, without TensorFlow; returns its builder."""
    with quiet():
        builder = tfds_builder(*args, **kwargs)(data_dir=folder)
        builder.download_and_prepare(file_format="array_record")
    return builder
