"""What processes share in a storage of Optuna: nothing is lost, and each sees the others."""

import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.strategies import STRATEGIES, Told, no_budget, run_strategy
from hwnas_jax.search.strategies.optuna_storage import SharedStudy
from hwnas_jax.search.strategies.optuna_study import Decisions, records_of

optuna = pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")

ROOT = Path(__file__).resolve().parents[3]
MASK = np.ones((4, 5), bool)
DECISIONS = Decisions.of(MASK)
STATES = optuna.trial.TrialState


def told(rows, score=None):
    """The records of architectures within the budget."""
    rows = np.asarray(rows, np.int32)
    score = rows.sum(axis=1) * 1.0 if score is None else np.asarray(score)
    every = np.ones(len(rows), bool)
    return records_of(rows, score, 0.25 * rows[:, 0], 2.0 * rows[:, 1], every, every)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_one_process_reads_what_another_wrote(kind, tmp_path):
    storage = {"journal": f"{tmp_path}/shared.log", "sqlite": f"sqlite:///{tmp_path}/shared.db"}
    one, other = (SharedStudy(storage[kind], "toy", 2) for _ in range(2))
    rows = np.array([[0, 1, 2, 3], [4, 0, 0, 0], [1, 1, 1, 1]], np.int32)
    one.claim(DECISIONS, rows)
    seen = other.records(DECISIONS)
    assert seen.running.tolist() == rows.tolist() and len(seen.score) == 0

    one.record(DECISIONS, told(rows[[1, 0, 2]], [5.0, 6.0, np.nan]))
    seen = other.records(DECISIONS)
    assert seen.architectures.tolist() == rows[[1, 0]].tolist()  # in the order of finishing
    assert seen.score.tolist() == [5.0, 6.0]
    assert seen.excess.tolist() == [1.0, 0.0] and seen.cost.tolist() == [0.0, 2.0]
    assert seen.other.tolist() == rows[[2]].tolist() and len(seen.running) == 0
    assert [trial.values for trial in other.study.trials] == [[6.0, 2.0], [5.0, 0.0], None]


def test_claims_that_are_not_told_are_given_up(tmp_path):
    """A run may begin with networks of its own in place of those that were suggested."""
    study = SharedStudy(str(tmp_path / "shared.log"), "toy", 1)
    study.claim(DECISIONS, np.array([[0, 0, 0, 0]], np.int32))
    study.record(DECISIONS, told([[1, 2, 3, 4]]))
    seen = study.records(DECISIONS)
    assert seen.architectures.tolist() == [[1, 2, 3, 4]]
    assert len(seen.running) == len(seen.other) == 0
    assert [trial.state for trial in study.study.trials] == [STATES.FAIL, STATES.COMPLETE]


ROWS = 16


def take_part(storage: str, first: int) -> list[int]:
    """Waits for another process and writes `ROWS` architectures as fast as it can.

    Returns how many trials it saw in the end, and how many of them are the other's.
    """
    study, others = SharedStudy(storage, "toy", 1), 0
    study.claim(DECISIONS, np.array([[first, 4, 4, 4]], np.int32))
    while not others:  # until it has begun
        others = (study.records(DECISIONS).running[:, 0] != first).sum()
        time.sleep(0.02)
    study.record(DECISIONS, told([[first, 4, 4, 4]]))
    for row in rows_of(first):
        study.claim(DECISIONS, np.array([row], np.int32))
        study.record(DECISIONS, told([row]))
    found = study.records(DECISIONS)
    study.claim(DECISIONS, np.array([[first, 3, 3, 3]], np.int32))  # never told
    return [len(found.score), int((found.architectures[:, 0] != first).sum())]


