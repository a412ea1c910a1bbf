"""What every data source must keep, whatever it reads or makes."""

import dataclasses
from collections.abc import Callable

import numpy as np

from hwnas_jax.data import Dataset, Source
from hwnas_jax.registry import Part
from hwnas_jax.tasks import make_task

ARRAYS = ("train_inputs", "train_targets", "test_inputs", "test_targets")


def check(make: Callable[[], Source]) -> Dataset:
    """Runs every check on a source and returns its data.

    Args:
      make: builds the source anew, as another process would.
    """
    source, dataset = make(), make().load()
    check_repeats(source, dataset)
    check_apart(dataset)
    check_content(dataset)
    check_options(source, dataset)
    return dataset


def check_repeats(source: Source, dataset: Dataset) -> None:
    """A second load gives the same data, bit for bit."""
    again = source.load()
    for key in ARRAYS:
        np.testing.assert_array_equal(
            getattr(dataset, key), getattr(again, key), err_msg=f"{key} differ between two loads"
        )
    assert dataset.output_names == again.output_names
    assert dataset.name == again.name


def check_apart(dataset: Dataset) -> None:
    """No test input is a training input."""
    known = {row.tobytes() for row in dataset.train_inputs}
    common = sum(row.tobytes() in known for row in dataset.test_inputs)
    assert common == 0, f"{common} of {len(dataset.test_inputs)} test inputs are in the train set"


def check_content(dataset: Dataset) -> None:
    """The data fit their task, and there is something to learn in them."""
    make_task(Part(dataset.task), dataset)
    names = dataset.output_names
    assert all(names) and len(set(names)) == len(names), f"output names repeat: {names}"
    for part in ("train", "test"):
        inputs, targets = getattr(dataset, f"{part}_inputs"), getattr(dataset, f"{part}_targets")
        assert (inputs != inputs[0]).any(), f"all {part} inputs are the same"
        assert (targets != targets[0]).any(), f"all {part} targets are the same"
    assert (dataset.std > 0).all()
    assert np.isfinite(dataset.mean).all()


def check_options(source: Source, dataset: Dataset) -> None:
    """A source's seed changes its data, and `test_fraction` is the share of the test set."""
    if hasattr(source, "seed"):
        other = dataclasses.replace(source, seed=source.seed + 1).load()
        assert any(
            not np.array_equal(getattr(other, key), getattr(dataset, key))
            for key in ("train_inputs", "train_targets")
        ), "another seed gives the same data"
    if hasattr(source, "test_fraction"):
        half = dataclasses.replace(source, test_fraction=0.5).load()
        test, train = len(half.test_inputs), len(half.train_inputs)
        assert abs(test - train) <= 0.01 * (test + train), (
            f"test_fraction = 0.5 gives {test} test examples and {train} train examples"
        )
