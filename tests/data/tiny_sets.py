"""Files of tiny data sets, written by other code than that which reads them."""

import gzip
import struct
import zlib

import numpy as np
import pytest

from hwnas_jax.data.tfds_source import quiet

with quiet():
    import tensorflow_datasets as tfds

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def encode_idx(array, code=8):
    """Returns an idx file, as http://yann.lecun.com/exdb/mnist describes it; code 8 is bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def write_idx(path, array):
    content = encode_idx(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_idx_folder(
    folder, *, mark="-", ending="", shape=(5, 4), parts=(("train", 12), ("t10k", 7))
):
    """Writes the files of an MNIST-style set; returns `{part: (images, labels)}`."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in parts:
        images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        write_idx(folder / f"{part}-images{mark}idx{images.ndim}-ubyte{ending}", images)
        write_idx(folder / f"{part}-labels{mark}idx1-ubyte{ending}", labels)
        arrays[part] = images, labels
    return arrays


def encode_pgm(image):
    """Returns a grey picture `uint8[H, W]` as https://netpbm.sourceforge.net/doc/pgm.html says."""
    height, width = image.shape
    return f"P5\n{width} {height}\n255\n".encode() + image.tobytes()


def encode_png(image, depth=8):
    """Returns a picture as https://www.w3.org/TR/png says: `[H, W]` grey, `[H, W, 3 or 4]` not."""
    height, width = image.shape[:2]
    kind = {1: 0, 3: 2, 4: 6}[image.shape[2] if image.ndim == 3 else 1]
    rows = image.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))

    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def write_image_folder(folder, *, parts=("",), classes=("cat", "dog"), each=10, shape=(6, 8)):
    """Writes random PNG files, `each` of every class; returns `{part: {class: images}}`."""
    rng = np.random.default_rng(0)
    images = {}
    for part in parts:
        for name in classes:
            own = rng.integers(0, 256, (each, *shape), dtype=np.uint8)
            (folder / part / name).mkdir(parents=True)
            for number, image in enumerate(own):
                (folder / part / name / f"{number:03}.png").write_bytes(encode_png(image))
            images.setdefault(part, {})[name] = own
    return images


def save_hugging_face(folder):
    """Saves pictures with class labels by the library itself, which has to be there."""
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cat"])}
    )
    pictures = [{"bytes": encode_png(image), "path": None} for image in IMAGES]
    columns = {"image": pictures, "label": LABELS.tolist()}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder)


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
