"""What learning searches remember and choose, against plain Python."""

import collections

import jax
import numpy as np
import scipy

from hwnas_jax.search.strategies import Told
from hwnas_jax.search.strategies.memory import (
    empty_memory,
    fittest,
    most_promising,
    normal_scores,
    remembered,
)

MASK = np.ones((3, 9), bool)
_REMEMBER = jax.jit(remembered)


def filled(rng, rounds, each=2, places=5):
    """Returns the memory after some rounds and, in a plain queue, what it has to hold."""
    state, plain = empty_memory(MASK, places), collections.deque(maxlen=places)
    for _ in range(rounds):
        rows = rng.integers(0, 9, (each, 3)).astype(np.int32)
        score = rng.normal(size=each).astype(np.float32)
        excess = rng.choice([0.0, 0.5, np.inf], each).astype(np.float32)
        state = _REMEMBER(state, rows, Told(score, excess, np.zeros(each, np.float32)))
        plain.extend(zip(map(tuple, rows.tolist()), score.tolist(), excess.tolist(), strict=True))
    return state, list(plain)


def test_the_last_are_remembered():
    rng = np.random.default_rng(0)
    for rounds in range(6):
        state, plain = filled(rng, rounds)
        held = np.asarray(state.filled)
        rows = zip(
            map(tuple, np.asarray(state.architectures)[held].tolist()),
            np.asarray(state.told.score)[held].tolist(),
            np.asarray(state.told.excess)[held].tolist(),
            strict=True,
        )
        assert sorted(rows) == sorted(plain)
        assert int(state.known.sum()) == sum(np.isfinite(excess) for *_, excess in plain)


def test_the_fittest_come_first_and_the_best_stands_in():
    rng = np.random.default_rng(2)
    choose = jax.jit(fittest, static_argnums=1)
    numbers = set()
    for rounds in [1, 2, 4] * 5:
        state, plain = filled(rng, rounds)
        ranked = [one for one in plain if np.isfinite(one[2])]
        ranked.sort(key=lambda one: (one[2] > 0, one[2], -one[1]))
        numbers.add(len(ranked))
        if not ranked:
            continue
        expected = (ranked + ranked[:1] * 4)[:4]
        rows = np.asarray(state.architectures)[choose(state, 4)]
        # Outside the budget those of equal excess are equally good.
        kept = sum(one[2] == 0 for one in ranked[:4]) or 1
        assert rows[:kept].tolist() == [list(one[0]) for one in expected[:kept]]
        assert rows[len(ranked) :].tolist() == [list(ranked[0][0])] * max(4 - len(ranked), 0)
    assert {1, 2, 4} <= numbers


def test_normal_scores_are_quantiles_of_ranks():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, 30).astype(np.float32)
    known = rng.uniform(size=30) < 0.7
    ranks = scipy.stats.rankdata(values[known])
    expected = scipy.stats.norm.ppf((ranks - 0.375) / (known.sum() + 0.25))
    found = np.asarray(jax.jit(normal_scores)(values, known))
    np.testing.assert_allclose(found[known], expected, atol=1e-4)
    assert (found[~known] == 0).all()


def test_the_most_promising_are_new_and_within_the_budget():
    """Against a sorted list, in which every set of features stands once."""
    rng = np.random.default_rng(4)
    choose = jax.jit(most_promising, static_argnums=5)
    for _ in range(30):
        value = rng.normal(size=40).astype(np.float32)
        excess = rng.choice([0.0, 0.2, 0.7, np.inf], 40, p=[0.2, 0.3, 0.2, 0.3])
        features = rng.integers(0, 4, (40, 2)).astype(np.float32)
        excess = np.float32(excess)
        asked = rng.integers(0, 4, (12, 2)).astype(np.float32)
        held = rng.uniform(size=12) < 0.6
        before = {tuple(row) for row in asked[held]}

        def order(place, excess=excess, value=value, features=features, before=before):
            member = np.isfinite(excess[place])
            fresh = tuple(features[place]) not in before
            outside = excess[place] if excess[place] > 0 else 0.0
            return (not member, not fresh, outside, -value[place] if not outside else place)

        expected, seen = [], set()
        for place in sorted(range(40), key=order):
            if np.isfinite(excess[place]) and tuple(features[place]) not in before | seen:
                expected.append(place)
            seen.add(tuple(features[place]))
        count = min(len(expected), 6)
        found = np.asarray(choose(value, excess, features, asked, held, 6)).tolist()
        assert found[:count] == expected[:count]


def test_a_value_that_is_no_number_comes_last():
    value = np.float32([np.nan, -1, -2, np.inf])
    rows = np.arange(4, dtype=np.float32)[:, None]
    choose = jax.jit(most_promising, static_argnums=5)
    found = choose(value, np.zeros(4, np.float32), rows, rows[:2], np.zeros(2, bool), 4)
    assert found.tolist() == [3, 1, 2, 0]
