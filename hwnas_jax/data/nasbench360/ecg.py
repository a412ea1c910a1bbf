"""The PhysioNet challenge of 2017 as NAS-Bench-360 publishes it: heart rhythms."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, member, opened
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.pickles import kind_of, load_pickle

_RHYTHMS = {"N": "normal", "A": "atrial fibrillation", "O": "other", "~": "noise"}
_WINDOW, _STRIDE = 1000, 500
_CLOSER = (1, 6, 2, 20)
"""How many times closer windows of each rhythm follow each other, which evens their numbers out."""


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Ecg(Published):
    """Windows of single-lead recordings `float32[N, 1000, 1]`, four rhythms.

    The file is a pickle of `data`, a list of recordings of any length, and `label`, a letter for
    each. As published, a recording is brought to mean zero and deviation one, a tenth of the
    recordings is for the test, and windows overlap. All windows of a recording are in one part.

    References: Clifford et al., "AF Classification from a Short Single Lead ECG Recording: the
    PhysioNet/Computing in Cardiology Challenge 2017".
    """

    name = "nb360_ecg"
    summary = "heart rhythms from challenge2017.pkl; needs data.path"
    task360 = "ecg"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        from sklearn.model_selection import train_test_split

        path = folder / self.about.files[0]
        self.check_fits(4 * path.stat().st_size, str(path))
        content = opened(load_pickle, path)
        recordings, letters = (_several(content, key, str(path)) for key in ("data", "label"))
        if len(recordings) != len(letters) or len(letters) < 10:
            raise UserError(
                f"{path} has {len(recordings)} recordings and {len(letters)} labels; as many as "
                "recordings are needed, and at least ten"
            )
        labels = [
            list(_RHYTHMS).index(choose(str(letter), _RHYTHMS, f"label in {path}"))
            for letter in letters
        ]
        learned, others = train_test_split(range(len(labels)), test_size=0.2, random_state=0)
        validated, tested = train_test_split(others, test_size=0.5, random_state=0)

        def part(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
            return self._windows(numbers, recordings, labels, str(path))

        return self.dataset(part([*learned, *validated]), part(tested), tuple(_RHYTHMS.values()))

    def _windows(
        self, numbers: Sequence[int], recordings: list, labels: list[int], path: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the windows of some recordings, one recording after the other, and rhythms."""
        found: list[np.ndarray] = []
        rhythms: list[int] = []
        for number in numbers:
            where = f"{path}: recording {number}"
            steps = checked(recordings[number], 1, where).astype(np.float32)
            if steps.std() == 0:
                raise UserError(f"{where} (counted from 0) holds one value only")
            steps = (steps - steps.mean()) / steps.std()
            stride = _STRIDE // _CLOSER[labels[number]]
            for start in range(0, len(steps) - _WINDOW, stride):
                found.append(steps[start : start + _WINDOW])
                rhythms.append(labels[number])
        if not found:
            raise UserError(f"{path}: no recording is longer than {_WINDOW} steps")
        order = np.random.default_rng(0).permutation(len(found))[: self.examples]
        windows = np.stack([found[index] for index in order])
        return windows[..., None], np.array(rhythms, np.int32)[order]


def _several(content: Any, key: str, where: str) -> list:
    """Returns the values that a file holds by a name; UserError when they are no list."""
    found = member(content, key, where)
    if not isinstance(found, list | tuple | np.ndarray) or (
        isinstance(found, np.ndarray) and found.ndim == 0
    ):
        raise UserError(f"{where}: {key!r} must be a list, got {kind_of(found)}")
    return list(found)
