"""Optuna's samplers as strategies: they learn, keep budgets, evolve and say what is missing."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.strategies import STRATEGIES, Outlook, Told, check_strategy, run_strategy
from hwnas_jax.search.strategies.optuna_study import (
    Decisions,
    further_suggestions,
    load_optuna,
    number_of_further,
    records_of,
    study_of,
)
from tests.search.strategies.test_nsga2 import plain_crowding, plain_fronts

DECISIONS, WIDTH, SEEDS, ROUNDS = 6, 4, 6, 40
MASK = np.ones((DECISIONS, WIDTH), bool)
MASK[0, 1] = MASK[5, 1:] = False  # one option is missing, and one decision has a single option

_RNG = np.random.default_rng(3)
WORTH = _RNG.normal(size=(DECISIONS, WIDTH)).astype(np.float32)
COST = _RNG.uniform(size=(DECISIONS, WIDTH)).astype(np.float32)


def added(table, rows):
    return jnp.asarray(table)[jnp.arange(DECISIONS), rows].sum(-1)


def tight(rows):
    """A budget that about a tenth of the architectures keep."""
    cost = added(COST, rows)
    ones = jnp.ones_like(cost)
    return Outlook(cost, jnp.maximum(cost / 2.6 - 1, 0), ones, rows.astype(jnp.float32))


def unlimited(rows):
    cost = added(COST, rows)
    return Outlook(cost, 0 * cost, 0 * cost + 1, rows.astype(jnp.float32))


def searched(name, budget, known_ahead=True, rounds=ROUNDS, **args):
    """Returns what every seed asked for and was told, `[S, R, ...]`."""
    strategy = STRATEGIES.make(Part(name, args))

    def judge(rows, fidelity, key):
        outlook = budget(rows)
        return Told(added(WORTH, rows), outlook.excess, outlook.cost), {}

    def run(key):
        ahead = budget if known_ahead else unlimited
        return run_strategy(strategy, key, jnp.asarray(MASK), judge, rounds, ahead)[1]

    found = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), SEEDS))
    return np.asarray(found.architectures)[:, :, 0], jax.tree.map(np.asarray, found.told)


@pytest.fixture(scope="module")
def tpe():
    """Searches by TPE that are told what is over the budget only after they asked for it."""
    pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    return searched("optuna_tpe", tight, known_ahead=False)


def best_within(told):
    """The best score within the budget that each seed found."""
    return np.where(told.excess[..., 0] <= 0, told.score[..., 0], -9.0).max(axis=1)


def test_tpe_beats_random_search(tpe):
    random = searched("random", tight, known_ahead=False)
    better = best_within(tpe[1]) > best_within(random[1])
    assert better.sum() >= 5
    # A random search that finds nothing within the budget counts as the worst within it.
    worst = WORTH.min(axis=1).sum()
    gained = best_within(tpe[1]) - np.maximum(best_within(random[1]), worst)
    assert gained.mean() > 1


def test_tpe_learns_which_architectures_keep_the_budget(tpe):
    keeps = tpe[1].excess[..., 0] <= 0
    assert keeps[:, :10].mean() < 0.3  # random ones
    assert keeps[:, 20:].mean() > 2 * keeps[:, :10].mean()


def test_nothing_is_asked_for_twice(tpe):
    for rows in tpe[0]:
        assert len({tuple(row) for row in rows[10:].tolist()}) == len(rows[10:])


def test_what_is_predicted_to_be_over_the_budget_is_not_asked_for():
    pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    _, told = searched("optuna_nsga2", tight, population=8, rounds=24)
    assert (told.excess[:, 8:] <= 0).mean() > 0.97


def some_told(count):
    """Architectures with scores and costs without ties, a few over the budget."""
    rng = np.random.default_rng(5)
    rows = np.stack([rng.integers(0, WIDTH, count) * (n < 5) for n in range(6)], axis=1)
    rows[:, 0] = rng.choice([0, 2, 3], count)
    excess = np.where(rng.random(count) < 0.2, rng.random(count), 0).astype(np.float32)
    score, cost = rng.permutation(count).astype(np.float32), rng.permutation(count)
    return rows.astype(np.int32), Told(score, excess, cost.astype(np.float32))


def test_nsga2_selects_by_fronts_and_crowding():
    """Optuna's selection against plain sorting, through a strategy that is told a generation."""
    pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    strategy = STRATEGIES.make(Part("optuna_nsga2", {"population": 12, "each": 12}))
    tell = jax.jit(strategy.tell)
    state = strategy.init(jax.random.key(0), jnp.asarray(MASK))
    rows, told = some_told(24)
    told.cost[3] = np.inf  # could not be judged, and is not chosen while there are others
    for part in (slice(0, 12), slice(12, 24)):
        state = tell(state, rows[part], jax.tree.map(lambda leaf, p=part: leaf[p], told))
    assert int(state.seen) == 24 and (np.asarray(state.architectures)[12:] == -1).all()

    judged = np.arange(24) != 3
    rows, told = rows[judged], jax.tree.map(lambda leaf: leaf[judged], told)
    fronts = plain_fronts(list(zip(told.score, told.excess, told.cost, strict=True)))
    apart = plain_crowding(np.stack([told.score, told.cost], axis=1), fronts)
    order = sorted(range(23), key=lambda number: (fronts[number], -apart[number]))
    wanted = sorted(rows[order[:12]].tolist())
    assert sorted(np.asarray(state.architectures)[:12].tolist()) == wanted


