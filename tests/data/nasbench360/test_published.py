"""The published files of NAS-Bench-360: read as written, and refused with what is wrong."""

import os
import pickle
import sys
import types

import numpy as np
import pytest

from hwnas_jax.data import SOURCES, DataConfig, load_data
from hwnas_jax.data.nasbench360.definitions import TASKS360
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.tasks import TASKS
from tests.data.nasbench360 import files
from tests.files.test_pickles import Runs


def read(task, folder, **options):
    return SOURCES.make(Part(f"nb360_{task}", {"path": str(folder), **options})).load()


def test_every_task_names_what_there_is():
    assert len(TASKS360) == 10
    for name, task in TASKS360.items():
        assert task.name == name
        assert task.task in TASKS
        assert task.source in SOURCES
        assert not task.made or task.made in SOURCES
        assert TASKS[task.task].dense == task.dense
        assert len(task.scores) >= 5
        assert all(count >= 100 for count in task.split)


@pytest.mark.parametrize(
    "task", ["cifar100", "spherical", "ninapro", "satellite", "deepsea", "cosmic"]
)
def test_files_are_read_as_they_were_written(tmp_path, task):
    held = files.WRITERS[task](tmp_path)
    data = load_data(DataConfig(name=f"nb360_{task}", path=str(tmp_path)))
    about = TASKS360[task]
    assert data.name == f"nb360_{task}"
    assert data.task == about.task
    shape = about.input_shape if len(about.input_shape) == 3 else (1, *about.input_shape)
    assert data.input_shape == shape
    assert data.num_outputs == (2 if task == "cosmic" else about.outputs)
    for part, (inputs, targets) in held.items():
        found = getattr(data, f"{part}_inputs")
        np.testing.assert_array_equal(found, inputs.astype(found.dtype))
        np.testing.assert_array_equal(getattr(data, f"{part}_targets"), targets)
    fewer = read(task, tmp_path, examples=4)
    np.testing.assert_array_equal(fewer.train_inputs, data.train_inputs[:4])
    np.testing.assert_array_equal(fewer.test_targets, data.test_targets[:4])


def test_names_of_things_come_from_their_file(tmp_path):
    files.cifar100(tmp_path)
    assert read("cifar100", tmp_path).output_names[3] == "thing 3"
    (tmp_path / "meta").unlink()
    assert read("cifar100", tmp_path).output_names[3] == "3"


def test_recordings_are_cut_into_windows_as_published(tmp_path):
    from sklearn.model_selection import train_test_split

    recordings, letters = files.ecg(tmp_path)
    data = read("ecg", tmp_path)
    assert data.input_shape == (1, 1000, 1)
    assert data.output_names == ("normal", "atrial fibrillation", "other", "noise")
    stride = {"N": 500, "A": 83, "O": 250, "~": 25}
    expected = {}
    train, rest = train_test_split(np.arange(20), test_size=0.2, random_state=0)
    validation, test = train_test_split(rest, test_size=0.5, random_state=0)
    for part, numbers in (("train", [*train, *validation]), ("test", test)):
        for number in numbers:
            steps = (recordings[number] - recordings[number].mean()) / recordings[number].std()
            for start in range(0, len(steps) - 1000, stride[letters[number]]):
                window = steps[start : start + 1000]
                expected.setdefault(part, []).append((window, "NAO~".index(letters[number])))
    for part, windows in expected.items():
        found, labels = (
            getattr(data, f"{part}_inputs")[:, 0, :, 0],
            getattr(data, f"{part}_targets"),
        )
        assert len(found) == len(windows)
        order = np.argsort([window[0] for window, _ in windows])
        np.testing.assert_allclose(
            found[np.argsort(found[:, 0])], [windows[i][0] for i in order], atol=1e-4
        )
        assert [windows[i][1] for i in order] == labels[np.argsort(found[:, 0])].tolist()


def test_grids_of_matlab_are_thinned(tmp_path):
    held = files.darcy(tmp_path)
    data = read("darcy", tmp_path)
    medium, pressure = held["train"]
    assert data.train_inputs.shape == (7, 9, 9, 3)
    for row, column in ((0, 0), (2, 7), (8, 3)):
        np.testing.assert_allclose(
            data.train_inputs[:, row, column, 0], medium[:, 5 * row, 5 * column]
        )
        np.testing.assert_allclose(
            data.train_targets[:, row, column, 0], pressure[:, 5 * row, 5 * column]
        )
        np.testing.assert_allclose(
            data.train_inputs[:, row, column, 1:], [[row / 8, column / 8]] * 7
        )
    assert read("darcy", tmp_path, coordinates=False, stride=10).input_shape == (5, 5, 1)
    assert len(read("darcy", tmp_path, examples=4).train_inputs) == 4


