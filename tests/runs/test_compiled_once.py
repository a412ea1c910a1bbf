"""The loop compiles an experiment before its first step, once, and refuses what does not fit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.compile import ahead
from hwnas_jax.config import ParallelConfig, SearchConfig
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.base import Experiment
from hwnas_jax.parallel.replicas import AXIS, Replicas, mean_over_replicas
from hwnas_jax.runs.loop import run_experiment


class State(NamedTuple):
    step: Any
    total: Any
    key: Any = None


class Info(NamedTuple):
    loss: Any


class Ones:
    """Data that are a row of ones."""

    def __init__(self, size):
        self.size = size

    def resident(self):
        return {"x": np.ones(self.size, np.float32)}

    def stream(self, replicas):
        raise NotImplementedError


def experiment(dispatch, size, **options):
    def init():
        return State(jnp.int32(0), jnp.float32(0))

    return Experiment(
        name="count", describe="counting", init=init, dispatch=dispatch, data=Ones(size), **options
    )


def group(backend, count):
    return Replicas.from_config(ParallelConfig(devices=count, backend=backend))


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_nothing_compiles_after_the_first_progress_line(backend):
    """Two runs, the second with other compilations warm, so that the step's own is left over."""
    compiled, said = [], []

    def heard(name, seconds, **more):
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(name)

    def progress(done, total, what):
        said.append((done, total, what, len(compiled)))

    def run():
        def steps(state, data):  # anew in each run, so that its program is not found in memory
            def one(state, _):
                loss = mean_over_replicas(data["x"].sum() + state.total, AXIS)
                return State(state.step + 1, state.total + 1), Info(loss)

            return jax.lax.scan(one, state, None, length=2)

        said.clear()
        counting = experiment(steps, 3, total=10, per_dispatch=2)
        return run_experiment(counting, group(backend, 4), progress=progress)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        run()
        final = run()
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
    assert int(final.total) == 10
    assert [line[:2] for line in said] == [
        (0, 10), (0, 0), (2, 10), (4, 10), (6, 10), (8, 10), (10, 10),
    ]  # fmt: skip
    assert "compiled in" in said[1][2]
    before, after, *_, last = (line[3] for line in said)
    assert after - before == 1
    assert last == after


def test_a_step_that_does_not_fit_is_refused_before_it_runs(monkeypatch):
    seen = []

    def step(state, data):
        jax.debug.callback(lambda: seen.append(1))
        big = jnp.sort(jnp.outer(jnp.arange(2000.0) + state.total, data["x"]), axis=0)
        return State(state.step + 1, state.total + 1), Info(
            (jnp.cos(big) @ data["x"])[None].sum(-1)
        )

    helps = ahead.memory_help("search", SearchConfig())
    sorting = experiment(step, 1000, total=1, per_dispatch=1, helps=helps)
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "available_bytes", lambda: 4 * 2**20)
        with pytest.raises(
            UserError, match=r"does not fit.*What helps: a smaller search\.batch_size"
        ):
            run_experiment(sorting, group("pmap", 2))
    assert not seen
    assert int(run_experiment(sorting, group("pmap", 2)).step) == 1
    assert seen
