"""Satellite image time series as NAS-Bench-360 publishes them."""

import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, member, opened
from hwnas_jax.files.pickles import load_npy


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Satellite(Published):
    """A year of one place `float32[N, 46, 1]` in 24 classes of land cover.

    Each file holds a dictionary of `data` `[N, 46]` and `label`, whose classes are counted from
    one.

    References: Petitjean et al., "Satellite Image Time Series Analysis under Time Warping", IEEE
    Transactions on Geoscience and Remote Sensing 2012.
    """

    name = "nb360_satellite"
    summary = "satellite image time series from satellite_train.npy and _test; needs data.path"
    task360 = "satellite"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        train, test = (self._part(folder / name) for name in self.about.files)
        return self.dataset(train, test, tuple(f"cover {number}" for number in range(1, 25)))

    def _part(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        self.check_fits(2 * path.stat().st_size, str(path))
        content = opened(load_npy, path)
        years = checked(member(content, "data", str(path)), 2, f"{path}: data", (46,))
        labels = self.classes(member(content, "label", str(path)), 24, f"{path}: label", first=1)
        kept = slice(self.examples)
        return np.ascontiguousarray(years[kept], np.float32)[..., None], labels[kept]
