"""The published files of NAS-Bench-360 with damaged values and bytes."""

import copy
import gzip
import io
import pickle
import warnings

import hypothesis
import numpy as np
import pytest
import scipy.io
from hypothesis import strategies as st

from hwnas_jax.data import DataConfig, load_data
from tests.data.nasbench360 import files
from tests.fuzz.array_kinds import whole_dataset
from tests.fuzz.damage import changed, damaged_bytes, damaged_header, damaged_npz, odd_array
from tests.fuzz.judge import judge
from tests.fuzz.test_own_data import changes_of, copied_folder, make_changes

PARTS = {
    "cifar100": ("train", "test"), "ninapro": ("train|val", "test"), "satellite": ("train", "test"),
    "cosmic": ("train", "test"), "darcy": ("smooth1", "smooth2"),
}  # fmt: skip
"""Words in the names of the files that only the train part is read from, and only the test part."""


@st.composite
def damaged_values(draw, value):
    """Changes one of the values or arrays that a file held."""
    found = copy.deepcopy(value)
    if isinstance(found, dict | list) and len(found):
        key = draw(st.sampled_from(sorted(found) if isinstance(found, dict) else range(len(found))))
        inner = found[key]
        if isinstance(inner, np.ndarray) and inner.dtype.kind != "O" and draw(st.booleans()):
            found[key] = odd_array(draw, inner)
            return found
        if isinstance(inner, dict) and draw(st.booleans()):
            found[key] = draw(damaged_values(inner))
            return found
    return odd_array(draw, found) if isinstance(found, np.ndarray) else changed(draw, found)


def _saved(value):
    out = io.BytesIO()
    if isinstance(value, list):
        held = np.empty(len(value), object)
        held[:] = value
        value = held
    np.save(out, value, allow_pickle=True)
    return out.getvalue()


def _matlab(arrays):
    out = io.BytesIO()
    try:
        scipy.io.savemat(out, arrays)
    except (ValueError, TypeError):  # lists of lists of different lengths cannot be written
        hypothesis.reject()
    return out.getvalue()


def _plain(array):
    """Returns what an array of Python objects stands for, as a list or its only value."""
    return array.tolist() if array.dtype.kind == "O" else array


@st.composite
def damaged(draw, content):
    """Damages a file by what it begins with: its values, or the bytes around them."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged_bytes(content))
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(draw(damaged(gzip.decompress(content))), 1)
    if content[:6] == b"\x93NUMPY":
        value = _plain(np.load(io.BytesIO(content), allow_pickle=True))
        if isinstance(value, np.ndarray) and draw(st.booleans()):
            return draw(damaged_header(content))
        return _saved(draw(damaged_values(value)))
    if content[:2] == b"PK":
        return draw(damaged_npz(dict(np.load(io.BytesIO(content)))))
    if content[:6] == b"MATLAB":
        arrays = {k: v for k, v in scipy.io.loadmat(io.BytesIO(content)).items() if k[0] != "_"}
        name = draw(st.sampled_from(("coeff", "sol")))
        odd = odd_array(draw, arrays[name])
        return _matlab({**arrays, name: odd} if odd.dtype.kind not in "MmV" else {"sol": odd})
    if content[:1] == b"\x80":
        value = pickle.loads(content)
        if isinstance(value.get("data"), np.ndarray) and value["data"].dtype.kind == "O":
            value = {name: array.tolist() for name, array in value.items()}
        return pickle.dumps(draw(damaged_values(value)), draw(st.sampled_from((2, 4, 5))))
    return draw(damaged_bytes(content))


def read(task, folder):
    data = load_data(DataConfig(name=f"nb360_{task}", path=str(folder), args={"examples": 10}))
    return {
        name: getattr(data, name)
        for name in ("name", "task", "output_names", "train_inputs", "train_targets",
                     "test_inputs", "test_targets", "notes")
    }  # fmt: skip


@pytest.mark.parametrize("task", files.WRITERS)
def test_a_damaged_file_is_refused_or_read_right(tmp_path, attack, task):
    good, fresh = copied_folder(tmp_path, files.WRITERS[task])
    expected = read(task, good)
    whole_dataset(expected)

    def check(changes):
        folder = fresh()
        make_changes(folder, changes)

        def right(found):
            whole_dataset(found)
            for part, words in zip(("train", "test"), PARTS.get(task, ()), strict=False):
                touched = any(word in name for name, *_ in changes for word in words.split("|"))
                if not touched and "meta" not in {name for name, *_ in changes}:
                    for kind in ("inputs", "targets"):
                        name = f"{part}_{kind}"
                        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)

        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            judge(f"data: nb360_{task}", lambda: read(task, folder), right)

    attack(changes_of(good, damaged), check, examples=15)
