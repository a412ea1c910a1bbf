"""What names of arrays and files say."""

import pytest

from hwnas_jax.data.own.roles import Role, role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("x", Role("", None, "inputs")),
        ("Y", Role("", None, "targets")),
        ("x_train", Role("", "train", "inputs")),
        ("trainX", Role("", "train", "inputs")),
        ("test-labels", Role("", "test", "targets")),
        ("t10k-images", Role("", "test", "inputs")),
        ("valid.imgs", Role("", "validation", "inputs")),
        ("training data", Role("", "train", "inputs")),
        ("emnist-letters-train-images", Role("emnist_letters", "train", "inputs")),
        ("class_names", Role("", None, "names")),
        ("letters_classes", Role("letters", None, "names")),
        ("letters_label_names", Role("letters", None, "names")),
        ("arr_0", None),
        ("train_jpeg", None),
        ("train_test_x", None),
        ("maxy", None),
        ("", None),
        ("--", None),
    ],
)
def test_roles(name, role):
    assert role_of(name) == role
