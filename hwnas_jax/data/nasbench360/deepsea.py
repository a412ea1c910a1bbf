"""DeepSEA as NAS-Bench-360 publishes it: what binds to a piece of DNA."""

import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked
from hwnas_jax.errors import UserError
from hwnas_jax.files.npy import declared_arrays, read_arrays

_FLOAT = 4


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Deepsea(Published):
    """Pieces of DNA `float32[N, 1000, 4]`, one of four bases at each place, with 36 labels.

    The file holds `x_train`, `y_train`, and the same with `val` and `test`.

    References: Zhou and Troyanskaya, "Predicting Effects of Noncoding Variants with Deep
    Learning-Based Sequence Model", Nature Methods 2015.
    """

    name = "nb360_deepsea"
    summary = "DeepSEA from deepsea_filtered.npz; 36 labels of a piece of DNA; needs data.path"
    task360 = "deepsea"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        path = folder / self.about.files[0]
        names = [f"{kind}_{part}" for part in ("train", "val", "test") for kind in "xy"]
        declared = declared_arrays(path)
        lacking = [name for name in names if name not in declared]
        if lacking:
            raise UserError(
                f"{path} must hold {', '.join(names)}; it lacks {', '.join(lacking)} and holds "
                f"{', '.join(declared)}"
            )
        values = sum(int(np.prod(declared[name].shape)) for name in names)
        self.check_fits(_FLOAT * values, str(path))
        kept = slice(self.examples)
        parts = {}
        for part in ("train", "val", "test"):
            arrays = read_arrays(path, [f"x_{part}", f"y_{part}"])
            pieces = checked(arrays[f"x_{part}"], 3, f"{path}: x_{part}", (1000, 4))
            labels = checked(arrays[f"y_{part}"], 2, f"{path}: y_{part}", (36,))
            if not np.isin(labels, (0, 1)).all():
                raise UserError(f"{path}: y_{part} must be zeros and ones")
            parts[part] = pieces[kept].astype(np.float32), labels[kept].astype(bool)
        joined = zip(parts["train"], parts["val"], strict=True)
        pieces, labels = (np.concatenate(pair)[kept] for pair in joined)
        names = [f"label {number}" for number in range(36)]
        return self.dataset((pieces, labels), parts["test"], tuple(names))