def test_files_of_matlab_7_3_need_a_package_and_have_their_axes_turned(tmp_path, monkeypatch):
    held = files.darcy(tmp_path)
    for path in tmp_path.glob("*.mat"):
        header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124, b" ") + b"\x00\x02IM"
        path.write_bytes(header + b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"MATLAB 7\.3, which takes the package h5py"):
        read("darcy", tmp_path)

    class File(dict):
        def __init__(self, path, mode):
            part = "train" if "smooth1" in str(path) else "test"
            super().__init__(coeff=held[part][0].transpose(), sol=held[part][1].transpose())

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=File))
    data = read("darcy", tmp_path)
    np.testing.assert_allclose(data.test_inputs[..., 0], held["test"][0][:, ::5, ::5])


def test_pairs_of_residues_have_features_and_distances(tmp_path):
    held = files.psicov(tmp_path)
    data = read("psicov", tmp_path, size=16)
    assert data.train_inputs.shape == (4, 16, 16, 57)
    features, distances = held["d3A-1"]  # 12 residues, so that all pairs are there
    found = data.train_inputs[3]
    assert not found[12:].any() and not found[:, 12:].any()
    assert (data.train_targets[3, 12:] == 16.0).all()
    for i, j in ((0, 11), (5, 2), (7, 7)):
        np.testing.assert_allclose(found[i, j, :2], features["ss"][0][[j, i]], rtol=1e-5)
        np.testing.assert_allclose(found[i, j, 6:8], features["pssm"][[j, i], 0], rtol=1e-5)
        np.testing.assert_allclose(found[i, j, 48:50], features["pssm"][[j, i], 21], rtol=1e-5)
        np.testing.assert_allclose(found[i, j, 50:52], features["sa"][[j, i]], rtol=1e-5)
        np.testing.assert_allclose(found[i, j, 54], features["ccmpred"][i, j], rtol=1e-5)
        np.testing.assert_allclose(found[i, j, 56], features["potential"][i, j], rtol=1e-5)
        if i != j:
            expected = np.clip(distances[i, j], 1, 16)
            assert data.train_targets[3, i, j, 0] == pytest.approx(expected, rel=1e-5)
    beside = np.clip((distances[7, 6] + distances[7, 8]) / 2, 1, 16)
    assert data.train_targets[3, 7, 7, 0] == pytest.approx(beside, rel=1e-5)
    other = read("psicov", tmp_path, size=16, seed=1)
    assert (other.train_inputs[2] != data.train_inputs[2]).any(), "another place of the square"
    np.testing.assert_array_equal(other.train_inputs[3], found)


@pytest.mark.parametrize("task", list(files.WRITERS))
def test_missing_files_are_named_with_where_they_are(tmp_path, task):
    with pytest.raises(UserError, match=r"needs data\.path: a folder with"):
        SOURCES.make(Part(f"nb360_{task}")).load()
    first = TASKS360[task].files[0]
    with pytest.raises(UserError, match=f"missing is {first}.* published at http"):
        read(task, tmp_path)
    files.WRITERS[task](tmp_path)
    assert SOURCES[f"nb360_{task}"].holds(tmp_path)
    (tmp_path / first).unlink()
    with pytest.raises(UserError, match=f"missing is {first}"):
        read(task, tmp_path)


@pytest.mark.parametrize(
    ("task", "name"),
    [("cifar100", "train"), ("spherical", "s2_cifar100.gz"), ("ninapro", "label_val.npy"),
     ("satellite", "satellite_test.npy"), ("ecg", "challenge2017.pkl"),
     ("cosmic", "test_dirs.npy"), ("psicov", "psicov/features/p1A-1.pkl")],
)  # fmt: skip
def test_nothing_in_a_pickle_runs(tmp_path, task, name):
    files.WRITERS[task](tmp_path)
    trick = Runs(os.system, f"touch {tmp_path}/ran")
    if name.endswith(".npy"):
        np.save(tmp_path / name, np.array(trick, object), allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(trick))
    with pytest.raises(UserError, match=rf"{name}.*posix\.system"):
        read(task, tmp_path)
    assert not (tmp_path / "ran").exists()


def _save(folder, name, value):
    np.save(folder / name, value, allow_pickle=True)


