"""A path tells its source; a name that does not fit the path is refused with what does."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.data import SOURCES, DataConfig, load_data, recognised
from hwnas_jax.data.recognise import sources_of
from hwnas_jax.errors import UserError
from tests.data import tiny_sets
from tests.data.nasbench360 import files as published
from tests.data.test_time_series import LABELS, SERIES, write_ts


@pytest.fixture
def kinds(tmp_path):
    """A folder with a path of every kind; returns them by the name of their source."""
    paths = {name: tmp_path / name for name in ("idx", "image_folder", "arrays", "tfds")}
    for name in ("idx", "arrays"):
        paths[name].mkdir()
    tiny_sets.write_idx_folder(paths["idx"])
    tiny_sets.write_image_folder(paths["image_folder"], each=2)
    np.save(paths["arrays"] / "x.npy", np.zeros((3, 2, 2), np.uint8))
    paths["image_table"] = tmp_path / "set.csv"
    paths["image_table"].write_text("image,label\n")
    features = {"image": tiny_sets.tensor(), "label": tiny_sets.classes()}
    tiny_sets.prepare_tfds(paths["tfds"], "tiny_set", features)
    paths["hugging_face"] = tmp_path / "saved"
    paths["hugging_face"].mkdir()
    for name in ("state.json", "dataset_info.json"):
        (paths["hugging_face"] / name).write_text("{}")
    paths["timeseries"] = tmp_path / "series"
    paths["timeseries"].mkdir()
    write_ts(paths["timeseries"] / "Toy_TRAIN.ts", SERIES, LABELS)
    for task, write in published.WRITERS.items():
        paths[f"nb360_{task}"] = tmp_path / task
        paths[f"nb360_{task}"].mkdir()
        write(paths[f"nb360_{task}"])
    return paths


def test_every_kind_is_told_by_its_path(kinds):
    assert kinds.keys() == {name for name in SOURCES if SOURCES[name].fits}
    for name, path in kinds.items():
        found = recognised(DataConfig(path=str(path)))
        assert found.name == ("tiny_set" if name == "tfds" else name)
        assert sources_of(path) == [name]
    assert recognised(DataConfig()).name == "digits"
    named = DataConfig(name="mnist", path="anywhere")
    assert recognised(named) == named


def test_a_prepared_version_tells_its_set(kinds):
    (version,) = (info.parent for info in kinds["tfds"].rglob("dataset_info.json"))
    data = load_data(DataConfig(path=str(version)))
    assert data.name == "tiny_set"


def test_a_name_must_fit_the_path(kinds):
    for name in kinds:
        for other, path in kinds.items():
            given = "mnist" if name == "tfds" else name
            if SOURCES[name].holds(path):  # its own, or arrays that say nothing to it
                continue
            said = f"but data.name = '{given}' reads .*to '{other}'"
            if SOURCES[name].exact:
                said = f"data.name = '{given}' needs .* published at"
            with pytest.raises(UserError, match=said):
                load_data(DataConfig(name=given, path=str(path)))


def test_made_data_read_no_path(kinds):
    for name in SOURCES:
        fields = {field.name for field in dataclasses.fields(SOURCES[name])}
        if "path" not in fields:
            with pytest.raises(
                UserError, match=f"{name} reads no files of yours; it is read by .*'i"
            ):
                load_data(DataConfig(name=name, path=str(kinds["idx"])))
        elif not SOURCES[name].fits:
            assert "of" in fields, f"{name} says nothing of what its path must be"
    assert not list(kinds["idx"].glob("digits*"))


def other_file(folder):
    (folder / "set.txt").write_text("1")
    return folder / "set.txt"


def archive(folder):
    (folder / "set.tar.gz").write_bytes(b"")
    return folder / "set.tar.gz"


def one_of_several(folder):
    tiny_sets.write_idx_folder(folder)
    return folder / "train-images-idx3-ubyte"


def two_kinds(folder):
    tiny_sets.write_idx_folder(folder)
    tiny_sets.write_image_folder(folder, each=1)
    return folder


def two_tfds_sets(folder):
    features = {"image": tiny_sets.tensor(), "label": tiny_sets.classes()}
    for name in ("tiny_one", "tiny_two"):
        tiny_sets.prepare_tfds(folder, name, features)
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "nowhere': there is no such file or folder"),
        (
            lambda folder: folder,
            r"holds nothing; no data source reads it. Read are: ",
        ),
        (other_file, r"set.txt' is a file of another kind; no data source reads it"),
        (archive, r"set.tar.gz' is an archive, which is to be unpacked first"),
        (one_of_several, r"ubyte' is a file of a folder that can be given as a whole \(idx\)"),
        (two_kinds, "may be read as idx or as image_folder; name one with data.name"),
        (two_tfds_sets, "holds the TFDS data sets tiny_one, tiny_two; name one with data.name"),
    ],
)
def test_what_is_not_told_is_refused(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        load_data(DataConfig(path=str(make(tmp_path))))
