"""Tables of picture files."""

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data.own.image_table import ImageTable
from hwnas_jax.errors import UserError
from tests.data.tiny_sets import encode_png

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 4, 5), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number, image in enumerate(IMAGES):
        (tmp_path / f"{number}.png").write_bytes(encode_png(image))
    return tmp_path


def table(folder, head, row, name="set.csv", rows=range(8)):
    lines = [head, *(row(number) for number in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def load(path, **options):
    return ImageTable(str(path), **options).load()


def split(number):
    return "train" if number < 6 else "test"


def test_names_of_classes_and_parts(folder):
    path = table(folder, "Label,Split,File Name", lambda n: f"{'ab'[n % 2]},{split(n)},{n}.png")
    data = load_data(DataConfig(path=str(path)))
    assert data.output_names == ("a", "b")
    np.testing.assert_array_equal(data.train_inputs[..., 0], IMAGES[:6])
    np.testing.assert_array_equal(data.test_inputs[..., 0], IMAGES[6:])
    assert data.test_targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "task", "first"),
    [
        (lambda n: f"{n % 2 + 1}", "classification", 0),
        (lambda n: f"{n / 4 + 0.125}", "regression", 0.125),
        (lambda n: f"c{n % 2}", "classification", 0),
        (lambda n: f"00{n % 2 + 7}", "classification", 0),
        (lambda n: f"1_{n % 2}", "classification", 0),
        (lambda n: "\uff10\uff11"[n % 2], "classification", 0),
    ],
)
def test_targets_of_every_kind(folder, label, task, first):
    path = table(folder, "image,label,split", lambda n: f"{n}.png,{label(n)},{split(n)}")
    data = load(path)
    assert data.task == task
    assert data.train_targets.ravel()[0] == first
    names = ("label",) if task == "regression" else (label(0), label(1))
    assert data.output_names == names


def test_several_columns_of_targets(folder):
    path = table(folder, "path,left,right,subset", lambda n: f"{n}.png,{n}.5,{-n},{split(n)}")
    data = load(path, label="left, right")
    assert data.output_names == ("left", "right")
    np.testing.assert_array_equal(data.train_targets, [[n + 0.5, -n] for n in range(6)])
    path = table(folder, "path,left,right", lambda n: f"{n}.png,{n % 2},{(n + 1) // 2 % 2}")
    assert load(path, label="left,right").task == "multi_label"


def test_a_folder_with_a_table_for_each_part(folder):
    table(folder, "image\tlabel", lambda n: f"{n}.png\t{n % 2}", "train.tsv", range(6))
    table(folder, "image\tlabel", lambda n: f"{n}.png\t{n % 2}", "test.tsv", range(6, 8))
    data = load_data(DataConfig(path=str(folder)))
    assert (len(data.train_inputs), len(data.test_inputs)) == (6, 2)


def test_a_number_in_one_part_may_be_a_name_in_another(folder):
    path = table(folder, "image,label,split", lambda n: f"{n}.png,{'0x'[n % 2]},{split(n)}")
    assert load(path).output_names == ("0", "x")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("image,label\n", {}, "has no line below its header"),
        (
            "picture,label\n0.png,1\n",
            {},
            "no column image or path .*columns are picture, label",
        ),
        ("image,path,label\n", {}, r"has several that may be it.*--data\.args image COLUMN"),
        ("image,label\n0.png\n", {}, "line 2 of .* has 1 cells, the header 2"),
        ("image,label\n0.png,a\n\n1.png,\n", {}, r"line 4 of .*set\.csv: label is empty"),
        (
            "image,label,split\n0.png,a,x\n",
            {},
            "line 2 of .*: split is 'x'; allowed are",
        ),
        ("image,label\n0.png,a\n9.png,b\n", {}, r"9\.png \(line 3 of .*\): there is no file"),
        ("image,label\n0.png,a\n", {"label": "lable"}, "column of .*'lable'.*mean 'label'"),
        ('image,label\n"0.png,a\n', {}, "is damaged, or no table as UTF-8 text"),
        (
            "image,label\n0.png,a\n1.png,b\n",
            {},
            r"set\.csv: there is no test part, and",
        ),
    ],
)
def test_mistakes_are_named(folder, text, options, message):
    (folder / "set.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load(folder / "set.csv", **options)


def test_other_files_and_folders_are_refused(folder):
    (folder / "set.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no table as UTF-8"):
        load(folder / "set.csv")
    with pytest.raises(UserError, match=r"has no train\.csv; it holds 0\.png"):
        load(folder)
    with pytest.raises(UserError, match=r"0\.png is no \.csv or \.tsv file"):
        load(folder / "0.png")


def test_a_message_names_no_more_than_the_beginning_of_columns(folder):
    path = table(folder, "x" * 5000 + ",label", lambda n: f"{n}.png,{'ab'[n % 2]}")
    with pytest.raises(UserError, match=r"its columns are x{80}\.\.\., label\. Name"):
        load(path)
