"""The loop: log lines, resuming, divergence, stops."""

import dataclasses
import json
import math
import os
import signal
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.parallel.base import Experiment, steps_per_dispatch
from hwnas_jax.parallel.progress import StopRequest, quiet
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs import loop
from hwnas_jax.runs.loop import MetricsLog, run_experiment


class State(NamedTuple):
    step: Any
    key: Any
    total: Any


class Info(NamedTuple):
    loss: Any


def dispatch(state, data):
    def one(state, _):
        loss = jnp.where(state.step == data["bad"], jnp.nan, state.step.astype(jnp.float32))
        total = state.total + state.step + jnp.sum(data.get("more", jnp.int32(0)))
        return State(state.step + 1, state.key, total), Info(loss)

    return jax.lax.scan(one, state, None, length=5)


@dataclasses.dataclass(frozen=True)
class Resident:
    arrays: Any

    def resident(self):
        return self.arrays

    def stream(self, replicas):
        raise AssertionError


def counting(bad=-1, **changes):
    """Returns an experiment that adds up the numbers from 0 to 19."""
    own = {
        "name": "count", "describe": "counting", "dispatch": dispatch,
        "init": lambda: State(jnp.int32(0), jax.random.key(0), jnp.int32(0)),
        "data": Resident({"bad": jnp.int32(bad)}), "total": 20, "per_dispatch": 5,
        "checkpoint_every": 5, "log": {"stage": "count"},
    }  # fmt: skip
    return Experiment(**{**own, **changes})


def run(folder, *, from_step=None, progress=quiet, **changes):
    place = Replicas((jax.local_devices()[0],))
    return run_experiment(
        counting(**changes), place, folder=folder, from_step=from_step, progress=progress
    )


def kept(folder):
    """Returns the steps that have a checkpoint."""
    names = (path.name for path in (folder / "checkpoints" / "count").iterdir())
    return sorted(int(name) for name in names if name.isdecimal())


def lines(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_runs_to_the_end_with_one_line_a_dispatch(tmp_path):
    final = run(tmp_path, extra=lambda state: {"so_far": int(state.total)})
    assert int(final.total) == sum(range(20))
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]
    assert lines(tmp_path)[1]["loss"] == pytest.approx(7.0)
    assert [line["so_far"] for line in lines(tmp_path)] == [10, 45, 105, 190]
    assert {line["stage"] for line in lines(tmp_path)} == {"count"}


def test_checkpoints_are_as_often_as_asked_and_the_newest_are_kept(tmp_path):
    run(tmp_path / "all", keep=9)
    assert kept(tmp_path / "all") == [5, 10, 15, 20]
    run(tmp_path / "few", checkpoint_every=7)  # rounded up to whole calls of five steps
    assert kept(tmp_path / "few") == [10, 20]
    run(tmp_path / "last", keep=1)
    assert kept(tmp_path / "last") == [20]
    assert int(run(None).total) == sum(range(20))


def test_a_finished_experiment_runs_no_further_step(tmp_path):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert int(run(tmp_path, bad=3).total) == sum(range(20))
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_an_experiment_may_begin_in_the_middle(tmp_path):
    """As a search does that takes over from a shared warm-up."""
    begun = State(jnp.int32(10), jax.random.key(0), jnp.int32(sum(range(10))))
    assert int(run(tmp_path, init=lambda: begun, start=10).total) == sum(range(20))
    assert [line["step"] for line in lines(tmp_path)] == [15, 20]


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
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "other", "step": 99}\n')
    run(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "count", "st')
    run(tmp_path, from_step=10)
    steps = [(line["stage"], line["step"]) for line in lines(tmp_path)]
    assert steps == [("other", 99), *(("count", step) for step in (5, 10, 15, 20))]


def test_a_log_without_a_file_has_nothing_to_rewind(tmp_path):
    MetricsLog(tmp_path / "metrics.jsonl").rewind(3)
    assert not list(tmp_path.iterdir())


def test_what_is_no_line_of_a_log_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, stage="count")
    log.write(step=1, loss=math.nan)
    log.write(step=2)
    good = path.read_bytes()
    other = b'{"stage": "other", "step": 9}\n'
    bad = (b"5", b"null", b"\xff", b"[" * 9999, b'{"stage": "count"}', b'{"stage": "count", "step"',
           b'{"stage": "count", "step": "1"}', b'{"step": 1, "step": 1}', b"\x00" * 40)  # fmt: skip
    path.write_bytes(b"\n".join(bad) + b"\n" + good + other + bad[0])
    log.rewind(1)
    assert path.read_bytes() == good.splitlines(keepends=True)[0] + other
    assert json.loads(good.splitlines()[0]) == {"stage": "count", "step": 1, "loss": None}


