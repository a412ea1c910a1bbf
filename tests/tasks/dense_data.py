"""Small made data sets with a target for every position, one for each kind of dense task.

Classes and values are functions of the input at the same position.

Legend: `N` examples, `H, W` positions.
"""

import numpy as np

from hwnas_jax.data import Dataset

POSITIONS = (6, 5)
SMALL = (24, 12)
"""How many examples there are to train and to test."""


def field(examples: int, channels: int, seed: int) -> np.ndarray:
    """Returns smooth values around zero that differ from example to example, `[N, H, W, C]`."""
    down, right = (np.arange(size) / size for size in POSITIONS)
    waves = [np.outer(np.cos(np.pi * i * down), np.cos(np.pi * j * right)) for i, j in _WAVES]
    strength = np.random.default_rng(seed).standard_normal((examples, channels, len(_WAVES)))
    return np.einsum("nck,khw->nhwc", strength, waves).astype(np.float32)


_WAVES = ((0, 0), (1, 0), (0, 1), (1, 1))


def dataset(task: str, targets, names: tuple[str, ...]) -> Dataset:
    """Returns the data set of a task whose targets are made of the number of an example and seed.

    Args:
      task: its name.
      targets: from how many and a seed to targets `[N, H, W, ...]`.
      names: of the outputs.
    """
    parts = {}
    for seed, (part, count) in enumerate(zip(("train", "test"), SMALL, strict=True)):
        parts[f"{part}_inputs"] = field(count, 1, seed)
        parts[f"{part}_targets"] = targets(count, seed)
    return Dataset(name=f"made for {task}", **parts, output_names=names, task=task)


def _classes(count: int, seed: int) -> np.ndarray:
    value = field(count, 1, seed)[..., 0]
    classes = np.digitize(value, [-0.2, 0.8]).astype(np.int32)
    return np.where(np.abs(value) < 0.02, -1, classes).astype(np.int32)


def _values(count: int, seed: int) -> np.ndarray:
    value = field(count, 1, seed)
    return np.concatenate([3 * value + 5, 0.1 * value**2], axis=-1)


def _images(count: int, seed: int) -> np.ndarray:
    return 1 / (1 + np.exp(-field(count, 2, seed)))


def _normals(count: int, seed: int) -> np.ndarray:
    vectors = field(count, 3, seed) + np.float32([0.0, 0.0, 2.0])
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[:, 0, 0] = 0  # no surface
    return vectors


DENSE = {
    "segmentation": dataset("segmentation", _classes, ("low", "middle", "high")),
    "dense_regression": dataset("dense_regression", _values, ("pressure", "flow")),
    "autoencoding": dataset("autoencoding", _images, ("one", "two")),
    "surface_normals": dataset("surface_normals", _normals, ("x", "y", "z")),
}
