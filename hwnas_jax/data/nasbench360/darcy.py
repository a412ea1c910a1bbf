"""Darcy flow as NAS-Bench-360 publishes it, in files of MATLAB."""

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy.io
from annotated_types import Ge, Le

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked
from hwnas_jax.errors import UserError

_COUNTS = (1000, 100)
_DOUBLE = 8


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Darcy(Published):
    """Permeabilities `float32[N, S, S, 3]` with pressures `float32[N, S, S, 1]`.

    Of the first file the first 1,000 examples are for training, of the second file 100 for the
    test. Inputs have the coordinates of each point as further channels, as published.

    References: Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations",
    ICLR 2021.
    """

    name = "nb360_darcy"
    summary = "Darcy flow from piececonst_r421_N1024_smooth1.mat and smooth2; needs data.path"
    task360 = "darcy"

    stride: Annotated[int, Ge(1), Le(60)] = 5
    """of the 421 points along a side, every how manyth is kept; 5 keeps 85"""
    coordinates: bool = True
    """whether inputs have the two coordinates of every point as further channels"""

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        files = (folder / name for name in self.about.files)
        train, test = (
            self._part(file, min(count, self.examples or count))
            for file, count in zip(files, _COUNTS, strict=True)
        )
        return self.dataset(train, test, ("pressure",))

    def _part(self, path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
        medium, pressure = (self._field(path, name, count) for name in ("coeff", "sol"))
        if medium.shape != pressure.shape:
            raise UserError(f"{path}: coeff is {medium.shape}, sol is {pressure.shape}")
        inputs = medium[..., None]
        if self.coordinates:
            line = np.linspace(0, 1, medium.shape[1], dtype=np.float32)
            places = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
            shape = (len(inputs), *places.shape)
            inputs = np.concatenate([inputs, np.broadcast_to(places, shape)], axis=-1)
        return inputs, pressure[..., None]

    def _field(self, path: Path, name: str, count: int) -> np.ndarray:
        """Returns `float32[count, S, S]` of an array `[N, side, side]` of the file."""
        with _named_errors(path):
            try:
                shapes = {key: shape for key, shape, _ in scipy.io.whosmat(path)}
            except NotImplementedError:  # a file of MATLAB 7.3 is one of HDF5
                return self._thinned(_read_hdf5(path, name, count), f"{path}: {name}", count)
        if name not in shapes:
            raise UserError(f"{path} must hold {name!r}; it holds {', '.join(shapes) or 'nothing'}")
        self.check_fits(_DOUBLE * int(np.prod(shapes[name])), f"{path}: {name}")
        with _named_errors(path):
            whole = scipy.io.loadmat(path, variable_names=[name])[name]
        return self._thinned(whole, f"{path}: {name}", count)

    def _thinned(self, whole: Any, where: str, count: int) -> np.ndarray:
        grid = checked(whole, 3, where)
        kept = grid[:count, :: self.stride, :: self.stride]
        return np.ascontiguousarray(kept, np.float32)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # SciPy, zlib and HDF5 raise a dozen kinds for damaged files
        raise UserError(f"{path} is damaged, or no file of MATLAB: {error}") from error


def _read_hdf5(path: Path, name: str, count: int) -> np.ndarray:
    """Reads some examples; HDF5 has the axes in the opposite order."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise UserError(
            f"{path} was saved by MATLAB 7.3, which takes the package h5py to read: pip install "
            "h5py, or save it with -v7"
        ) from error
    with h5py.File(path, "r") as file:
        if name not in file:
            raise UserError(f"{path} must hold {name!r}; it holds {', '.join(file)}")
        return np.asarray(file[name][..., :count]).transpose()
