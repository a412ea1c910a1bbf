"""The loop: log lines, resuming, divergence, stops."""

import json
import os
import signal
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.parallel.progress import StopRequest
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.loop import MetricsLog, run_steps, steps_per_dispatch


class State(NamedTuple):
    step: Any
    total: Any


class Info(NamedTuple):
    loss: Any


REPLICAS = Replicas((jax.local_devices()[0],))


def dispatch(state, data):
    def one(state, _):
        loss = jnp.where(state.step == data["bad"], jnp.nan, state.step.astype(jnp.float32))
        return State(state.step + 1, state.total + state.step), Info(loss)

    return jax.lax.scan(one, state, None, length=5)


def run(folder, bad=-1, progress=lambda *_: None, **options):
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        return run_steps(
            REPLICAS.compile(dispatch), State(jnp.int32(0), jnp.int32(0)),
            REPLICAS.share({"bad": jnp.int32(bad)}),
            total=20, per_dispatch=5, replicas=REPLICAS, describe="counting",
            checkpoints=checkpoints, checkpoint_every=5,
            log=MetricsLog(folder / "metrics.jsonl", stage="count"), progress=progress, **options,
        )  # fmt: skip
    finally:
        checkpoints.close()


def lines(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_runs_to_the_end_with_one_line_a_dispatch(tmp_path):
    assert int(run(tmp_path).total) == sum(range(20))
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]
    assert lines(tmp_path)[1]["loss"] == pytest.approx(7.0)


def test_nan_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"nan at step 13; the last good checkpoint is step 10"):
        run(tmp_path, bad=12)
    assert int(run(tmp_path).total) == sum(range(20))


def test_a_signal_saves_and_a_second_run_continues(tmp_path):
    def progress(done, total, what):
        if done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with StopRequest.listening(), pytest.raises(Interrupted, match="step 10 of 20") as stop:
        run(tmp_path, progress=progress)
    assert stop.value.signum == signal.SIGTERM
    started = []
    final = run(tmp_path, progress=lambda done, *_: started.append(done))
    assert int(final.total) == sum(range(20))
    assert started[0] == 10
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]


def test_resuming_earlier_forgets_later_lines_and_a_cut_one(tmp_path):
    run(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "count", "st')
    run(tmp_path, from_step=10)
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]


@pytest.mark.parametrize(("total", "wanted", "size"), [(100, 30, 25), (97, 50, 1), (10, 50, 10)])
def test_calls_divide_the_steps(total, wanted, size):
    assert steps_per_dispatch(total, wanted) == size
