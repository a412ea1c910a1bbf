"""Local search against a plain climb on a table that can be enumerated."""

import functools
import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.evolution import climb
from hwnas_jax.search.strategies import LocalSearch, Outlook, Told, quick_keys, run_strategy

MASK = np.ones((5, 4), bool)
MASK[1, 2] = MASK[3, 0] = False
EVERY = [
    cell for cell in itertools.product(range(4), repeat=5) if MASK[np.arange(5), list(cell)].all()
]
_RNG = np.random.default_rng(3)
SCORES = _RNG.normal(size=(4,) * 5).astype(np.float32)
COSTS = _RNG.uniform(size=(4,) * 5).astype(np.float32)
STARTS, ROUNDS = 3, 90


def neighbours(cell):
    return {c for c in EVERY if sum(a != b for a, b in zip(c, cell, strict=True)) == 1}


@functools.cache
def searched(limit):
    """Returns what two searches asked for, in order, under a limit on the cost."""

    def ahead(rows):
        cost = jnp.asarray(COSTS)[tuple(rows.T)]
        return Outlook(cost, jnp.maximum(cost / limit - 1, 0), cost, rows)

    def judge(rows, fidelity, key):
        outlook = ahead(rows)
        return Told(jnp.asarray(SCORES)[tuple(rows.T)], outlook.excess, outlook.cost), {}

    strategy = LocalSearch(starts=STARTS)
    mask = jnp.asarray(MASK)
    run = jax.vmap(lambda key: run_strategy(strategy, key, mask, judge, ROUNDS, ahead)[1])
    asked = jax.jit(run)(jax.random.split(jax.random.key(0), 2)).architectures
    return [[tuple(row) for row in rows] for rows in np.asarray(asked)[:, :, 0].tolist()]


@pytest.mark.parametrize("limit", [10.0, 0.6])
def test_every_request_is_what_a_plain_climb_may_ask(limit):
    """Follows the answers by hand; what is asked must be a start or a promising neighbour."""
    moved = climbs = 0
    for asked in searched(limit):
        centre, height, known, starts = None, (-np.inf, -np.inf), set(), STARTS
        for cell in asked:
            assert cell in EVERY
            over = max(float(COSTS[cell]) / limit - 1, 0)
            rank = (-over, float(SCORES[cell]))
            left = set()
            if centre is not None and not starts:
                left = {n for n in neighbours(centre) - known if COSTS[n] / limit - 1 <= -height[0]}
            if left:
                assert cell in left, "asks for no promising neighbour that is not known"
                if rank > height:
                    shared = (neighbours(centre) & neighbours(cell) & known) | {centre}
                    centre, height, known = cell, rank, shared
                    moved += 1
                else:
                    known.add(cell)
                continue
            if not starts:
                climbs += 1
                starts, height = STARTS, (-np.inf, -np.inf)
                distance = sum(a != b for a, b in zip(cell, centre, strict=True))
                assert distance > 1, "a new climb begins beside the old one"
            starts -= 1
            if rank > height:
                centre, height, known = cell, rank, set()
    assert moved > 5 and climbs > 2


def test_it_finds_what_a_plain_program_finds():
    """300 seeds each; the difference is held against its standard error."""
    evaluations, seeds = 60, 300
    widths = SCORES.shape

    def scores(key):
        def judge(rows, fidelity, key):
            score = jnp.asarray(SCORES)[tuple(rows.T)]
            return Told(score, *[jnp.zeros_like(score)] * 2), {}

        strategy = LocalSearch(starts=STARTS, tries=1)
        mask = jnp.ones((5, 4), bool)
        return run_strategy(strategy, key, mask, judge, evaluations)[1].told.score

    ours = np.asarray(jax.jit(jax.vmap(scores))(quick_keys(0, seeds)))[..., 0]
    plain = np.array([
        climb(random.Random(seed), widths, lambda a: SCORES[a], evaluations, starts=STARTS)[1]
        for seed in range(seeds)
    ])  # fmt: skip
    for measure in (lambda s: s.max(axis=1), lambda s: s.mean(axis=1)):
        one, other = measure(ours), measure(plain)
        error = np.hypot(one.std(), other.std()) / np.sqrt(seeds)
        assert abs(one.mean() - other.mean()) < 3 * error
    assert plain.max(axis=1).mean() > plain[:, :STARTS].max(axis=1).mean() + SCORES.std()


def test_the_best_is_a_local_optimum():
    optima = {c for c in EVERY if all(SCORES[n] <= SCORES[c] for n in neighbours(c))}
    assert len(optima) < len(EVERY) / 8
    for asked in searched(10.0):
        assert max(asked, key=lambda cell: SCORES[cell]) in optima
