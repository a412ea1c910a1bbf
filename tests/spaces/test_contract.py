"""The contract of all registered search spaces, and the registry."""

import inspect
import textwrap

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import SPACES, Choices, Decision, from_spec, make_space
from tests.spaces import contract

CHOICES = Choices("toy", (Decision("a", ("x", "y", "z")), Decision("b", ("x", "y"))))


def nasbench201():
    return make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=3
    )


def default(name, **args):
    return make_space(name, args, input_shape=(64, 64, 3), num_outputs=10)


@pytest.mark.parametrize("name", SPACES)
def test_registered_spaces_describe_themselves(name):
    space = default(name)
    own = [key for key in inspect.signature(SPACES[name]).parameters if key not in SPACES.given]
    assert sorted(space.args) == sorted(own)
    again = from_spec(space.spec)
    assert again.spec == space.spec
    for row in space.random(np.random.default_rng(0), 3):
        text = space.to_string(row)
        assert again.to_string(again.from_string(text)) == text
    graph = space.graph(row)
    if graph is not None:
        operations = space.operations()[0]
        assert all(step.operation in operations for step in graph if step.kind == "operation")
        assert all(max(step.inputs) <= number for number, step in enumerate(graph))


@pytest.mark.parametrize("name", SPACES)
def test_every_option_is_checked(name):
    for key in default(name).args:
        with pytest.raises(UserError, match=f"search space {name}: {key} = "):
            default(name, **{key: {}})


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
        name, summary = "mine", "cells of one's own"
"""


def test_a_space_of_ones_own_is_found_by_its_path(tmp_path):
    file = tmp_path / "own_space_file.py"
    file.write_text(textwrap.dedent(SPACE))
    described = dict(nasbench201().spec, name=f"{file}:Mine")
    with pytest.raises(UserError, match=r"may not start"):
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


def test_a_covering_set_has_every_option_that_counts():
    space = nasbench201()
    found = contract.covering(space)
    assert len(found) < 10
    has = {pair for row in space.canonical(found) for pair in enumerate(row)}
    assert len(has) == 6 * 5
