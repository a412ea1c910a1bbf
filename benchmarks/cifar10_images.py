"""A data source of one's own: CIFAR-10 from a file of JPEG images, made smaller.

    hwnas search --data.name benchmarks/cifar10_images.py:Cifar10Images --data.path FILE

FILE is an `.npz` of `train_jpeg`, `test_jpeg` (`uint8`, all files one after another), `train_len`,
`test_len` (bytes of each) and `train_label`, `test_label`. The images are means over squares of
pixels, so that a search takes minutes on a CPU; the JPEG compression changes them a little, and
accuracies are to be compared with each other only.
"""

import dataclasses
import io
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval
from PIL import Image

from hwnas_jax.data.base import Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.errors import UserError

_SIDE = 32


@dataclasses.dataclass(frozen=True)
class Cifar10Images(Source):
    """Images `uint8[N, size, size, 3]` of ten classes: 50,000 to train on, 10,000 to test."""

    name = "cifar10_images"
    summary = "CIFAR-10 from a file of JPEG images, made smaller"

    path: str = "cifar10_jpeg.npz"
    """the file"""
    size: Annotated[int, Interval(ge=4, le=32)] = 16
    """height and width in pixels, a divisor of 32"""

    def load(self) -> Dataset:
        """Returns the data set; the training images are put into a random order."""
        if _SIDE % self.size:
            raise UserError(f"size = {self.size} does not divide {_SIDE}")
        with np.load(Path(self.path), allow_pickle=False) as file:
            parts = {part: self._images(file, part) for part in ("train", "test")}
            labels = {part: file[f"{part}_label"].astype(np.int32) for part in parts}
        order = np.random.default_rng(0).permutation(len(labels["train"]))
        names = tuple(str(number) for number in range(10))
        return Dataset(
            self.name, parts["train"][order], labels["train"][order], parts["test"],
            labels["test"], names,
        )  # fmt: skip

    def _images(self, file, part: str) -> np.ndarray:
        packed, ends = file[f"{part}_jpeg"], np.cumsum(file[f"{part}_len"].astype(np.int64))
        times = _SIDE // self.size
        images = np.empty((len(ends), self.size, self.size, 3), np.uint8)
        for number, (end, length) in enumerate(zip(ends, file[f"{part}_len"], strict=True)):
            raw = packed[end - int(length) : end].tobytes()
            pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), np.float32)
            squares = pixels.reshape(self.size, times, self.size, times, 3)
            images[number] = np.round(squares.mean((1, 3)))
        return images
