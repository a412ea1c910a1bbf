"""idx files: a writer of the published format as reference, damage, and real data."""

import gzip

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
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds nothing"):
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
        (encode_idx(np.zeros((2, 3), np.uint8)) + b"x", "too long: 19 bytes"),
        (b"\0\0\x0d\x01\0\0\0\0", "no idx file of uint8: it starts with 00 00 0d 01"),
        (b"\x89PNG and more", "no idx file of uint8: it starts with 89 50 4e 47"),
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
    write_idx(labels, np.zeros((12, 1), np.uint8))
    with pytest.raises(UserError, match=r"train-labels.*one dimension, N: \(12, 1\)"):
        load(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((12, 20), np.uint8))
    with pytest.raises(UserError, match=r"train-images.*N, H, W.*\(12, 20\)"):
        load(tmp_path)


def test_fashion_mnist_has_the_published_moments(shared):
    data = load(shared / "fashion_mnist")
    assert data.train_inputs.shape == (60000, 28, 28, 1)
    assert data.test_inputs.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.train_targets), 6000)
    np.testing.assert_allclose(data.mean, [0.2860], atol=5e-5)
    np.testing.assert_allclose(data.std, [0.3530], atol=5e-5)
