"""What a search left: files of another space, of impossible values, or damaged."""

import jax
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.runs.found import FILE, Found
from hwnas_jax.runs.start import FILE as START_FILE
from hwnas_jax.runs.start import Start
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.search.dense import SPACE

EVEN = (SPACE.mask / SPACE.mask.sum(-1, keepdims=True)).astype(np.float32)
WEIGHTS = np.asarray(make_supernet(SPACE).init(jax.random.key(0)))[None]
GRADIENT = {"probabilities": EVEN[None], "prior": EVEN, "weights": WEIGHTS}
STRATEGY = {
    "networks": np.zeros((1, 4, 3), np.int32), "scores": np.full((1, 4), -np.inf, np.float32),
    "excess": np.zeros((1, 4), np.float32), "fidelity": np.zeros((1, 4), np.int32),
}  # fmt: skip


@pytest.mark.parametrize("arrays", [GRADIENT, STRATEGY, GRADIENT | STRATEGY])
def test_what_was_saved_is_loaded(tmp_path, arrays):
    Found(**arrays).save(tmp_path)
    found = Found.load(tmp_path, SPACE, 1)._asdict()
    for name in Found._fields:
        np.testing.assert_array_equal(found[name], arrays.get(name))


def shifted(place, value):
    """Returns the even probabilities with another value at a place."""
    changed = EVEN[None].copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"probabilities": shifted((0, 0, 0), np.nan)}, r"probabilities at \[0, 0, 0\] is nan"),
        ({"probabilities": shifted((0, 1, 0), 3)}, r"\[0, 1, 0\] is 3.0, and must be from 0 to 1"),
        ({"probabilities": shifted((0, 1), 0)}, "probabilities of the . options of .* add up to"),
        ({"probabilities": EVEN}, r"must be float\[M, D, K\] with M = 1, D = 3, K = 3"),
        ({"probabilities": EVEN[None, :2]}, r"must be float\[M, D, K\] with M = 1, D = 3"),
        ({"probabilities": np.stack([EVEN, EVEN])}, r"with M = 1.* is float32\[2, 3, 3\]"),
        ({"probabilities": EVEN[None].astype(complex)}, "is complex128"),
        ({"probabilities": np.full((1, 3, 3), "x")}, r"must be float.* and is <U1\[1, 3, 3\]"),
        ({"prior": None}, "probabilities and prior belong together"),
        ({"weights": WEIGHTS[:, 1:]}, "weights are .* numbers for each search, and the supernet"),
        ({"weights": np.full_like(WEIGHTS, np.nan)}, r"weights at \[0, 0\] is nan"),
        ({"networks": np.full((1, 4, 3), 9)}, r"row \[0\]: option 9 of "),
        ({"networks": np.full((1, 4, 3), -1)}, r"networks at \[0, 0, 0\] is -1"),
        ({"scores": None}, "networks need scores and excess"),
        ({"excess": np.zeros((1, 3), np.float32)}, r"excess must be float\[M, N\] with M = 1, N ="),
        ({"probability": EVEN}, "unknown array 'probability'.*mean 'probabilities'"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, changes, said):
    arrays = {**GRADIENT, **STRATEGY, **changes}
    np.savez(tmp_path / FILE, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(UserError, match=rf"search\.npz cannot be used; .* again: .*{said}"):
        Found.load(tmp_path, SPACE, 1)


def test_a_start_is_loaded_or_refused(tmp_path):
    assert Start.load(tmp_path, SPACE, 1) is None
    start = Start(STRATEGY["networks"], WEIGHTS)
    start.save(tmp_path)
    found = Start.load(tmp_path, SPACE, 1)
    np.testing.assert_array_equal(found.networks, start.networks)
    np.testing.assert_array_equal(found.weights, WEIGHTS)
    for changes, said in (
        ({"networks": np.full((1, 4, 3), 9)}, "option 9"),
        ({"networks": np.zeros((2, 4, 3), int)}, "with M = 1"),
        ({"weights": WEIGHTS[:, 1:]}, "weights are"),
    ):
        np.savez(tmp_path / START_FILE, **{**start._asdict(), **changes})
        with pytest.raises(UserError, match=rf"start\.npz cannot be used: .*{said}"):
            Start.load(tmp_path, SPACE, 1)
    (tmp_path / START_FILE).write_bytes(b"PK")
    with pytest.raises(UserError, match=r"start\.npz cannot be used: it is damaged"):
        Start.load(tmp_path, SPACE, 1)
