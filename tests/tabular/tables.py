"""Benchmarks in the published formats, with made-up numbers."""

import numpy as np

from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.nasbench201 import OPERATIONS

CELLS = published.nasbench201()
BLOCKS = np.array(["MB6_K5", "Identity", "MB3_K3"])


def cell_arrays(count=None, **changes):
    """All cells, or `count` of them, in an order and with operation names of the file's own."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(CELLS.enumerate())[:count]
    arrays = {"ops": (4 - rows).astype(np.uint8), "op_names": np.array(OPERATIONS)[::-1]}
    for name in (
        "cifar10valid_valid_12", "cifar10valid_valid_200", "cifar10valid_test_200",
        "cifar10_test_12", "cifar10_test_200", "cifar10_test_200_v11", "cifar100_test_200",
        "mine_valid_3", "mine_test_3",
    ):  # fmt: skip
        arrays[name] = rng.uniform(1, 100, len(rows)).astype(np.float32)
    return {key: array for key, array in (arrays | changes).items() if array is not None}


def written(path, arrays):
    """Writes arrays and returns the path."""
    np.savez(path, **arrays)
    return path


def small_table(path, count=None, **changes):
    """Writes such a file and returns its path."""
    np.savez_compressed(path, **cell_arrays(count, **changes))
    return path


def macro_table(path, **changes):
    """Writes a NAS-Bench-Macro of made-up numbers and returns its path."""
    rng = np.random.default_rng(1)
    ops = np.stack(np.meshgrid(*[np.arange(3)] * 8, indexing="ij"), axis=-1).reshape(-1, 8)
    arrays = {
        "ops": rng.permutation(ops).astype(np.uint8), "op_names": BLOCKS,
        "test_acc": rng.uniform(20, 95, (len(ops), 3)).astype(np.float32),
    }  # fmt: skip
    np.savez(path, **arrays | changes)
    return path
