"""Configs: loading, overriding, checking, saving; every mistake named with what is allowed."""

import dataclasses
import json
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.config import (
    Config,
    SearchConfig,
    WeightsConfig,
    config_names,
    load_config,
    override,
    save_config,
    validate,
)
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part


def message(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("name", config_names())
def test_configs_that_come_along_load(name):
    assert isinstance(load_config(name), Config)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    search__weights__learning_rate=st.floats(1e-6, 10),
    search__relaxation=st.builds(
        Part,
        st.sampled_from(["softmax", "my_method.py:Mine"]),
        st.dictionaries(
            st.sampled_from(["a", "b"]),
            st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.sampled_from(["", "3,5", "1.0", "ü"]),
        ),
    ),
    target__value=st.none() | st.floats(1e-3, 1e3),
    target__limits=st.dictionaries(st.sampled_from(["params", "macs"]), st.floats(1, 1e9)),
    parallel__devices=st.none() | st.integers(1, 8),
    parallel__backend=st.sampled_from(["pmap", "shard_map"]),
    channels=st.integers(1, 64),
)
def test_saved_configs_load_unchanged(tmp_path_factory, channels, **changes):
    config = override(Config(), space__args={"channels": channels, "cells": 1}, **changes)
    path = tmp_path_factory.mktemp("saved") / "config.json"
    save_config(config, path)
    assert load_config(str(path)) == config


def test_saved_config_is_versioned_and_whole(tmp_path):
    save_config(Config(), tmp_path / "config.json")
    payload = json.loads((tmp_path / "config.json").read_text())
    assert payload["format"] == "hwnas_jax.config"
    assert payload["version"] == 2
    assert payload["config"] == json.loads(json.dumps(dataclasses.asdict(Config())))


def test_override_changes_only_what_is_named():
    changed = override(Config(), seed=3, search__steps=1700, search__batch_size=32)
    expected = dataclasses.replace(
        Config(), seed=3, search=dataclasses.replace(SearchConfig(), steps=1700, batch_size=32)
    )
    assert changed == expected


def test_override_reaches_parts_of_parts():
    changed = override(
        Config(), search__relaxation__name="drnas", search__relaxation__args={"decay": 0.1},
        search__weights__decay=0.0, budget=Part("fixed_weight", {"weight": 2.0}),
    )  # fmt: skip
    assert changed.search.relaxation == Part("drnas", {"decay": 0.1})
    assert changed.search.weights == dataclasses.replace(WeightsConfig(), decay=0.0)
    assert changed.budget == Part("fixed_weight", {"weight": 2.0})
    assert Config().search.relaxation == Part("sampled_path")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"serach__steps": 3}, ("'serach'", "search", "Did you mean 'search'?")),
        ({"search__stpes": 3}, ("'stpes'", "warmup_steps", "Did you mean 'steps'?")),
        ({"search__weights__decya": 3}, ("'decya'", "clip_norm", "Did you mean 'decay'?")),
        ({"search__relaxation__nmae": "x"}, ("'nmae'", "name, args", "Did you mean 'name'?")),
        ({"parallel__backend": "pmpa"}, ("parallel.backend 'pmpa'", "shard_map", "'pmap'?")),
        ({"search": 3}, ("search must be a table of keys", "3")),
        ({"search__relaxation": "softmax"}, ("search.relaxation must be a table", "'softmax'")),
        ({"search__relaxation__name": 3}, ("search.relaxation.name = 3 must be", "string")),
        ({"budget__args": {"weight": None}}, ("budget.args", "must be")),
        ({"seed": "x"}, ("seed = 'x' must be", "integer")),
        ({"seed": True}, ("seed = True must be", "integer")),
        ({"name": "../x"}, ("name = '../x' must be of at most 100 letters",)),
        ({"seed": -1}, ("seed = -1 must be greater than or equal to 0",)),
        ({"seed": 2**32}, (f"seed = {2**32} must be less than {2**32}",)),
        ({"search__steps": 2.5}, ("search.steps = 2.5 must be", "integer")),
        ({"data__flip": 1}, ("data.flip = 1 must be", "boolean")),
        ({"space__args": 3}, ("space.args must be a table of keys, got 3",)),
        ({"search__steps": 0}, ("search.steps = 0 must be greater than 0",)),
        ({"search__warmup_steps": 1500}, ("search.warmup_steps", "search.steps = 1500")),
        ({"profile__max_rounds": 3}, ("profile.max_rounds = 3", "profile.rounds = 15")),
        ({"search__weights__decay": -1.0}, ("search.weights.decay = -1.0 must be greater",)),
        ({"search__temperature__end": 0.0}, ("search.temperature.end = 0.0 must be greater",)),
        ({"retrain__validation_fraction": 1.0}, ("retrain.validation_fraction = 1.0", "than 1")),
        ({"target__percentile": 101.0}, ("target.percentile = 101.0", "equal to 100")),
        ({"target__value": -1.0}, ("target.value", "-1.0 must be greater than 0")),
        ({"target__value": float("nan")}, ("target.value", "finite")),
        ({"search__weights__clip_norm": float("inf")}, ("search.weights.clip_norm", "finite")),
        ({"target__limits": {"params": 0.0}}, ("target.limits.params = 0.0 must be greater",)),
        ({"parallel__devices": 0}, ("parallel.devices", "0 must be greater than 0")),
        ({"search__dtype": "float16"}, ("search.dtype 'float16'", "float32, bfloat16")),
        ({"retrain__dtype": "bf16"}, ("retrain.dtype 'bf16'", "'bfloat16'?")),
        ({"search__accumulate": 0}, ("search.accumulate = 0 must be greater than 0",)),
        ({"space__args": {"channels": object()}}, ("holds what is no plain value", "object")),
    ],
)
def test_mistakes_name_key_value_and_what_is_allowed(changes, parts):
    text = message(override, Config(), **changes)
    for part in parts:
        assert part in text


