import dataclasses
import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas_jax.config import (
    Config,
    ParallelConfig,
    SearchConfig,
    config_names,
    from_dict,
    load_config,
    override,
    save_config,
    validate,
)
from hwnas_jax.errors import UserError


def message(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("name", config_names())
def test_configs_that_come_along_load(name):
    assert isinstance(load_config(name), Config)


@given(
    seed=st.integers(0, 2**32 - 1),
    search__weight_learning_rate=st.floats(1e-6, 10),
    target__ms=st.none() | st.floats(1e-3, 1e3),
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
    assert payload["version"] == 1
    assert payload["config"] == dataclasses.asdict(Config())


def test_override_changes_only_what_is_named():
    changed = override(Config(), seed=3, search__steps=700, search__batch_size=32)
    expected = dataclasses.replace(
        Config(), seed=3, search=dataclasses.replace(SearchConfig(), steps=700, batch_size=32)
    )
    assert changed == expected


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"serach__steps": 3}, ("'serach'", "search", "Did you mean 'search'?")),
        ({"search__stpes": 3}, ("'stpes'", "warmup_steps", "Did you mean 'steps'?")),
        ({"parallel__backend": "pmpa"}, ("parallel.backend 'pmpa'", "shard_map", "'pmap'?")),
        ({"search": 3}, ("search must be a SearchConfig", "3")),
        ({"seed": "x"}, ("seed must be of type int", "'x'")),
        ({"seed": True}, ("seed must be of type int", "True")),
        ({"seed": -1}, ("seed = -1", "[0, 2**32)")),
        ({"search__steps": 2.5}, ("search.steps must be of type int", "2.5")),
        ({"data__flip": 1}, ("data.flip must be of type bool", "1")),
        ({"space__args": 3}, ("space.args must be of type", "3")),
        ({"search__steps": 0}, ("search.steps = 0 must be positive",)),
        ({"search__warmup_steps": 1500}, ("search.warmup_steps", "search.steps = 1500")),
        ({"search__weight_decay": -1.0}, ("search.weight_decay = -1.0", "not be negative")),
        ({"retrain__validation_fraction": 1.0}, ("retrain.validation_fraction = 1.0",)),
        ({"target__tolerance": 0.0}, ("target.tolerance = 0.0", "between 0 and 1")),
        ({"target__percentile": 101.0}, ("target.percentile = 101.0", "[0, 100]")),
        ({"target__ms": -1.0}, ("target.ms = -1.0 must be positive",)),
        ({"target__ms": float("nan")}, ("target.ms must be finite", "nan")),
        ({"target__damping": float("inf")}, ("target.damping must be finite", "inf")),
        ({"parallel__devices": 0}, ("parallel.devices = 0",)),
        ({"search__order": "frist"}, ("search.order 'frist'", "implicit", "'first'?")),
        ({"search__dtype": "float16"}, ("search.dtype 'float16'", "float32, bfloat16")),
        ({"retrain__dtype": "bf16"}, ("retrain.dtype 'bf16'", "'bfloat16'?")),
        ({"search__inner_step_size": 0.0}, ("search.inner_step_size = 0.0 must be positive",)),
        ({"search__accumulate": 0}, ("search.accumulate = 0 must be positive",)),
    ],
)
def test_mistakes_name_key_value_and_what_is_allowed(changes, parts):
    text = message(override, Config(), **changes)
    for part in parts:
        assert part in text


def test_whole_numbers_pass_for_floats():
    assert override(Config(), target__percentile=25).target.percentile == 25


def numeric_keys():
    for section, kind in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(kind):
            for key, hint in typing.get_type_hints(kind).items():
                if hint in (int, float):
                    yield f"{section}__{key}"


@pytest.mark.parametrize("key", list(numeric_keys()))
def test_no_number_may_be_negative(key):
    assert key.replace("__", ".") in message(override, Config(), **{key: -1})


def test_from_dict_fills_in_defaults():
    assert from_dict(Config, {"parallel": {"devices": 2}}) == Config(
        parallel=ParallelConfig(devices=2)
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
        ("config = Config(seed='x')", ("seed must be of type int, got 'x'",)),
        ("config = override(Config(), serach__steps=3)", ("'serach'", "'search'?")),
        ("config = Config('a', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)", ("TypeError",)),
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
        ('{"format": "hwnas_jax.config", "version": 9}', ("version 9", "known is 1")),
        ('{"format": "hwnas_jax.config", "version": 1}', ("table of keys, got None",)),
        (
            '{"format": "hwnas_jax.config", "version": 1, "config": {"search": {"stpes": 3}}}',
            ("key of config.search 'stpes'", "Did you mean 'steps'?"),
        ),
        (
            '{"format": "hwnas_jax.config", "version": 1, "config": {"search": 3}}',
            ("config.search must be a table of keys, got 3",),
        ),
        (
            '{"format": "hwnas_jax.config", "version": 1, "config": {"seed": NaN}}',
            ("seed must be of type int, got nan",),
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
