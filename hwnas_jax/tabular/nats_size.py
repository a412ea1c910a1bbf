"""NATS-Bench's size space: every choice of channels for five layers, trained on CIFAR-10.

The file is a `.npz` of plain arrays, `N` networks:

    widths      uint8[N, 5], channels of each layer: 8, 16, 24, ..., 64
    test_acc    float[N], percent

It has no accuracy on validation images. Different widths are different networks, so every
architecture is its own canonical form. The package builds no space of these decisions: that of
`channels` has other widths in each stage. A space of your own with these decisions can be searched.

References: Dong et al., "NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and
Size", TPAMI 2021.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_names
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import numbers
from hwnas_jax.spaces.base import Choices, Decision
from hwnas_jax.tabular.base import Benchmark, Columns, chosen_set, make_benchmark

_DATA_SET = "cifar10"
_LAYERS = 5
_WIDTHS = tuple(str(width) for width in range(8, 65, 8))


def size_choices() -> Choices:
    """Returns the decisions: `layer1` to `layer5`, whose options are numbers of channels."""
    layers = range(1, _LAYERS + 1)
    return Choices("nats_size", tuple(Decision(f"layer{layer}", _WIDTHS) for layer in layers))


def has_widths(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a file is of this format."""
    return "widths" in arrays


def read_size(source: str, arrays: Mapping[str, np.ndarray], data_set: str | None) -> Benchmark:
    """Returns the benchmark.

    Args:
      source: the file's name.
      arrays: what it holds.
      data_set: "cifar10", or None.

    Raises:
      UserError: for another data set, and for what is missing or cannot be.
    """
    name = chosen_set(source, data_set, (_DATA_SET,))
    space, widths = size_choices(), numbers(arrays, "widths", 2)
    if not np.issubdtype(widths.dtype, np.integer):
        raise UserError(f"widths are whole numbers of channels, got {widths.dtype}")
    columns: Columns = {("test", None): numbers(arrays, "test_acc", 1)}
    architectures = encode_names(space, widths.astype(str))
    return make_benchmark(f"{source}:{name}", space, architectures, columns)
