import json

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.architecture_files import load_architecture, save_architecture


@pytest.fixture
def space():
    return make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10
    )


@pytest.fixture
def path(tmp_path, space):
    save_architecture(tmp_path / "architecture.json", space, np.array([3, 0, 1, 2, 4, 1]))
    return tmp_path / "architecture.json"


def test_round_trip(tmp_path, space):
    for number, architecture in enumerate(space.random(np.random.default_rng(0), 20)):
        path = tmp_path / f"{number}.json"
        save_architecture(path, space, architecture)
        again, loaded = load_architecture(path)
        assert again.spec == space.spec
        np.testing.assert_array_equal(loaded, architecture)


def test_a_person_can_read_it(path):
    payload = json.loads(path.read_text())
    assert payload["format"] == "hwnas_jax.architecture"
    assert payload["version"] == 1
    assert payload["architecture"]["1<-0"] == "nor_conv_3x3"
    assert payload["string"].startswith("|nor_conv_3x3~0|+|none~0|")


def problem(path):
    with pytest.raises(UserError) as caught:
        load_architecture(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def changed(path, *keys, value):
    payload = json.loads(path.read_text())
    inner = payload
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(payload))
    return problem(path)


def test_unknown_option_names_the_nearest(path):
    text = changed(path, "architecture", "1<-0", value="nor_conv_3x4")
    for part in ("1<-0", "'nor_conv_3x4'", "skip_connect", "Did you mean 'nor_conv_3x3'?"):
        assert part in text


def test_unknown_and_missing_decisions(path):
    assert "'1<-9'" in changed(path, "architecture", value={"1<-9": "none"})
    assert "3<-2" in changed(path, "architecture", value={"1<-0": "none"})


def test_unknown_space_and_argument(path):
    text = changed(path, "space", "args", value={"chanels": 2})
    assert "'chanels'" in text
    assert "Did you mean 'channels'?" in text
    text = changed(path, "space", "name", value="nasbench2001")
    assert "Did you mean 'nasbench201'?" in text


@pytest.mark.parametrize("key", ["space", "architecture"])
@pytest.mark.parametrize("value", [None, 3, [], "x"])
def test_wrong_kinds(path, key, value):
    assert changed(path, key, value=value)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("string",), "|none~0|", "its string is '|none~0|', and that of its architecture is"),
        (("string",), 5, "string = 5 must be a string"),
        (("strnig",), "", "Did you mean 'string'?"),
        (("architecture", "1<-0"), 3, "architecture.1<-0 = 3 must be a string"),
        (("space", "off"), {"*": 5}, "off.* must be a list, got 5"),
        (("space", "off"), {"*": [5]}, "off.*[0] = 5 must be a string"),
        (("space", "input_shape"), [8, 8, -1], "input_shape[2] = -1 must be greater than 0"),
        (("space", "input_shape"), [8] * 4, "input_shape = [8, 8, 8, 8]"),
        (("space", "input_shape"), [10**9, 8, 1], "input_shape[0] = 1000000000 must be less"),
        (("space", "num_outputs"), True, "num_outputs = True must be an integer"),
        (("space", "num_outputs"), 1e300, "num_outputs = 1e+300 must be an integer"),
        (("space", "name"), "other.py:Mine", "whose code a file may not start"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(path, keys, value, said):
    assert said in changed(path, *keys, value=value)


def test_unknown_format_and_version(path):
    assert "version 2; known is 1" in changed(path, "version", value=2)
    assert "format" in changed(path, "format", value="another")


def test_every_truncation_is_a_user_error(path):
    content = path.read_bytes().rstrip()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        problem(path)
