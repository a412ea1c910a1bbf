"""Reads a folder of the four idx files that MNIST and similar sets are published in.

Legend: `N` images, `H, W, C` image height, width, channels.

Format: http://yann.lecun.com/exdb/mnist: two zero bytes, a type code (8 is uint8), the number
of dimensions, each dimension as a big-endian uint32, then the values.
"""

import dataclasses
import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.errors import UserError

_UINT8 = 8


def read_idx(path: Path) -> np.ndarray:
    """Returns the `uint8` array of one idx file, gzipped when its name ends in `.gz`.

    Raises:
      UserError: names the file and what is wrong with it.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if len(content) < 4:
        raise UserError(f"{path} is truncated: {len(content)} bytes, no idx header")
    rank = content[3]
    if content[:2] != b"\0\0" or content[2] != _UINT8 or not 1 <= rank <= 4:
        raise UserError(
            f"{path} is no idx file of uint8: it starts with {content[:4].hex(' ')}, expected "
            "00 00 08 and the number of dimensions (1 to 4)"
        )
    header = 4 + 4 * rank
    if len(content) < header:
        raise UserError(f"{path} is truncated: {len(content)} bytes, its header needs {header}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, offset=4))
    expected = header + math.prod(shape)
    if len(content) != expected:
        fault = "is truncated" if len(content) < expected else "is too long"
        raise UserError(
            f"{path} {fault}: {len(content)} bytes, its header {shape} stands for {expected}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Idx(Source):
    """The files `train-images`, `train-labels`, `t10k-images` and `t10k-labels` of a folder.

    Each is an idx file with the customary ending (`-idx3-ubyte`, `.idx3-ubyte`), gzipped or not;
    colour images have four dimensions, `[N, H, W, C]` (`-idx4-ubyte`). Classes are numbered from
    zero to the largest label.
    """

    name = "idx"
    summary = "a folder of MNIST-style idx files, gzipped or not; needs data.path"

    path: str | None = None
    """the folder"""

    def load(self) -> Dataset:
        """Returns the images and labels.

        Raises:
          UserError: names the file and what is wrong with it.
        """
        if self.path is None:
            raise UserError("data.name = 'idx' needs data.path, the folder of the idx files")
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise UserError(f"no folder {folder} to read idx files from")
        train_inputs, train_targets = _pair(folder, "train")
        test_inputs, test_targets = _pair(folder, "t10k")
        classes = 1 + int(max(train_targets.max(initial=0), test_targets.max(initial=0)))
        return Dataset(
            name=self.name,
            train_inputs=train_inputs,
            train_targets=train_targets,
            test_inputs=test_inputs,
            test_targets=test_targets,
            output_names=tuple(map(str, range(classes))),
        )


def _pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    image_path = _find(folder, f"{part}-images", (3, 4))
    label_path = _find(folder, f"{part}-labels", (1,))
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim not in (3, 4):
        raise UserError(f"{image_path} must have dimensions N, H, W or N, H, W, C: {images.shape}")
    if labels.ndim != 1:
        raise UserError(f"{label_path} must have one dimension, N: {labels.shape}")
    if len(images) != len(labels):
        raise UserError(
            f"{image_path} has {len(images)} images but {label_path} has {len(labels)} labels"
        )
    if images.ndim == 3:
        images = images[..., None]
    return images, labels.astype(np.int32)


def _find(folder: Path, stem: str, ranks: tuple[int, ...]) -> Path:
    for rank in ranks:
        for mark in "-.":
            for ending in ("", ".gz"):
                path = folder / f"{stem}{mark}idx{rank}-ubyte{ending}"
                if path.is_file():
                    return path
    held = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(held[:12]) + (f" and {len(held) - 12} more" if len(held) > 12 else "")
    raise UserError(
        f"no {stem}-idx{ranks[0]}-ubyte or {stem}-idx{ranks[0]}-ubyte.gz in {folder}; "
        f"it holds {shown or 'nothing'}"
    )
