"""The test examples that are kept of a network: which ones, what it says of them, their file."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.tasks import Classification, DenseRegression, MultiLabel, Regression, Segmentation
from hwnas_jax.train.examples import FIRST, Examples, keep_examples, load_examples, take_examples

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 5, 3)).astype(np.uint8)
CLASSES = (np.arange(20) % 3).astype(np.int32)
SURE = jnp.float32(5 * np.eye(3)[CLASSES])


def test_the_first_and_the_worst_are_kept():
    outputs = SURE.at[13].set(-SURE[13]).at[2].set(-2 * SURE[2])
    found = take_examples(Classification(), IMAGES, outputs, CLASSES)
    assert found.numbers.tolist() == [*range(FIRST), 13]
    assert found.numbers[found.worst].tolist() == [2, 13]
    np.testing.assert_array_equal(found.inputs, IMAGES[found.numbers])
    np.testing.assert_array_equal(found.targets, CLASSES[found.numbers])
    np.testing.assert_array_equal(found.predicted, outputs[found.numbers].argmax(1))
    assert (found.kind, found.true_values) == ("class", None)


def test_all_examples_are_kept_where_there_are_few():
    found = take_examples(Classification(), IMAGES[:3], SURE[:3], CLASSES[:3])
    assert found.numbers.tolist() == [0, 1, 2]
    assert found.worst.sum() == 2


def test_values_are_in_the_units_of_the_data_and_more_of_them_are_kept():
    values = RNG.normal(100, 7, (20, 2)).astype(np.float32)
    task = Regression().fit(values)
    found = take_examples(task, IMAGES, task.scaled(values) + 1, values)
    assert found.kind == "values"
    np.testing.assert_array_equal(found.true_values, values)
    np.testing.assert_allclose(found.said_values, values + values.std(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((400, 330, 9), (134, 110, 8)),
        ((1, 5000, 2), (1, 1667, 2)),
        ((5000, 12), (1667, 8)),
        ((160, 10, 1), (160, 10, 1)),
    ],
)
def test_large_inputs_are_thinned_out(shape, kept):
    inputs = np.arange(3 * np.prod(shape), dtype=np.float32).reshape(3, *shape)
    found = take_examples(Classification(), inputs, SURE[:3], CLASSES[:3])
    assert found.inputs.shape == (3, *kept)
    steps = [-(-size // most) for size, most in zip(shape, kept, strict=True)][:-1]
    places = tuple(slice(None, None, step) for step in steps)
    np.testing.assert_array_equal(found.inputs, inputs[(slice(None), *places)][..., : kept[-1]])


def test_targets_of_positions_are_thinned_out_with_the_inputs():
    fields = RNG.standard_normal((3, 330, 10, 2)).astype(np.float32)
    task = DenseRegression(standardise=False)
    found = take_examples(task, fields, jnp.asarray(fields), fields)
    assert found.kind == "value map"
    np.testing.assert_array_equal(found.targets, fields[:, ::3])
    np.testing.assert_array_equal(found.predicted, found.inputs)
    scores = jnp.float32(np.stack([fields[..., 0], -fields[..., 0]], -1))
    classes = (fields[..., 0] < 0).astype(np.int32)
    maps = take_examples(Segmentation(), fields, scores, classes)
    assert maps.kind == "class map"
    np.testing.assert_array_equal(maps.predicted, classes[:, ::3])


class Silent(Classification):
    def predicted(self, outputs):
        return None


def test_what_cannot_be_shown_is_not_kept(tmp_path):
    assert take_examples(Silent(), IMAGES, SURE, CLASSES) is None
    assert take_examples(Classification(), IMAGES, SURE.at[19, 0].set(jnp.inf), CLASSES) is None
    keep_examples(tmp_path, "search-1", None)
    assert load_examples(tmp_path, "search-1") is None
    assert list(tmp_path.iterdir()) == []


def test_they_are_read_back_as_they_were(tmp_path):
    labels = RNG.random((20, 4)) < 0.4
    values = RNG.standard_normal((20, 4)).astype(np.float32)
    taken = {
        "search-1": take_examples(MultiLabel(), IMAGES, jnp.asarray(values), labels),
        "search-2": take_examples(Regression(), IMAGES, jnp.asarray(values), values),
    }
    for label, examples in taken.items():
        keep_examples(tmp_path, label, examples)
    assert {load_examples(tmp_path, label).kind for label in taken} == {"labels", "values"}
    for label, examples in taken.items():
        again = load_examples(tmp_path, label)
        for field in dataclasses.fields(Examples):
            kept, read = (getattr(one, field.name) for one in (examples, again))
            np.testing.assert_array_equal(read, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worst": np.ones(7)}, r"worst must be bool\[E\]"),
        ({"numbers": np.arange(-7, 0)}, r"numbers at \[0\] is -7"),
        ({"targets": None}, "It lacks targets"),
        ({"other": np.ones(7)}, "and has other besides"),
        ({"true_values": np.ones((3, 2))}, "it must hold"),
        (
            {"predicted": np.zeros((7, 2), np.int32)},
            r"targets int32\[7\] and predicted int32\[7, 2",
        ),
        ({"inputs": np.zeros((6, 4, 5, 3))}, "no 7 examples of one task"),
        ({"inputs": np.array(["x"] * 7)}, "no 7 examples of one task"),
        ({"inputs": np.full((7, 4, 5, 3), np.nan)}, "its inputs are not all finite"),
        ({"inputs": np.full((7, 4, 5, 3), 1e300)}, "its inputs are not all finite"),
        ({"inputs": np.ones((7, 4, 5, 3), bool)}, "no 7 examples of one task"),
        ({"inputs": np.ones((7, 4000, 1))}, "no 7 examples of one task"),
        ({"true_values": np.ones((0, 2)), "said_values": np.ones((0, 2))}, "true_values are empty"),
        (
            {
                "numbers": np.arange(9),
                "worst": np.ones(9, bool),
                "inputs": np.ones((9, 3, 1)),
                "targets": np.arange(9),
                "predicted": np.arange(9),
            },
            "no 9 examples of one task, of which 8 are the most",
        ),
        ({"targets": np.array([{}], object)}, "is object"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, message):
    outputs = SURE.at[13].set(-SURE[13]).at[2].set(-SURE[2])
    keep_examples(tmp_path, "a", take_examples(Classification(), IMAGES, outputs, CLASSES))
    path = tmp_path / "examples_a.npz"
    arrays = {**dict(np.load(path)), **change}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=rf"examples_a\.npz: .*{message}"):
        load_examples(tmp_path, "a")


def test_examples_in_half_precision_are_read_without_a_warning(tmp_path):
    arrays = {"numbers": np.arange(2), "worst": np.zeros(2, bool), "inputs": np.ones((2, 3, 3, 1))}
    halves = np.ones(2, np.float16)
    np.savez(tmp_path / "examples_a.npz", **arrays, targets=halves, predicted=halves)
    with np.errstate(over="raise"):
        np.testing.assert_array_equal(load_examples(tmp_path, "a").predicted, halves)