BROKEN = {
    "labels too large": ("ninapro", lambda f: _save(f, "label_val.npy", np.full(4, 18)),
                         r"label_val.npy must be whole numbers from 0 to 17; they run from 18"),
    "labels that are none": ("ninapro", lambda f: _save(f, "label_val.npy", np.full(4, np.nan)),
                             r"label_val.npy must be whole numbers from 0 to 17"),
    "labels too few": ("ninapro", lambda f: _save(f, "label_val.npy", np.zeros(3)),
                       "has 4 examples, .*label_val.npy 3"),
    "another size": ("ninapro", lambda f: _save(f, "ninapro_test.npy", np.zeros((5, 16, 52))),
                     r"must be numbers \[N, 52, 16\], got float64\[5, 16, 52\]"),
    "no dictionary": ("satellite", lambda f: _save(f, "satellite_test.npy", [1, 2]),
                      "must hold 'data'; it holds an array"),
    "class zero": ("satellite", lambda f: _save(
        f, "satellite_test.npy", {"data": np.zeros((2, 46)), "label": [0, 1]}), "from 1 to 24"),
    "no labels": ("deepsea", lambda f: np.savez(f / "deepsea_filtered.npz", x_train=np.zeros(3)),
                  "lacks y_train, x_val"),
    "no MATLAB": ("darcy", lambda f: (f / "piececonst_r421_N1024_smooth2.mat").write_bytes(b"x"),
                  "is damaged, or no file of MATLAB"),
    "unknown rhythm": ("ecg", lambda f: (f / "challenge2017.pkl").write_bytes(
        pickle.dumps({"data": [np.arange(2000.0)] * 12, "label": ["N"] * 11 + ["B"]})),
        "unknown label in .* 'B'"),
    "all the same": ("ecg", lambda f: (f / "challenge2017.pkl").write_bytes(
        pickle.dumps({"data": [np.ones(2000)] * 12, "label": ["N"] * 12})), "one value only"),
    "outside": ("cosmic", lambda f: _save(f, "test_dirs.npy", np.array(["../../../x.npy"])),
                "is neither below"),
    "damaged": ("spherical", lambda f: (f / "s2_cifar100.gz").write_bytes(b"\x1f\x8b"), "damaged"),
    "residues": ("psicov", lambda f: _save(
        f, "psicov/distance/p1A-1-cb.npy", np.array([3, "AAA", np.eye(3)], object)),
        "has 14 residues, but its distances are"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_a_file_is_said(tmp_path, case):
    task, spoil, said = BROKEN[case]
    files.WRITERS[task](tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=said):
        read(task, tmp_path)


def test_files_that_do_not_fit_are_refused_before_they_are_read(tmp_path):
    files.darcy(tmp_path)
    with pytest.raises(UserError, match="more than 1e-06 GiB, what memory_gib allows"):
        read("darcy", tmp_path, memory_gib=1e-6)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"a": 1}, "must be a list of files"), (["x" * 5000], "which is neither below"),
        (["a\0b"], "which is neither below"), (["./loop.npy"], "which is neither below"),
    ],
)  # fmt: skip
def test_lists_of_files_that_cannot_be(tmp_path, listed, said):
    files.cosmic(tmp_path)
    (tmp_path / "loop.npy").symlink_to(tmp_path / "loop.npy")
    held = listed if isinstance(listed, dict) else np.array(listed, object)
    np.save(tmp_path / "train_dirs.npy", held, allow_pickle=True)
    with pytest.raises(UserError, match=said) as told:
        read("cosmic", tmp_path)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize(("content", "said"), [(None, "nothing"), ([1], "a list"), ({}, "a table")])
def test_a_file_of_another_kind_is_named_in_words(tmp_path, content, said):
    files.cifar100(tmp_path)
    (tmp_path / "train").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=f"train must hold 'data'; it holds {said}"):
        read("cifar100", tmp_path)


def test_a_list_of_proteins_that_is_no_text_is_refused(tmp_path):
    files.psicov(tmp_path)
    (tmp_path / "psicov.lst").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"psicov.lst is no UTF-8 text"):
        read("psicov", tmp_path)


def test_numbers_too_large_for_float32_are_refused_without_a_warning(tmp_path, recwarn):
    files.satellite(tmp_path)
    content = {"data": np.full((3, 46), 1e300), "label": np.array([1, 2, 3])}
    np.save(tmp_path / "satellite_train.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match="train inputs must be finite"):
        read("satellite", tmp_path)
    assert not recwarn.list


@pytest.mark.parametrize(("held", "said"), [(None, "nothing"), (5, "a number"), ({}, "a table")])
def test_recordings_that_are_no_list_are_refused(tmp_path, held, said):
    (tmp_path / "challenge2017.pkl").write_bytes(pickle.dumps({"data": held, "label": ["N"] * 20}))
    with pytest.raises(UserError, match=f"'data' must be a list, got {said}"):
        read("ecg", tmp_path)
