"""The file that says which test examples each network got right."""

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.train.tested import FILE, keep_tested, load_tested


def test_networks_are_kept_beside_each_other(tmp_path):
    assert load_tested(tmp_path) == {}
    for label, row in (("search-1", [1, 0, 1]), ("2ms-seed0", [0, 0, 1]), ("search-1", [1, 1, 1])):
        keep_tested(tmp_path, label, np.array(row, bool))
    keep_tested(tmp_path, "an error", None)
    found = load_tested(tmp_path)
    assert {label: row.tolist() for label, row in found.items()} == {
        "search-1": [True, True, True], "2ms-seed0": [False, False, True],
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "arrays", [{"a": np.ones(3)}, {"a": np.ones(3, bool), "b": np.ones(4, bool)}]
)
def test_what_are_no_right_answers_to_the_same_examples_is_damaged(tmp_path, arrays):
    np.savez(tmp_path / FILE, **arrays)
    with pytest.raises(UserError, match=r"tested\.npz: [ab] must be bool\[N\]"):
        load_tested(tmp_path)