def test_a_log_that_is_a_link_is_refused(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(mine)
    with pytest.raises(UserError, match=r"metrics\.jsonl is a symbolic link"):
        MetricsLog(tmp_path / "metrics.jsonl").write(step=1)
    assert mine.read_text() == "mine"


def test_parts_have_lines_of_their_own(tmp_path):
    def two(state, data):
        ends = [dispatch(State(state.step, state.key, state.total[i]), data) for i in range(2)]
        totals = jnp.stack([end.total for end, _ in ends])
        infos = Info(jnp.stack([ends[0][1].loss, 2 * ends[1][1].loss]))
        return State(ends[0][0].step, state.key, totals), infos

    def parts(tree):
        whole = lambda i: lambda leaf: leaf[i] if leaf.ndim else leaf  # noqa: E731
        return {name: jax.tree.map(whole(i), tree) for i, name in enumerate(("one", "two"))}

    begun = State(jnp.int32(0), jax.random.key(0), jnp.zeros(2, jnp.int32))
    run(
        tmp_path, dispatch=two, init=lambda: begun, parts=parts,
        extra=lambda part: {"so_far": int(part.total)},
    )  # fmt: skip
    seen = [(line["member"], line["step"], line["loss"]) for line in lines(tmp_path)]
    assert seen[:4] == [("one", 5, 2.0), ("two", 5, 4.0), ("one", 10, 7.0), ("two", 10, 14.0)]
    with pytest.raises(UserError, match=r"counting one: loss is nan at step 13"):
        run(tmp_path / "bad", bad=12, dispatch=two, init=lambda: begun, parts=parts)


def test_inputs_are_asked_for_before_every_call_and_compiled_by_their_shapes(tmp_path, monkeypatch):
    compiled, compile_ahead = [], loop.compile_ahead

    def count(*args):
        compiled.append(args[3])
        return compile_ahead(*args)

    monkeypatch.setattr(loop, "compile_ahead", count)
    asked, small, large = [], jnp.zeros(1, jnp.int32), jnp.ones(2, jnp.int32)

    def inputs(step, read_state):
        asked.append((step, int(read_state().total)))
        return {"more": small if step < 10 else large}

    final = run(tmp_path, inputs=inputs)
    assert asked == [(0, 0), (5, 10), (10, 45), (15, 45 + sum(range(10, 15)) + 5 * 2)]
    assert int(final.total) == sum(range(20)) + 10 * 2
    assert len(compiled) == 2


def test_a_step_that_does_not_fit_is_refused_before_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("hwnas_jax.compile.ahead.available_bytes", lambda: 10)
    with pytest.raises(UserError, match=r"counting does not fit: .* What helps: fewer numbers"):
        run(tmp_path, helps="fewer numbers")
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(("total", "wanted", "size"), [(100, 30, 25), (97, 50, 1), (10, 50, 10)])
def test_calls_divide_the_steps(total, wanted, size):
    assert steps_per_dispatch(total, wanted) == size


def test_processes_wait_for_each_other_before_every_call(tmp_path, monkeypatch):
    """One that compiles for minutes must not leave the others in a collective."""
    happened = []
    compile_ahead = loop.compile_ahead

    def compiled(*args):
        program = compile_ahead(*args)

        def call(*given):
            happened.append("call")
            return program.call(*given)

        happened.append("compiled")
        return dataclasses.replace(program, call=call)

    def exchange(value, idle=None):
        happened.append("met")
        return [value]

    monkeypatch.setattr(loop, "compile_ahead", compiled)
    monkeypatch.setattr("hwnas_jax.parallel.distributed.exchange", exchange)
    small, large = jnp.zeros(1, jnp.int32), jnp.ones(2, jnp.int32)
    run(tmp_path, inputs=lambda step, _: {"more": small if step < 10 else large})
    assert happened.count("call") == 4 and happened.count("compiled") == 2
    calls = [number for number, what in enumerate(happened) if what == "call"]
    assert {happened[number - 1] for number in calls} == {"met"}
