"""Folders of pictures by class."""

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data.own.image_folder import ImageFolder
from hwnas_jax.errors import UserError
from tests.data.tiny_sets import encode_png, write_image_folder

RNG = np.random.default_rng(0)


def load(path, **options):
    return ImageFolder(str(path), **options).load()


def test_one_folder_for_each_class(tmp_path):
    images = write_image_folder(tmp_path)[""]
    (tmp_path / ".git").mkdir()
    data = load_data(DataConfig(path=str(tmp_path), test_fraction=0.3))
    assert data.output_names == ("cat", "dog")
    assert (data.input_shape, data.name) == ((6, 8, 1), tmp_path.name)
    assert np.bincount(data.train_targets).tolist() == [7, 7]
    for part in ("train", "test"):
        inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
        for image, target in zip(inputs[..., 0], targets, strict=True):
            assert (images[data.output_names[target]] == image).all((1, 2)).sum() == 1


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Testing")])
def test_folders_of_train_and_test(tmp_path, names):
    images = write_image_folder(tmp_path, parts=names, each=4)
    data = load_data(DataConfig(path=str(tmp_path)))
    for part, name in zip(("train", "test"), names, strict=True):
        expected = np.concatenate([images[name]["cat"], images[name]["dog"]])
        np.testing.assert_array_equal(getattr(data, f"{part}_inputs")[..., 0], expected)
        assert getattr(data, f"{part}_targets").tolist() == [0] * 4 + [1] * 4
    assert data.notes == ()


def test_validation_joins_and_what_is_not_read_is_told(tmp_path):
    write_image_folder(tmp_path, parts=("train", "val", "extra"), each=4)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("a cat")
    data = load(tmp_path)
    assert len(data.train_inputs) + len(data.test_inputs) == 16
    said = "; ".join(data.notes)
    assert "not read, being neither train, val nor test: extra" in said
    assert "8 validation examples joined" in said
    assert "1 file not read, being no pictures by their endings: " in said and "notes.txt" in said
    assert "no test part" in said


def test_folders_inside_a_class_and_endings_in_capitals(tmp_path):
    write_image_folder(tmp_path, each=3)
    inner = tmp_path / "cat" / "indoors"
    inner.mkdir()
    (inner / "1.PNG").write_bytes(encode_png(RNG.integers(0, 256, (6, 8))))
    data = load(tmp_path)
    assert len(data.train_inputs) + len(data.test_inputs) == 7


def test_a_class_may_be_called_train(tmp_path):
    write_image_folder(tmp_path, classes=("train", "bus"))
    assert load(tmp_path).output_names == ("bus", "train")


def test_a_constant_picture_is_named(tmp_path):
    write_image_folder(tmp_path, each=4, parts=("train", "test"))
    black = tmp_path / "train" / "dog" / "002.png"
    black.write_bytes(encode_png(np.zeros((6, 8))))
    assert load(tmp_path).notes == (
        f"1 of 8 train inputs hold one value only, the first is {black}",
    )


def test_options_of_the_command_line_reach_the_source(tmp_path):
    write_image_folder(tmp_path, each=3)
    write_image_folder(tmp_path / "cat" / "more", classes=("big",), each=1, shape=(9, 9))
    with pytest.raises(UserError, match=r"2 sizes in all: .*000\.png has 6x8 .* has 9x9"):
        load(tmp_path)
    args = {"height": 5, "width": 4, "fit": "pad", "colours": "colour"}
    data = load_data(DataConfig(path=str(tmp_path), args=args))
    assert data.input_shape == (5, 4, 3)
    with pytest.raises(UserError, match=r"fit = 'squeeze' must be 'crop', 'pad' or 'stretch'"):
        load_data(DataConfig(path=str(tmp_path), args={"fit": "squeeze"}))


def empty_class(folder):
    (folder / "ant").mkdir()
    (folder / "ant" / "list.txt").write_text("1")


def class_in_test_only(folder):
    write_image_folder(folder, parts=("train", "test"), classes=("ant", "bee"), each=2)
    write_image_folder(folder, parts=("test",), classes=("cow",), each=2)


def no_train(folder):
    write_image_folder(folder, parts=("test",), each=2)


def two_trains(folder):
    write_image_folder(folder, parts=("train", "training"), each=2)


def damaged(folder):
    write_image_folder(folder, each=2)
    (folder / "dog" / "001.png").write_bytes(b"\x89PNG\r\n")


def no_pictures(folder):
    (folder / "cat").mkdir()
    (folder / "dog").mkdir()


def a_part_without_classes(folder):
    write_image_folder(folder, parts=("train",), each=2)
    (folder / "test" / "x").mkdir(parents=True)


def one_class(folder):
    write_image_folder(folder, classes=("cat",), each=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty_class, r"class folder .*ant has no pictures .*; it holds list\.txt"),
        (class_in_test_only, "the class 'cow' has 2 test examples but no train example"),
        (no_train, "has test but no folder train"),
        (two_trains, "train and .*training are the train part; remove one"),
        (damaged, r"cannot read the picture .*dog/001\.png"),
        (no_pictures, "class folder .*cat has no pictures"),
        (a_part_without_classes, "test/x has no pictures"),
        (one_class, "are of the class 'cat'; there is nothing to tell apart"),
        (lambda folder: None, "has no folder for any class; it holds nothing"),
    ],
)
def test_mistakes_are_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        load(tmp_path)
