"""Every kind of `.npz` file with damaged arrays, headers, directories and bytes."""

import io
import warnings
import zipfile

import numpy as np
import pytest

from hwnas_jax.files.npy import declared_arrays, read_arrays
from hwnas_jax.files.npz import read_npz
from tests.fuzz.array_kinds import KINDS
from tests.fuzz.damage import damaged_npz, packed
from tests.fuzz.judge import judge


def _strict(content):
    """Returns what Python and NumPy read, once the checksum of every member was compared."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names) and all(name.endswith(".npy") for name in names)
        return {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in names
        }


def _right(content, good, good_result, sane, place):
    def right(found):
        try:
            given = _strict(content)
        except Exception as error:
            raise AssertionError(f"NumPy itself refuses it: {error}") from error
        sane(found, given)
        same = given.keys() == good.keys() and all(
            given[name].dtype == good[name].dtype and np.array_equal(given[name], good[name])
            for name in given
        )
        if same:
            np.testing.assert_equal(found, good_result, err_msg=place)

    return right


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_or_read_right(tmp_path, attack, name):
    kind = KINDS[name]
    good, path = kind.good(), tmp_path / kind.name
    good = {key: np.asarray(array) for key, array in good.items()}
    path.write_bytes(packed(good))
    good_result = kind.read(path)
    kind.sane(good_result, good)

    def check(content):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            judge(
                f"npz: {name}", lambda: kind.read(path),
                _right(content, good, good_result, kind.sane, name),
            )  # fmt: skip

    attack(damaged_npz(good), check)


_PLAIN = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "y"]), "c": np.array(True)}


def test_the_reader_of_all_of_them(tmp_path, attack):
    path = tmp_path / "a.npz"

    def check(content):
        path.write_bytes(content)

        def right(found):
            given = _strict(content)
            assert found.keys() == given.keys()
            for name, array in found.items():
                one, other = (a.astype(a.dtype.newbyteorder("=")) for a in (array, given[name]))
                np.testing.assert_array_equal(one, other, strict=True)

        judge("npz: any arrays", lambda: read_npz(path), right)
        judge("npz: any data", lambda: read_arrays(path, declared_arrays(path)), right)

    attack(damaged_npz(_PLAIN), check, examples=150)
