"""What every data source returns: labelled images in memory, checked once.

Legend: `N` images, `H, W, C` image height, width, channels.
"""

import dataclasses
import functools

import numpy as np

from hwnas_jax.errors import UserError

_CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test set of labelled images.

    Attributes:
      name: as in `DataConfig.name`.
      train_inputs: `uint8[N, H, W, C]`.
      train_targets: `int32[N]`, indices into `class_names`.
      test_inputs: `uint8[N', H, W, C]`.
      test_targets: `int32[N']`.
      class_names: one name for each class.

    Raises:
      UserError: when shapes or types do not fit together, a part is empty or a label is no class.
    """

    name: str
    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self):
        for part in ("train", "test"):
            self._check(part, getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets"))
        if self.train_inputs.shape[1:] != self.test_inputs.shape[1:]:
            raise UserError(
                f"data set {self.name}: train images are {self.train_inputs.shape[1:]}, "
                f"test images {self.test_inputs.shape[1:]}"
            )

    def _check(self, part: str, images: np.ndarray, labels: np.ndarray) -> None:
        where = f"data set {self.name}: {part}"
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(
                f"{where} images must be uint8[N, H, W, C], got {images.dtype}{list(images.shape)}"
            )
        if labels.dtype != np.int32 or labels.ndim != 1:
            raise UserError(
                f"{where} labels must be int32[N], got {labels.dtype}{list(labels.shape)}"
            )
        if len(images) != len(labels):
            raise UserError(f"{where} has {len(images)} images but {len(labels)} labels")
        if images.size == 0:
            raise UserError(f"{where} images are empty: uint8{list(images.shape)}")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_outputs:
            raise UserError(
                f"{where} labels must lie in 0..{self.num_outputs - 1}, one for each of the "
                f"{self.num_outputs} class names; they run from {low} to {high}"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return self.train_inputs.shape[1:]

    @property
    def num_outputs(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def mean(self) -> np.ndarray:
        """`float32[C]`, mean of the train images scaled to 0..1."""
        return self._moments[0]

    @property
    def std(self) -> np.ndarray:
        """`float32[C]`, their standard deviation; one for a channel that never changes."""
        return self._moments[1]

    @functools.cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        # Pixels have 256 values: moments from their counts are exact and need no float copy.
        channels = self.input_shape[-1]
        counts = np.zeros((channels, 256), np.int64)
        for start in range(0, len(self.train_inputs), _CHUNK):
            chunk = self.train_inputs[start : start + _CHUNK]
            for channel in range(channels):
                counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
        values = np.arange(256) / 255.0
        total = counts.sum(axis=1)
        mean = counts @ values / total
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
        constant = (counts > 0).sum(axis=1) == 1
        std = np.where(constant, 1.0, np.sqrt(variance))
        return mean.astype(np.float32), std.astype(np.float32)
