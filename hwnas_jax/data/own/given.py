"""Data from Python's own arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.inputs import Layout
from hwnas_jax.data.own.parts import Meaning, Raw, make_dataset
from hwnas_jax.data.own.targets import TaskName
from hwnas_jax.errors import UserError


def arrays(
    inputs: Any,
    targets: Any,
    test_inputs: Any = None,
    test_targets: Any = None,
    *,
    layout: Layout | None = None,
    task: TaskName | None = None,
    names: Sequence[str] | None = None,
    test_fraction: float = 0.2,
    name: str = "arrays",
) -> Dataset:
    """Returns a data set of arrays, for `Run.create(config, data=...)` and other functions.

    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (20, 6, 8), dtype=np.uint8)
    >>> data = arrays(images, ["cat", "dog"] * 10)
    >>> data.input_shape, data.output_names, len(data.test_inputs)
    ((6, 8, 1), ('cat', 'dog'), 4)

    Args:
      inputs: images `[N, H, W]` or `[N, H, W, C]`, or sequences, of any type of numbers.
      targets: class names or whole numbers `[N]` for classes; floats `[N]` or `[N, outputs]` for
        values; zeros and ones `[N, labels]` for labels; for each pixel whole numbers `[N, H, W]`
        for its class or floats `[N, H, W, values]`.
      test_inputs: likewise, to test on.
      test_targets: likewise.
      layout: what the axes of the inputs mean, with a letter each: N examples, H height, W width,
        C channels, L length of a sequence. It is asked for where type and sizes leave a doubt.
      task: what the targets are for; None lets their type tell.
      names: of the classes or outputs, in order.
      test_fraction: share held out for the test where no test arrays are given.
      name: what messages call the data set.

    Raises:
      UserError: when the arrays do not fit together, or their meaning is in doubt.
    """
    if (test_inputs is None) != (test_targets is None):
        raise UserError("test_inputs and test_targets are given both, or neither")
    parts = {"train": Raw(_array(inputs, "inputs"), targets)}
    if test_inputs is not None:
        parts["test"] = Raw(_array(test_inputs, "test_inputs"), test_targets)
    return make_dataset(name, parts, Meaning(layout, task, names, test_fraction))


def _array(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UserError(f"{what} are no array: examples differ in size ({error})") from error
    if array.ndim == 0:
        raise UserError(f"{what} are no array: {type(values).__name__}")
    return array
