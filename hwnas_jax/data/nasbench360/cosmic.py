"""Cosmic rays in images of the Hubble telescope, as NAS-Bench-360 publishes them."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, opened
from hwnas_jax.errors import UserError, shown
from hwnas_jax.files.npy import read_array
from hwnas_jax.files.pickles import load_npy

_CROP = slice(64, 192)
_BYTES = 128 * 128 * 8


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Cosmic(Published):
    """Images `float32[N, 128, 128, 1]`, and for each pixel whether a cosmic ray has hit it.

    The files `train_dirs.npy` and `test_dirs.npy` list further files, by their paths from this
    folder or from the one above it. Each holds `[2 or 3, 256, 256]`: an image, the hit pixels, and
    pixels that do not count, which get the target -1. As published, the middle of each is taken.

    References: Zhang and Bloom, "deepCR: Cosmic Ray Rejection with Deep Learning", The
    Astrophysical Journal 2020.
    """

    name = "nb360_cosmic"
    summary = "cosmic rays in Hubble images from train_dirs.npy and test_dirs.npy; needs data.path"
    task360 = "cosmic"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        train, test = (self._part(folder, name) for name in self.about.files)
        return self.dataset(train, test, ("sky", "cosmic ray"))

    def _part(self, folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
        given = opened(load_npy, folder / name)
        if not isinstance(given, list | np.ndarray) or np.ndim(given) != 1:
            raise UserError(f"{folder / name} must be a list of files")
        listed = [str(path) for path in given][: self.examples]
        self.check_fits(_BYTES * len(listed), f"what {folder / name} lists")
        images = np.empty((len(listed), 128, 128, 1), np.float32)
        targets = np.empty((len(listed), 128, 128), np.int32)
        for number, path in enumerate(listed):
            file = _found(folder, path, name)
            layers = checked(read_array(file), 3, str(file))
            if len(layers) not in (2, 3) or min(layers.shape[1:]) < _CROP.stop:
                raise UserError(
                    f"{file} must hold [2 or 3, 192 or more, 192 or more], got {list(layers.shape)}"
                )
            image, hit, *ignored = layers[:, _CROP, _CROP]
            images[number, ..., 0] = image
            targets[number] = hit > 0.5
            if ignored:
                targets[number][ignored[0] > 0.5] = -1
        return images, targets


def _found(folder: Path, path: str, name: str) -> Path:
    """Returns a file of the list; it must lie below the folder, or below the one above."""
    above = folder.resolve().parent
    # A name may be too long or hold a zero byte, and links may go round in a circle.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        for start in (folder.resolve(), above):
            file = (start / path).resolve()
            if file.is_file() and file.is_relative_to(above):
                return file
    raise UserError(
        f"{folder / name} lists {shown(path)}, which is neither below {folder} nor {above}"
    )
