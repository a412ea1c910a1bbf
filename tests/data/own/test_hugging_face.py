"""Sets of Hugging Face `datasets`, written by the library itself."""

import sys

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data.own.hugging_face import HuggingFace
from hwnas_jax.errors import UserError
from tests.data import tiny_sets


@pytest.fixture
def library():
    found = pytest.importorskip("datasets", reason="needs Hugging Face datasets")
    found.disable_progress_bars()
    return found


def load(path, **options):
    return HuggingFace(str(path), **options).load()


def test_pictures_with_class_labels(library, tmp_path):
    tiny_sets.save_hugging_face(tmp_path / "saved")
    data = load_data(DataConfig(path=str(tmp_path / "saved")))
    assert data.output_names == ("ant", "bee", "cat")
    label_of = dict(
        zip([i.tobytes() for i in tiny_sets.IMAGES], tiny_sets.LABELS.tolist(), strict=True)
    )
    for part in ("train", "test"):
        inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
        assert [label_of[image.tobytes()] for image in inputs] == targets.tolist()


def test_what_was_saved_and_is_damaged_is_told(library, tmp_path):
    tiny_sets.save_hugging_face(tmp_path / "saved")
    (tmp_path / "saved" / "dataset_info.json").write_text('{"features": null, "splits": 5}')
    with pytest.raises(UserError, match=r"cannot read .*saved: ") as told:
        load(tmp_path / "saved")
    assert "object has no" not in str(told.value) and "\n" not in str(told.value)


def test_arrays_with_values_in_splits(library, tmp_path):
    rng = np.random.default_rng(0)
    series = rng.standard_normal((9, 5, 2)).astype(np.float32)
    features = library.Features(
        {"signal": library.Array2D((5, 2), "float32"), "y": library.Value("float32")}
    )

    def split(rows):
        columns = {"signal": series[rows].tolist(), "y": series[rows, 0, 0].tolist()}
        return library.Dataset.from_dict(columns, features=features)

    splits = {"train": split(slice(6)), "test": split(slice(6, 9)), "extra": split(slice(1))}
    library.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"say layout NHW .* NLC"):
        load(tmp_path / "saved")
    data = load(tmp_path / "saved", layout="NLC")
    np.testing.assert_array_equal(data.train_inputs[:, 0], series[:6])
    np.testing.assert_array_equal(data.test_targets[:, 0], series[6:, 0, 0])
    assert data.task == "regression"
    assert data.notes == ("not read, being neither train, validation nor test: extra",)
    with pytest.raises(UserError, match=r"GiB in memory, more than"):
        load(tmp_path / "saved", layout="NLC", memory_gib=1e-7)


def test_columns_that_leave_a_doubt(library, tmp_path):
    columns = {"a": [[1.0, 2.0]] * 4, "b": [[3.0, 4.0]] * 4, "label": [0, 1, 0, 1]}
    library.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"several columns may be the inputs; there are a \(List\)"):
        load(tmp_path / "saved")
    with pytest.raises(UserError, match=r"column of .* 'c': allowed are a, b, label"):
        load(tmp_path / "saved", inputs="c")
    library.Dataset.from_dict({"a": columns["a"]}).save_to_disk(tmp_path / "none")
    with pytest.raises(UserError, match="no column may be the targets"):
        load(tmp_path / "none")


def test_damage_and_missing_sets_are_named(library, tmp_path, monkeypatch):
    tiny_sets.save_hugging_face(tmp_path / "saved")
    for file in (tmp_path / "saved").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot read .*saved: "):
        load(tmp_path / "saved")
    with pytest.raises(UserError, match="is not a folder that Hugging Face datasets saved"):
        load(tmp_path)
    monkeypatch.setattr(library, "load_dataset", lambda *args: 1 / 0)
    with pytest.raises(UserError, match="data set 'a/b': ZeroDivisionError: division by zero"):
        HuggingFace(dataset="a/b").load()


def test_a_set_by_its_name(library, tmp_path, monkeypatch):
    tiny_sets.save_hugging_face(tmp_path / "saved")
    asked = []

    def downloaded(*args):
        asked.append(args)
        return library.DatasetDict({"train": library.load_from_disk(tmp_path / "saved")})

    monkeypatch.setattr(library, "load_dataset", downloaded)
    config = DataConfig(name="hugging_face", args={"dataset": "ylecun/mnist", "config": "small"})
    data = load_data(config)
    assert asked == [("ylecun/mnist", "small")]
    assert data.name == "mnist"
    with pytest.raises(UserError, match="name two sets; give one of them"):
        HuggingFace(str(tmp_path / "saved"), dataset="a/b").load()


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'hwnas_jax\[huggingface\]'"):
        load(tmp_path)