def test_nsga2_makes_children_of_its_parents():
    """Without mutation every decision of a child is one of its parents' decisions."""
    pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    strategy = STRATEGIES.make(Part("optuna_nsga2", {"population": 4, "mutation": 0.0}))
    rows = np.array([[0, 0, 0, 0, 0, 0], [2, 1, 1, 1, 1, 0]], np.int32)[[0, 1, 0, 1]]
    numbers = np.arange(4.0)
    every = np.ones(4, bool)
    records = records_of(rows, numbers, 0 * numbers, numbers, every, every)
    decisions = Decisions.of(MASK)
    study = study_of(decisions, records, strategy.sampler(1), 2)
    children, _ = further_suggestions(
        study, decisions, records, rows[0], 41, np.random.default_rng(0)
    )
    of_one = (children[:40, :5] == rows[0, :5]) | (children[:40, :5] == rows[1, :5])
    assert of_one.all()
    assert 1 < len({tuple(child) for child in children[:40].tolist()}) < 33
    # Then come changes of them in one, two and three decisions.
    distances = (children[40:, None] != children[None, :40]).sum(axis=2).min(axis=1)
    assert distances.max() <= 3 and len(children) == number_of_further(41)
    assert MASK[np.arange(DECISIONS), children].all()


def test_what_could_not_be_judged_is_not_learned_from_but_remembered():
    pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    rows, told = some_told(6)
    score, excess = told.score.copy(), told.excess.copy()
    score[1], excess[2] = np.nan, np.inf
    filled = np.arange(6) < 5
    records = records_of(rows, score, excess, told.cost, filled, np.ones(6, bool))
    assert records.architectures.tolist() == rows[[0, 3, 4]].tolist()
    assert records.other.tolist() == rows[[1, 2]].tolist()
    assert len(records.seen()) == len({tuple(row) for row in rows[:5].tolist()})
    study = study_of(Decisions.of(MASK), records, load_optuna().samplers.RandomSampler(), 1)
    assert [trial.value for trial in study.trials] == score[[0, 3, 4]].tolist()


@pytest.mark.parametrize("name", ["optuna_tpe", "optuna_nsga2", "optuna_gp"])
@pytest.mark.parametrize("missing", ["optuna", "torch"])
def test_a_missing_package_is_told(name, missing, monkeypatch):
    if missing == "torch":
        pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    monkeypatch.setitem(sys.modules, missing, None)
    load_optuna.cache_clear()
    strategy = STRATEGIES.make(Part(name))  # which needs no package
    try:
        if missing == "torch" and name != "optuna_gp":
            strategy.check(MASK)
            return
        with pytest.raises(UserError, match=rf"{missing}.*pip install 'hwnas_jax\[blackbox\]'"):
            check_strategy(strategy, MASK)
    finally:
        load_optuna.cache_clear()
