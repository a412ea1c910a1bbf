"""NinaPro DB5 as NAS-Bench-360 publishes it: gestures from the electrodes on an arm."""

import dataclasses
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.nasbench360.published import Published, checked, opened
from hwnas_jax.errors import UserError
from hwnas_jax.files.pickles import load_npy


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Nb360Ninapro(Published):
    """Electrodes by time `float32[N, 16, 52, 1]`, 18 gestures.

    The files hold `[N, 52, 16]` for each part, and the numbers of the gestures.

    References: Pizzolato et al., "Comparison of Six Electromyography Acquisition Setups on Hand
    Movement Classification Tasks", PLOS ONE 2017.
    """

    name = "nb360_ninapro"
    summary = "NinaPro DB5 gestures from ninapro_train.npy and five others; needs data.path"
    task360 = "ninapro"

    def read_folder(self, folder: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        parts = {part: self._part(folder, part) for part in ("train", "val", "test")}
        joined = zip(parts["train"], parts["val"], strict=True)
        inputs, labels = (np.concatenate(pair) for pair in joined)
        train = inputs[: self.examples], labels[: self.examples]
        inputs, labels = parts["test"]
        test = inputs[: self.examples], labels[: self.examples]
        return self.dataset(train, test, tuple(f"gesture {number}" for number in range(18)))

    def _part(self, folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
        path, of_labels = folder / f"ninapro_{part}.npy", folder / f"label_{part}.npy"
        steps = checked(opened(load_npy, path), 3, str(path), (52, 16))
        labels = self.classes(opened(load_npy, of_labels), 18, str(of_labels))
        if len(steps) != len(labels):
            raise UserError(f"{path} has {len(steps)} examples, {of_labels} {len(labels)}")
        turned = np.ascontiguousarray(steps.transpose(0, 2, 1), np.float32)
        return turned[..., None], labels