def test_whole_numbers_pass_for_floats():
    assert override(Config(), target__percentile=25).target.percentile == 25


def numeric_keys(kind=Config, where=()):
    """Yields the keys of all numbers of a config, nested ones joined by two underscores."""
    for key, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from numeric_keys(hint, (*where, key))
        elif hint in (int, float):
            yield "__".join((*where, key))


@pytest.mark.parametrize("key", list(numeric_keys()))
def test_no_number_may_be_negative(key):
    text = message(override, Config(), **{key: -1})
    assert f"{key.replace('__', '.')} = -1 must be greater" in text


def test_a_saved_config_may_leave_out_what_has_a_default(tmp_path):
    path = tmp_path / "config.json"
    own = {"parallel": {"devices": 2}, "search": {"weights": {"decay": 0.5}}}
    payload = {"format": "hwnas_jax.config", "version": 2, "config": own}
    path.write_text(json.dumps(payload))
    assert load_config(str(path)) == override(
        Config(), parallel__devices=2, search__weights__decay=0.5
    )


def test_validate_returns_its_argument():
    config = Config()
    assert validate(config) is config


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("config = Config(\n", ("SyntaxError", "line 2")),
        ("1 / 0", ("ZeroDivisionError",)),
        ("import sys; sys.exit('bye')", ("SystemExit: bye",)),
        ("x = 1", ("must set `config = Config(...)`",)),
        ("config = 3", ("must set `config = Config(...)`",)),
        ("config = Config(sed=3)", ("key of Config 'sed'", "name, seed, ", "'seed'?")),
        ("config = Config(search=SearchConfig(stpes=3))", ("'stpes'", "'steps'?")),
        ("config = Config(seed='x')", ("seed = 'x' must be", "integer")),
        ("config = override(Config(), serach__steps=3)", ("'serach'", "'search'?")),
        ("config = Config('a', 1, 2)", ("space must be a table of keys, got 2",)),
        ("config = Config(*range(99))", ("TypeError",)),
    ],
)
def test_python_files_with_mistakes(tmp_path, source, parts):
    path = tmp_path / "mine.py"
    path.write_text(f"from hwnas_jax.config import *\n{source}")
    text = message(load_config, str(path))
    for part in (f"config file {path}", *parts):
        assert part in text


def test_python_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from hwnas_jax.config import Config\nconfig = Config(seed=5)\n")
    assert load_config(str(path)) == Config(seed=5)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ("damaged",)),
        ('{"format": ', ("damaged",)),
        ("{}", ("format",)),
        ("[]", ("format",)),
        ('{"format": "hwnas_jax.config", "version": 1}', ("version 1", "known is 2")),
        ('{"format": "hwnas_jax.config", "version": 2}', ("table of keys, got None",)),
        (
            '{"format": "hwnas_jax.config", "version": 2, "config": {"search": {"stpes": 3}}}',
            ("key of config.search 'stpes'", "Did you mean 'steps'?"),
        ),
        (
            '{"format": "hwnas_jax.config", "version": 2, "config": {"search": 3}}',
            ("search must be a table of keys, got 3",),
        ),
        (
            '{"format": "hwnas_jax.config", "version": 2, "config": {"seed": NaN}}',
            ("config.json is damaged", "NaN is no number"),
        ),
    ],
)
def test_json_files_with_mistakes(tmp_path, content, parts):
    path = tmp_path / "config.json"
    path.write_text(content)
    text = message(load_config, str(path))
    for part in (str(path), *parts):
        assert part in text


def test_unknown_config_names_the_nearest():
    text = message(load_config, "digts")
    for part in ("config 'digts'", "digits", "Did you mean 'digits'?"):
        assert part in text


@pytest.mark.parametrize("name", ["missing.py", "missing.json"])
def test_missing_or_folder(tmp_path, name):
    assert f"no config file {tmp_path / name}" in message(load_config, str(tmp_path / name))
    (tmp_path / name).mkdir()
    assert f"no config file {tmp_path / name}" in message(load_config, str(tmp_path / name))


def test_a_list_among_options_is_told_how_to_be_written():
    with pytest.raises(UserError, match=r"data\.args\.tasks = \['a'\] must be .*text with commas"):
        override(Config(), data__args={"tasks": ("a",)})
