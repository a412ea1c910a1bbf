"""What every strategy must keep, whatever it does inside."""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.search.strategies import (
    Outlook,
    Strategy,
    Told,
    best_so_far,
    check_strategy,
    run_strategy,
)

# Decisions of two to four options; one option of the first is switched off, and one decision has
# none left to choose from.
MASK = np.array(
    [
        [True, False, True, True],
        [True, True, False, False],
        [False, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]
)
ROUNDS, SEEDS = 24, 3
_RNG = np.random.default_rng(0)
SCORES = _RNG.normal(size=MASK.shape).astype(np.float32)
COSTS = _RNG.uniform(size=MASK.shape).astype(np.float32)
LIMIT = 2.4


def ahead(architectures):
    """Adds up a cost for every option; by its uncertainty all keep the limit as likely as not."""
    cost = jnp.asarray(COSTS)[jnp.arange(len(MASK)), architectures].sum(-1)
    features = jax.nn.one_hot(architectures, MASK.shape[1]).reshape(len(architectures), -1)
    return Outlook(cost, jnp.maximum(cost / LIMIT - 1, 0), jnp.full_like(cost, 0.5), features)


def judge(architectures, fidelity, key):
    """Adds up a score for every option, less at a lower fidelity; the key changes nothing."""
    del key
    score = jnp.asarray(SCORES)[jnp.arange(len(MASK)), architectures].sum(-1)
    outlook = ahead(architectures)
    cost = outlook.cost
    return Told(score - 0.1 * fidelity, outlook.excess, cost), {"cost": cost}


def check_contract(strategy: Strategy) -> None:
    """Raises UserError or AssertionError, with words, when a strategy breaks its contract."""
    check_strategy(strategy, MASK)
    keys = [jax.random.key(seed) for seed in range(SEEDS)]

    def run(key, mask):
        history = run_strategy(strategy, key, mask, judge, ROUNDS, ahead)[1]
        return history, best_so_far(history)

    alone = jax.jit(run)
    one_by_one = [alone(key, MASK) for key in keys]
    together = jax.jit(jax.vmap(run, (0, None)))(jnp.stack(keys), MASK)
    again = alone(keys[0], MASK)

    asked = np.stack([history.architectures for history, _ in one_by_one])
    inside = MASK[np.arange(len(MASK)), asked.clip(0, MASK.shape[1] - 1)]
    inside &= (asked >= 0) & (asked < MASK.shape[1])
    assert inside.all(), "asks for an option outside the mask"
    for number in range(SEEDS):
        same = jax.tree.map(lambda leaf, n=number: leaf[n], together)
        _assert_equal(one_by_one[number], same, "runs otherwise under vmap")
    _assert_equal(one_by_one[0], again, "gives two results for one key")
    assert (asked[0] != asked[1]).any(), "asks for the same whatever the key"

    for history, best in one_by_one:
        score = np.asarray(history.told.score).reshape(-1)
        meets = np.asarray(history.told.excess).reshape(-1) == 0
        assert meets.any(), "finds nothing within a budget that most architectures meet"
        level = np.asarray(history.fidelity).reshape(-1)
        assert (level >= 0).all() and (level < strategy.fidelities).all(), "an unknown fidelity"
        # Within the budget the higher fidelity is better, then the higher score.
        kept = [n for n in range(len(score)) if meets[n]]
        for number in range(kept[0], len(score)):
            known = [n for n in kept if n <= number]
            top = max(known, key=lambda n: (-level[n], score[n]))
            assert best.told.score[number] == score[top], "loses the best"
        # The architecture and the metrics are those of that score.
        told, metrics = judge(best.architectures, best.fidelity, None)
        np.testing.assert_allclose(told.score, best.told.score, rtol=1e-5)
        np.testing.assert_allclose(metrics["cost"], best.metrics["cost"], rtol=1e-5)


def _assert_equal(one, other, message):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs), message
