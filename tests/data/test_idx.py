"""idx files: a writer of the published format as reference, damage, and real data."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data.idx import Idx, read_idx
from hwnas_jax.errors import UserError
from tests.data.tiny_sets import encode_idx, write_idx, write_idx_folder


def load(folder):
    return Idx(str(folder)).load()


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_reads_the_four_files(tmp_path, mark, ending, shape):
    arrays = write_idx_folder(tmp_path, mark=mark, ending=ending, shape=shape)
    data = load_data(DataConfig(name="idx", path=str(tmp_path)))
    assert data.input_shape == (5, 4, shape[2] if len(shape) == 3 else 1)
    assert data.output_names == ("0", "1", "2")
    for part, images, labels in (
        ("train", data.train_inputs, data.train_targets),
        ("t10k", data.test_inputs, data.test_targets),
    ):
        np.testing.assert_array_equal(images.reshape(arrays[part][0].shape), arrays[part][0])
        np.testing.assert_array_equal(labels, arrays[part][1])
        assert labels.dtype == np.int32


def test_missing_path_folder_and_file(tmp_path):
    with pytest.raises(UserError, match=r"needs data.path"):
        load_data(DataConfig(name="idx"))
    with pytest.raises(UserError, match=r"nowhere': there is no such file or folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no train-images-idx3-ubyte or .*it holds nothing"):
        load(tmp_path)
    write_idx_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").rename(tmp_path / "labels.bin")
    with pytest.raises(UserError, match=r"no t10k-labels-idx1-ubyte.*it holds labels\.bin, t10k"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: 0 bytes"),
        (b"\0\0\x08\x03\0\0", "truncated: 6 bytes, its header needs 16"),
        (encode_idx(np.zeros((2, 3), np.uint8))[:-1], r"truncated: 17 bytes.*\(2, 3\).*18"),
        (encode_idx(np.zeros((2, 3), np.uint8)) + b"x", r"too long: .*\(2, 3\) stands for 18"),
        (b"\0\0\x0d\x01\0\0\0\1", "truncated: 8 bytes.*12"),
        (b"\0\0\x0a\x01\0\0\0\0", r"no idx file: it starts with 00 00 0a 01.*\(08, 09, 0b"),
        (b"\x89PNG and more", "no idx file: it starts with 89 50 4e 47"),
        (b"\0\0\x08\x00", "no idx file"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", [lambda c: c[:-12], lambda c: c[:20], lambda c: b"plain" + c])
def test_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(gzip.compress(encode_idx(np.arange(200, dtype=np.uint8)))))
    with pytest.raises(UserError, match=r"cannot read .*train-labels-idx1-ubyte.gz"):
        read_idx(path)


def test_counts_and_dimensions_must_agree(tmp_path):
    write_idx_folder(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    write_idx(labels, np.zeros(11, np.uint8))
    with pytest.raises(UserError, match=r"12 images but .*train-labels.* 11 labels"):
        load(tmp_path)
    write_idx(labels, np.zeros((12, 1, 1), np.uint8))
    with pytest.raises(UserError, match=r"train-labels.*one dimension, N, or two: \(12, 1, 1\)"):
        load(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((12, 20), np.uint8))
    with pytest.raises(UserError, match=r"train-images.*N, H, W.*\(12, 20\)"):
        load(tmp_path)


TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


@pytest.mark.parametrize("code", TYPES)
def test_every_type_is_read(tmp_path, code):
    sign = -1 if code in (9, 13) else 1
    values = (sign * np.array([[0, 1, 100], [3, 4, 5]])).astype(TYPES[code])
    path = tmp_path / "train-images-idx2-any.gz"
    path.write_bytes(gzip.compress(encode_idx(values, code)))
    read = read_idx(path)
    assert read.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(("code", "kind"), [(9, np.uint8), (11, np.uint8), (13, np.float32)])
def test_images_of_other_types(tmp_path, code, kind):
    images = np.random.default_rng(0).integers(0, 100, (12, 4, 5)).astype(TYPES[code])
    content = encode_idx(images, code)
    (tmp_path / "train-images-idx3-int").write_bytes(content)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(12, dtype=np.uint8) % 2)
    data = load(tmp_path)
    assert data.train_inputs.dtype == kind
    assert (len(data.train_inputs), len(data.test_inputs)) == (10, 2)
    held = {tuple(image.ravel().tolist()) for image in images}
    both = np.concatenate([data.train_inputs, data.test_inputs]).reshape(12, -1)
    assert {tuple(row) for row in both.tolist()} == held


def test_emnist_has_several_sets_and_letters_from_one(tmp_path):
    rng = np.random.default_rng(0)
    for name, first in (("letters", 1), ("digits", 0)):
        for part in ("train", "test"):
            stem = tmp_path / f"emnist-{name}-{part}"
            write_idx(stem.with_name(f"{stem.name}-images-idx3-ubyte.gz"), random(rng, (6, 3, 3)))
            labels = (np.arange(6) % 3 + first).astype(np.uint8)
            write_idx(stem.with_name(f"{stem.name}-labels-idx1-ubyte.gz"), labels)
    with pytest.raises(UserError, match="several sets: emnist_digits, emnist_letters; name one"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"subset of .*'leters'.*mean 'emnist_letters'"):
        Idx(str(tmp_path), subset="leters").load()
    data = Idx(str(tmp_path), subset="emnist-letters").load()
    assert data.output_names == ("1", "2", "3")
    assert data.train_targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert any("class numbers begin at 1" in note for note in data.notes)


def test_qmnist_has_the_class_in_the_first_of_eight_columns(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        write_idx(tmp_path / f"qmnist-{part}-images-idx3-ubyte", random(rng, (6, 3, 3)))
        labels = rng.integers(10, 1000, (6, 8)).astype(">i4")
        labels[:, 0] = np.arange(6) % 2
        (tmp_path / f"qmnist-{part}-labels-idx2-int").write_bytes(encode_idx(labels, 12))
    data = load(tmp_path)
    assert data.name == "qmnist"
    assert data.train_targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.output_names == ("0", "1")


def random(rng, shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def test_a_small_file_that_unpacks_to_much_is_refused_by_its_header(tmp_path):
    """The header of the file stands for 2.4 GB; nothing but the header is read."""
    write_idx_folder(tmp_path)
    bomb = struct.pack(">HBB3I", 0, 8, 3, 60_000, 200, 200)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bomb + bytes(10_000)))
    with pytest.raises(UserError, match=r"takes 2\.24 GiB in memory, more than 1 GiB.*memory_gib"):
        Idx(str(tmp_path), memory_gib=1.0).load()


def test_what_lies_behind_the_declared_values_is_not_unpacked(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(encode_idx(np.zeros(5, np.uint8)) + bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"too long: there are more bytes, its header \(5,\)"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_fashion_mnist_has_the_published_moments(shared):
    data = load(shared / "fashion_mnist")
    assert data.train_inputs.shape == (60000, 28, 28, 1)
    assert data.test_inputs.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.train_targets), 6000)
    np.testing.assert_allclose(data.mean, [0.2860], atol=5e-5)
    np.testing.assert_allclose(data.std, [0.3530], atol=5e-5)
