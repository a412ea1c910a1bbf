"""What a run goes on from: its checkpoints, and the log that is cut to the last of them."""

import json
import shutil

import numpy as np
from hypothesis import strategies as st

from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.loop import MetricsLog
from tests.fuzz.damage import damaged_bytes, damaged_json
from tests.fuzz.judge import judge
from tests.fuzz.test_own_data import changes_of, make_changes

STATES = {step: {"weights": np.arange(6.0) * step, "count": np.int32(step)} for step in (4, 8)}


def test_a_damaged_checkpoint_is_passed_over_or_refused(tmp_path, attack):
    good, bad = tmp_path / "good", tmp_path / "bad"
    checkpoints = Checkpoints(good)
    for step, state in STATES.items():
        checkpoints.save(step, state)
    checkpoints.close()

    def check(changes):
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        make_changes(bad, changes)

        def call():
            opened = Checkpoints(bad)
            try:
                return opened.restore(STATES[8])
            finally:
                opened.close()

        def right(found):
            if found is not None:
                step, state = found
                for name, array in STATES[step].items():
                    np.testing.assert_array_equal(state[name], array)

        judge("run folder: checkpoints", call, right)

    attack(changes_of(good), check, examples=12)


@st.composite
def logs(draw):
    """Lines of two networks, one of them damaged."""
    rows = [{"stage": "retrain", "network": name, "step": step, "loss": 0.5}
            for step in (5, 10, 15) for name in ("a", "b")]  # fmt: skip
    lines = [json.dumps(row).encode() for row in rows]
    number = draw(st.integers(0, len(rows) - 1))
    lines[number] = draw(damaged_json(rows[number]) | damaged_bytes(lines[number]))
    return b"\n".join(lines) + b"\n" * draw(st.integers(0, 1))


def test_a_log_keeps_what_is_before_the_checkpoint(tmp_path, attack):
    path = tmp_path / "metrics.jsonl"

    def check(content):
        path.write_bytes(content)

        def right(_):
            given, kept = content.splitlines(), path.read_bytes().splitlines()
            assert all(line in given for line in kept)
            for line in kept:
                row = json.loads(line)
                assert row.get("network") != "a" or row["step"] <= 10, row
            for name, step in (("b", 5), ("b", 10), ("b", 15), ("a", 5), ("a", 10)):
                line = json.dumps({"stage": "retrain", "network": name, "step": step, "loss": 0.5})
                assert given.count(line.encode()) == kept.count(line.encode()), line

        judge("run folder: log", lambda: MetricsLog(path, network="a").rewind(10), right)

    attack(logs(), check, examples=60)
