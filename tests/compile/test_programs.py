"""Compiled programs are dropped when there are many, and compile again when they are called."""

import jax
import jax.numpy as jnp
import pytest

from hwnas_jax.compile import programs


def test_programs_are_dropped_only_when_there_are_many():
    if not programs._PROCESS.exists():
        pytest.skip("this system does not tell how many memory maps there are")
    traced = []
    double = jax.jit(lambda x: traced.append(1) or 2 * x)
    double(jnp.ones(3))
    assert not programs.drop_if_many(1.0)
    double(jnp.ones(3))
    assert len(traced) == 1
    assert programs.drop_if_many(0.0)
    assert double(jnp.ones(3)).tolist() == [2, 2, 2]
    assert len(traced) == 2


def test_nothing_is_dropped_where_maps_cannot_be_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "_PROCESS", tmp_path / "absent")
    assert not programs.drop_if_many(0.0)
