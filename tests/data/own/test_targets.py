"""Labels and values of every kind as targets, against what stands beside them."""

import re

import numpy as np
import pytest

from hwnas_jax.data.own.targets import make_targets
from hwnas_jax.errors import UserError


def made(train, test=None, *, names=None, task=None, size=(4, 5)):
    parts = {"train": train} | ({} if test is None else {"test": test})
    return make_targets(parts, size, names=names, task=task, where="set x")


CLASSES = [
    # train, test, names given; numbers of classes, names, a note
    (["b", "a", "b"], ["a", "b"], None, [1, 0, 1], ("a", "b"), ""),
    (np.array([b"b", b"a"]), None, None, [1, 0], ("a", "b"), ""),
    (np.array(["b", "a"], object), None, None, [1, 0], ("a", "b"), ""),
    ([0, 1, 1, 0], None, None, [0, 1, 1, 0], ("0", "1"), ""),
    (np.array([[1], [0]], np.uint8), None, None, [1, 0], ("0", "1"), ""),
    ([1, 2, 3, 1], None, None, [0, 1, 2, 0], ("1", "2", "3"), "class numbers begin at 1;"),
    (
        [-1, 1, -1],
        None,
        None,
        [0, 1, 0],
        ("-1", "1"),
        "begin at -1; 1 number between -1 and 1 h",
    ),
    ([0, 5, 0], None, None, [0, 1, 0], ("0", "5"), "4 numbers between 0 and 5 have no train"),
    ([True, False], None, None, [1, 0], ("0", "1"), ""),
    ([1, 0, 1], [0, 1], ["no", "yes"], [1, 0, 1], ("no", "yes"), ""),
    ([2, 1, 2], [1, 2], ["no", "yes"], [1, 0, 1], ("no", "yes"), "class numbers begin at 1, which"),
    ([0, 2, 0], None, ["a", "b", "c"], [0, 2, 0], ("a", "b", "c"), "no train .* of the class 'b'"),
    (["b", "a"], None, ["b", "a", "c"], [0, 1], ("b", "a", "c"), "no train .* of the class 'c'"),
    ([0, 1, 0], [0, 0], None, [0, 1, 0], ("0", "1"), "no test example is of the class '1'"),
    ([[0, 1], [1, 0]], None, None, [1, 0], ("0", "1"), ""),
    ([[0.0, 1.0], [1.0, 0.0]], None, ["a", "b"], [1, 0], ("a", "b"), ""),
]


@pytest.mark.parametrize(("train", "test", "names", "numbers", "known", "note"), CLASSES)
def test_classes(train, test, names, numbers, known, note):
    targets = made(train, test, names=names)
    assert targets.task == "classification"
    assert targets.names == known
    assert targets.parts["train"].dtype == np.int32
    assert targets.parts["train"].tolist() == numbers
    if note:
        assert len(targets.notes) == 1
        assert re.search(note, targets.notes[0])
    else:
        assert targets.notes == ()


def test_labels_that_are_numbered_again_keep_their_names():
    rng = np.random.default_rng(0)
    labels = rng.choice([3, 40, 7, 1000], 60)
    targets = made(labels, labels[::-1])
    assert [int(targets.names[n]) for n in targets.parts["train"]] == labels.tolist()
    assert [int(targets.names[n]) for n in targets.parts["test"]] == labels[::-1].tolist()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float64])
def test_labels(kind):
    train = np.array([[0, 1, 1, 0], [1, 0, 1, 0]], kind)
    targets = made(train, train[:1], names=["a", "b", "c", "d"])
    assert (targets.task, targets.names) == ("multi_label", ("a", "b", "c", "d"))
    assert targets.parts["train"].dtype == bool
    np.testing.assert_array_equal(targets.parts["train"], train.astype(bool))
    assert targets.notes == ("no train example has the label 'd'",)
    one_each = np.eye(3, dtype=kind)[[0, 1, 2, 1]]
    assert made(one_each, task="multi_label").task == "multi_label"
    assert made(one_each).task == "classification"


@pytest.mark.parametrize(
    ("train", "task", "shape", "names"),
    [
        ([0.5, 1.25, -3.0], None, (3, 1), ("value",)),
        ([[0.5], [1.25]], None, (2, 1), ("value",)),
        ([[0.5, 1.0], [1.25, 0.0]], None, (2, 2), ("value 0", "value 1")),
        ([20, 31, 45], "regression", (3, 1), ("value",)),
        ([[1, 0], [0, 1]], "regression", (2, 2), ("value 0", "value 1")),
    ],
)
def test_values(train, task, shape, names):
    targets = made(train, task=task)
    assert (targets.task, targets.names) == ("regression", names)
    assert targets.parts["train"].dtype == np.float32
    assert targets.parts["train"].shape == shape
    np.testing.assert_array_equal(targets.parts["train"].ravel(), np.ravel(train))


def test_floats_that_may_be_classes_get_a_note_or_are_taken_as_such():
    targets = made([0.0, 1.0, 1.0, 0.0])
    assert targets.task == "regression"
    assert "if they are classes, store them as integers" in targets.notes[0]
    asked = made([0.0, 1.0, 1.0, 0.0], task="classification")
    assert asked.parts["train"].tolist() == [0, 1, 1, 0]
    assert made([0.0, 1.0, 2.0]).notes == ()


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (["a", "b"], ["c", "c"], {}, "the class 'c' has 2 test examples but no train example"),
        ([0, 1], [2], {}, "the class '2' has 1 test example but no train example"),
        (["a", "b"], [0], {}, "all must be texts, or all numbers"),
        (["a", "a"], None, {}, "all 2 train examples are of the class 'a'; there is nothing to t"),
        ([1, 2, 3, 4], None, {}, "each of the 4 train examples has a class of its own; values"),
        (["a", " "], None, {}, r"train targets: example 1 \(counted from 0\) has an empty label"),
        ([0, 3], None, {"names": ["a", "b"]}, r"class numbers lie in 0\.\.1; they run from 0 to 3"),
        (["a", "c"], None, {"names": ["a", "b"]}, "the label 'c' is none of 'a', 'b'"),
        ([0, 1], None, {"names": ["a", "a"]}, "names of outputs repeat"),
        ([0.5, 1.5], None, {"names": ["a", "b"]}, "2 names are given for 1 outputs"),
        ([[1, 2], [3, 4]], None, {}, r"int64\[2, 2\]: classes are one number .*task regression"),
        ([["a", "b"]], None, {}, "a class is one text for each example"),
        ([0.5, 1.0], None, {"task": "classification"}, r"example 0 .counted from 0. is 0\.5"),
        (["a", "b"], None, {"task": "regression"}, "needs numbers, the targets are texts"),
        (
            [0, 1],
            None,
            {"task": "multi_label"},
            r"multi_label needs targets \[N, labels\]",
        ),
        ([[0, 1]], [0], {}, "same number of outputs"),
        ([[1], [1, 2]], None, {}, "train targets are no array"),
        (np.array([None, 1]), None, {}, r"got object\[2\]"),
        (np.array([b"\xff"]), None, {}, "bytes that are no UTF-8 text"),
        ([], None, {}, r"got float64\[0\]"),
    ],
)
def test_mistakes_are_named(train, test, options, message):
    with pytest.raises(UserError, match=f"set x: .*{message}"):
        made(train, test, **options)


def test_long_lists_are_cut():
    with pytest.raises(UserError, match=r"is none of '0', '1', '2', '3', '4' and 15 more"):
        made(["a", "b"], names=[str(n) for n in range(20)])
