"""TFDS sets: tiny ones prepared here without TensorFlow, read back by path."""

import importlib.util
import io
import sys

import numpy as np
import pytest
from PIL import Image

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data.tfds_source import quiet
from hwnas_jax.errors import UserError
from tests.data.tiny_sets import IMAGES, LABELS, classes, prepare_tfds, tensor, tfds_builder

with quiet():
    import tensorflow_datasets as tfds


def _png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.parametrize("direct", [True, False], ids=["version folder", "data folder"])
def test_reads_back_a_prepared_set(tmp_path, capfd, direct):
    builder = prepare_tfds(tmp_path, "tiny_set", {"image": tensor(), "label": classes()})
    path = builder.data_path if direct else tmp_path
    data = load_data(DataConfig(name="tiny_set", path=str(path)))
    assert capfd.readouterr() == ("", "")
    assert "tensorflow" not in sys.modules
    np.testing.assert_array_equal(data.train_inputs, IMAGES[:20])
    np.testing.assert_array_equal(data.train_targets, LABELS[:20])
    np.testing.assert_array_equal(data.test_inputs, IMAGES[20:])
    np.testing.assert_array_equal(data.test_targets, LABELS[20:])
    assert data.output_names == ("ant", "bee", "cat")


def test_reads_encoded_images(tmp_path):
    features = {"image": tfds.features.Image(shape=(6, 5, 3)), "label": classes()}
    prepare_tfds(
        tmp_path, "tiny_png", features, lambda i: {"image": _png(IMAGES[i]), "label": LABELS[i]}
    )
    data = load_data(DataConfig(name="tiny_png", path=str(tmp_path)))
    np.testing.assert_array_equal(data.train_inputs, IMAGES[:20])


def test_validation_stands_in_for_the_test(tmp_path):
    splits = (("train", 0, 18), ("validation", 18, 30))
    features = {"image": tensor(), "label": classes()}
    prepare_tfds(tmp_path, "tiny_val", features, splits=splits)
    data = load_data(DataConfig(name="tiny_val", path=str(tmp_path)))
    np.testing.assert_array_equal(data.test_inputs, IMAGES[18:])


def test_test_set_is_held_out_of_train(tmp_path):
    features = {"image": tensor(), "label": classes()}
    prepare_tfds(tmp_path, "tiny_train", features, splits=(("train", 0, 30),))
    data = load_data(DataConfig(name="tiny_train", path=str(tmp_path), test_fraction=0.3))
    np.testing.assert_array_equal(np.bincount(data.test_targets), [3, 3, 3])
    both = np.concatenate([data.train_inputs, data.test_inputs])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in IMAGES}
    assert len(both) == 30


def test_no_train_split(tmp_path):
    features = {"image": tensor(), "label": classes()}
    prepare_tfds(tmp_path, "tiny_test", features, splits=(("test", 0, 30),))
    with pytest.raises(UserError, match="no split 'train'; it has test"):
        load_data(DataConfig(name="tiny_test", path=str(tmp_path)))


def test_supervised_keys_and_integer_labels(tmp_path):
    features = {
        "left": tensor(),
        "right": tensor(),
        "kind": tfds.features.Scalar(np.int64),
        "weight": tfds.features.Scalar(np.float32),
    }

    def encode(i):
        return {"left": 255 - IMAGES[i], "right": IMAGES[i], "kind": LABELS[i], "weight": 0.5}

    prepare_tfds(tmp_path, "tiny_two", features, encode, supervised=("right", "kind"))
    data = load_data(DataConfig(name="tiny_two", path=str(tmp_path)))
    np.testing.assert_array_equal(data.train_inputs, IMAGES[:20])
    assert data.output_names == ("0", "1", "2")
    prepare_tfds(tmp_path, "tiny_unclear", features, encode)
    with pytest.raises(UserError, match=r"no single image.*left: Tensor\(6, 5, 3\), right: Tens"):
        load_data(DataConfig(name="tiny_unclear", path=str(tmp_path)))


def test_fine_labels_win_over_coarse_ones(tmp_path):
    features = {"coarse_label": classes(), "image": tensor(), "label": classes()}

    def encode(i):
        return {"coarse_label": 0, "image": IMAGES[i], "label": int(LABELS[i])}

    prepare_tfds(tmp_path, "tiny_coarse", features, encode)
    data = load_data(DataConfig(name="tiny_coarse", path=str(tmp_path)))
    np.testing.assert_array_equal(data.train_targets, LABELS[:20])


def test_other_tasks_are_refused(tmp_path):
    features = {"speech": tensor((7,), np.float32), "label": classes()}
    sound = np.zeros(7, np.float32)
    prepare_tfds(tmp_path, "tiny_speech", features, lambda i: {"speech": sound, "label": 0})
    with pytest.raises(
        UserError, match=r"no single image.*label: ClassLabel\(\), speech: Tensor\(7,\)"
    ):
        load_data(DataConfig(name="tiny_speech", path=str(tmp_path)))
    with pytest.raises(UserError, match="imdb_reviews is not one for image classification"):
        load_data(DataConfig(name="imdb_reviews", path=str(tmp_path)))


def test_images_of_several_sizes_are_refused(tmp_path):
    features = {"image": tfds.features.Image(), "label": classes()}
    prepare_tfds(
        tmp_path, "tiny_sizes", features, lambda i: {"image": _png(IMAGES[i]), "label": LABELS[i]}
    )
    with pytest.raises(UserError, match=r"differ in size: \(None, None, 3\)"):
        load_data(DataConfig(name="tiny_sizes", path=str(tmp_path)))


def test_folder_of_another_set(tmp_path):
    builder = prepare_tfds(tmp_path, "tiny_one", {"image": tensor(), "label": classes()})
    with pytest.raises(UserError, match="holds the TFDS data set tiny_one, not mnist"):
        load_data(DataConfig(name="mnist", path=str(builder.data_path)))


def test_damaged_records_are_named(tmp_path):
    builder = prepare_tfds(tmp_path, "tiny_bad", {"image": tensor(), "label": classes()})
    for record in builder.data_path.glob("*train.array_record*"):
        record.write_bytes(record.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot read TFDS data set tiny_bad from"):
        load_data(DataConfig(name="tiny_bad", path=str(tmp_path)))


def test_unknown_configuration_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot open TFDS data set 'mnist/odd'"):
        load_data(DataConfig(name="mnist/odd", path=str(tmp_path)))


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="needs TensorFlow to be absent"
)
def test_preparation_that_needs_tensorflow_says_what_to_do(tmp_path, monkeypatch, capsys):
    features = {"image": tfds.features.Image(shape=(6, 5, 3)), "label": classes()}
    builder = tfds_builder("tiny_encode", features)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder(data_dir=data_dir))
    with pytest.raises(UserError, match="tiny_encode is not prepared") as caught:
        load_data(DataConfig(name="tiny_encode", path=str(tmp_path)))
    message = str(caught.value)
    assert "failed: ModuleNotFoundError: No module named 'tensorflow'. " in message
    assert "pip install tensorflow" in message
    assert "--data.path FOLDER" in message
    assert "--data.name idx --data.path FOLDER" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""


def test_prepares_what_is_not_on_disk(tmp_path, monkeypatch):
    builder = tfds_builder("tiny_new", {"image": tensor(), "label": classes()})
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder(data_dir=data_dir))
    data = load_data(DataConfig(name="tiny_new", path=str(tmp_path)))
    np.testing.assert_array_equal(data.train_inputs, IMAGES[:20])
    assert (tmp_path / "tiny_new" / "1.0.0" / "dataset_info.json").is_file()