def rows_of(first):
    return [[first, number // 5, number % 5, 0] for number in range(ROWS)]


def test_nothing_is_lost_when_two_processes_write_at_once(tmp_path):
    storage = str(tmp_path / "shared.log")
    code = f"import {__name__} as own; print(*own.take_part({storage!r}, 0))"
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    ends = [take_part(storage, 1), list(map(int, worker.communicate(timeout=300)[0].split()))]
    assert worker.returncode == 0
    assert all(others >= 1 for _, others in ends)
    assert max(seen for seen, _ in ends) == 2 * ROWS + 2  # by the one that finished last
    study = SharedStudy(storage, "toy", 1)
    found = study.records(DECISIONS)
    wanted = [*rows_of(0), *rows_of(1), [0, 4, 4, 4], [1, 4, 4, 4]]
    assert sorted(found.architectures.tolist()) == sorted(wanted)
    assert found.score.tolist() == found.architectures.sum(axis=1).tolist()
    # What the process that has ended was evaluating is given up; this one still runs.
    assert found.running.tolist() == [[1, 3, 3, 3]]
    assert [trial.state for trial in study.study.trials].count(STATES.FAIL) == 1


@pytest.mark.parametrize("name", ["optuna_tpe", "optuna_nsga2"])
def test_two_searches_share_what_they_are_told(name, tmp_path):
    args = {"storage": str(tmp_path / "shared.log"), "study": "toy"}
    args |= {"optuna_tpe": {"initial": 4}, "optuna_nsga2": {"population": 4, "each": 2}}[name]
    strategy = STRATEGIES.make(Part(name, args))
    assert not strategy.reproducible and strategy.named("of this name") == strategy

    def judge(rows, fidelity, key):
        score = rows.sum(axis=1).astype(jnp.float32)
        return Told(score, jnp.zeros_like(score), 4.0 - rows[:, 0]), {}

    @jax.jit
    def run(key):
        return run_strategy(strategy, key, jnp.asarray(MASK), judge, 6, no_budget)[1]

    asked = [np.asarray(run(jax.random.key(0)).architectures).reshape(-1, 4) for _ in range(2)]
    assert asked[0].tolist() != asked[1].tolist()
    found = strategy.shared.records(DECISIONS)
    assert sorted(found.architectures.tolist()) == sorted(np.concatenate(asked).tolist())
    assert len(found.seen()) == len(found.score)  # the second asks for nothing that the first did
    assert found.cost.tolist() == (4.0 - found.architectures[:, 0]).tolist()
    if name == "optuna_nsga2":
        parents = strategy.learned_from(found, DECISIONS)
        assert len(parents.score) == 4 and len(parents.seen()) == len(found.score)
        # Score and cost agree here, so that the best is a parent, however old it is.
        assert parents.score.max() == found.score.max()


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("nowhere/shared.log", r"storage = 'nowhere/shared.log' must be the path of a file"),
        (".", r"storage = '.' must be the path of a file in a folder that exists"),
        ("nosql://host/name", r"storage = 'nosql://host/name' cannot be used.*nosql"),
    ],
)
def test_a_storage_that_cannot_be_used_is_told(storage, said):
    with pytest.raises(UserError, match=said):
        STRATEGIES.make(Part("optuna_tpe", {"storage": storage})).check(MASK)


def test_a_study_of_another_search_is_told(tmp_path):
    storage = str(tmp_path / "shared.log")
    make = {"storage": storage, "study": "toy"}
    tpe = STRATEGIES.make(Part("optuna_tpe", make))
    tpe.check(MASK)
    assert optuna.get_all_study_names(tpe.shared._opened()) == []  # to look makes nothing
    tpe.shared.claim(DECISIONS, np.zeros((1, 4), np.int32))
    tpe.shared.record(DECISIONS, told([[0, 0, 0, 0]]))
    tpe.check(MASK)
    with pytest.raises(UserError, match=r"'toy'.*is of a space with other decisions.*option study"):
        tpe.check(MASK[:, :3])
    with pytest.raises(UserError, match=r"'toy'.*is to maximize, as another strategy needs it"):
        STRATEGIES.make(Part("optuna_nsga2", make)).check(MASK)
    assert STRATEGIES.make(Part("optuna_tpe", {"storage": storage})).named("s").study == (
        "optuna_tpe s"
    )
