"""Distances in proteins as NAS-Bench-360 publishes them: DeepCov to learn from, PSICOV to test."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, member, opened
from hwnas_jax.errors import UserError
from hwnas_jax.files.pickles import load_npy, load_pickle

_CHANNELS = 57
_FLOAT = 4


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Psicov(Published):
    """Features of pairs of residues `float32[N, size, size, 57]`, and their distance in angstrom.

    Each protein of a list has a pickle of features, and a file of distances. One square of pairs is
    taken of every protein: at a random place, or all pairs of a short one, behind which features
    are zero. Distances are at most `farthest`, which is also that of no pair.

    References: Adhikari, "A Fully Open-Source Framework for Deep Learning Protein Real-Valued
    Distances", Scientific Reports 2020.
    """

    name = "nb360_psicov"
    summary = "distances in proteins from the folders deepcov and psicov; needs data.path"
    task360 = "psicov"

    size: Annotated[int, Ge(16), Le(512)] = 128
    """residues along a side of the square"""
    farthest: Annotated[float, Gt(0)] = 16.0
    """distance in angstrom above which all are alike"""
    seed: Annotated[int, Ge(0)] = 0
    """of the places of the squares"""

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        rng = np.random.default_rng(self.seed)
        train, test = (self._part(folder, part, rng) for part in ("deepcov", "psicov"))
        return self.dataset(train, test, ("distance",))

    def _part(
        self, folder: Path, part: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            lines = (folder / f"{part}.lst").read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{folder / part}.lst is no UTF-8 text: {error}") from error
        proteins = [line.split()[0] for line in lines if line.strip()][: self.examples]
        square = (len(proteins), self.size, self.size)
        self.check_fits(_FLOAT * (_CHANNELS + 1) * int(np.prod(square)), f"{folder / part}")
        inputs = np.zeros((*square, _CHANNELS), np.float32)
        targets = np.full((*square, 1), self.farthest, np.float32)
        for number, protein in enumerate(proteins):
            if not protein.replace("-", "").replace("_", "").isalnum():
                raise UserError(f"{folder / part}.lst: {protein!r} is no name of a protein")
            features = _features(folder / part / "features" / f"{protein}.pkl")
            distances = _distances(folder / part / "distance" / f"{protein}-cb.npy")
            length = len(features)
            if distances.shape != (length, length):
                raise UserError(
                    f"{folder / part}: {protein} has {length} residues, but its distances are "
                    f"{list(distances.shape)}"
                )
            kept = min(length, self.size)
            row, column = rng.integers(0, length - kept + 1, 2)
            rows, columns = slice(row, row + kept), slice(column, column + kept)
            inputs[number, :kept, :kept] = features[rows, columns]
            targets[number, :kept, :kept, 0] = distances[rows, columns].clip(1.0, self.farthest)
        return inputs, targets


def _features(path: Path) -> np.ndarray:
    """Returns the features of all pairs, `float32[length, length, 57]`."""
    content = opened(load_pickle, path)
    length = len(str(member(content, "seq", str(path))))

    def held(key: str, axes: int, *sizes: int) -> np.ndarray:
        value: Any = member(content, key, str(path))
        return checked(value, axes, f"{path}: {key}", sizes).astype(np.float32)

    of_one = [
        *held("ss", 2, 3, length),
        *held("pssm", 2, length, 22).T,
        held("sa", 1, length),
        held("entropy", 1, length),
    ]
    pairs = [held(key, 2, length, length) for key in ("ccmpred", "freecon", "potential")]
    square = (length, length)
    layers = []
    for values in of_one:
        layers += [np.broadcast_to(values, square), np.broadcast_to(values[:, None], square)]
    return np.stack([*layers, *pairs], axis=-1)


def _distances(path: Path) -> np.ndarray:
    """Returns the distances, `float32[length, length]`; those to itself are as to neighbours."""
    content = opened(load_npy, path)
    if not isinstance(content, list) or len(content) != 3:
        raise UserError(f"{path} must hold three values: length, sequence and distances")
    distances = checked(content[2], 2, str(path)).astype(np.float32)
    if len(distances) < 2 or distances.shape[0] != distances.shape[1]:
        raise UserError(f"{path}: distances must be a square, got {list(distances.shape)}")
    beside = np.diagonal(distances, 1)
    around = np.stack([np.append(beside, beside[-1]), np.append(beside[0], beside)])
    np.fill_diagonal(distances, around.mean(0))
    return distances
