"""The contract of all registered search spaces, and the registry."""

import textwrap

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import Choices, Decision, from_spec, make_space
from tests.spaces import contract

CHOICES = Choices("toy", (Decision("a", ("x", "y", "z")), Decision("b", ("x", "y"))))


def nasbench201():
    return make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3
    )


def test_options_that_are_off_are_never_drawn():
    space = CHOICES.restricted({"a": ("y",)})
    assert space.size == 4
    assert space.enumerate().tolist() == [[0, 0], [0, 1], [2, 0], [2, 1]]
    drawn = space.random(np.random.default_rng(0), 100)
    assert {tuple(row) for row in drawn.tolist()} == {(0, 0), (0, 1), (2, 0), (2, 1)}
    assert space.mask.tolist() == [[True, False, True], [True, True, False]]
    with pytest.raises(UserError, match="switched off"):
        space.from_names({"a": "y", "b": "x"})
    assert CHOICES.size == 6


@pytest.mark.parametrize(
    ("off", "word"),
    [
        ({"*": ("x", "y")}, "without options; it has x, y"),
        ({"c": ("x",)}, "'c'"),
        ({"a": ("w",)}, "'w'"),
    ],
)
def test_impossible_restrictions_are_named(off, word):
    with pytest.raises(UserError, match=word):
        CHOICES.restricted(off)


def test_a_restricted_space_is_rebuilt_from_its_description():
    space = nasbench201().restricted({"*": ("avg_pool*",), "1<-0": ("none",)})
    assert space.size == 3 * 4**5
    contract.check_codecs(space)


SPACE = """
    from hwnas_jax.spaces.nasbench201 import NasBench201

    class Mine(NasBench201):
        name = "mine"
"""


def test_a_space_of_ones_own_is_found_by_its_path(tmp_path):
    file = tmp_path / "own_space_file.py"
    file.write_text(textwrap.dedent(SPACE))
    described = dict(nasbench201().spec, name=f"{file}:Mine")
    with pytest.raises(UserError, match=r"space\.name"):
        from_spec(described)
    space = make_space(
        f"{file}:Mine", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3
    )
    assert space.name == "mine"
    assert from_spec(space.spec).spec == space.spec == described
    with pytest.raises(UserError, match="Mine"):
        make_space(f"{file}:Mini", {}, input_shape=(8, 8, 1), num_outputs=3)
    with pytest.raises(UserError, match="no file"):
        make_space(f"{tmp_path}/absent.py:Mine", {}, input_shape=(8, 8, 1), num_outputs=3)


def test_nasbench201_keeps_the_contract():
    space = nasbench201()
    contract.check_supernet_equals_network(space, count=50)
    contract.check_codecs(space)
    contract.check_counts(space, extra=space.num_outputs)
    contract.check_tables_agree(space)
