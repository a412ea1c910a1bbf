"""REINFORCE against the gradient by hand, Adam by hand, and a policy that must improve."""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.search.strategies import Outlook, ReinforceSearch, Told, no_budget, run_strategy

MASK = np.array([[True, True, True], [True, False, True], [True, False, False]])


def softmax(logits):
    share = np.where(MASK, np.exp(logits - logits.max(axis=1, keepdims=True)), 0)
    return share / share.sum(axis=1, keepdims=True)


def told(score, excess=None):
    excess = np.zeros(len(score)) if excess is None else excess
    return Told(*(np.asarray(leaf, np.float32) for leaf in (score, excess, np.zeros(len(score)))))


def test_the_steps_are_those_by_hand():
    """Score-function gradient, moving baseline and Adam in numpy, in float64."""
    weight, momentum, rate = 0.2, 0.9, 0.05
    strategy = ReinforceSearch(rate, momentum, entropy=weight, each=2, penalty=0.5)
    tell = jax.jit(strategy.tell)
    state = strategy.init(jax.random.key(0), jnp.asarray(MASK))
    logits = np.asarray(state.logits, np.float64)
    mean, square = np.zeros((2, 3, 3))
    total, ones = 0.0, 0.0
    rng = np.random.default_rng(0)
    for step in range(1, 8):
        rows = np.stack([rng.integers(0, 3, 2), rng.choice([0, 2], 2), np.zeros(2, int)], axis=1)
        score, excess = rng.normal(size=2), rng.choice([0, 0.25, 7.0], 2)
        state = tell(state, jnp.asarray(rows, jnp.int32), told(score, excess))
        reward = score - 0.5 * np.minimum(excess, 1)
        total = momentum * total + (1 - momentum) * reward.mean()
        ones = momentum * ones + 1 - momentum
        share = softmax(logits)
        log_share = np.log(np.where(MASK, share, 1))
        chosen = np.eye(3)[rows]
        score_function = ((reward - total / ones)[:, None, None] * (chosen - share)).mean(axis=0)
        entropy = -(share * log_share).sum(axis=1, keepdims=True)
        uncertain = -share * (log_share + entropy) / 3
        gradient = -np.where(MASK, score_function + weight * uncertain, 0)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        logits = logits - rate * (mean / (1 - 0.9**step)) / (
            np.sqrt(square / (1 - 0.999**step)) + 1e-8
        )
        np.testing.assert_allclose(np.asarray(state.logits), logits, atol=2e-4)


def test_what_cannot_be_judged_counts_as_the_baseline_less_the_penalty():
    strategy = ReinforceSearch(each=1, penalty=0.3)
    tell = jax.jit(strategy.tell)
    start = strategy.init(jax.random.key(0), jnp.asarray(MASK))
    row = np.zeros((1, 3), np.int32)
    state = tell(start, row, told([0.8]))
    lost = tell(state, row, told([np.nan]))
    same = tell(state, row, told([0.8 - 0.3]))
    np.testing.assert_allclose(lost.logits, same.logits, rtol=1e-5)
    assert np.isfinite(np.asarray(tell(start, row, told([np.nan], [np.inf])).logits)).all()


def test_it_is_drawn_as_often_as_the_policy_says():
    strategy = ReinforceSearch(each=4000, tries=1)
    state = strategy.init(jax.random.key(0), jnp.asarray(MASK))
    logits = np.array([[1.0, 0.0, -1.0], [0.5, 9.0, 0.0], [0.0, 9.0, 9.0]], np.float32)
    asked = strategy.ask(state._replace(logits=logits), jax.random.key(1), no_budget)
    share = np.stack([np.bincount(column, minlength=3) for column in np.asarray(asked).T]) / 4000
    np.testing.assert_allclose(share, softmax(np.where(MASK, logits, -9)), atol=0.03)


def test_it_learns_to_choose_the_best_within_a_budget():
    """The best options together exceed the budget; without it they are what it ends on."""
    values = np.array([[0.0, 0.5, 1.0]] * 4, np.float32)
    mask = jnp.ones((4, 3), bool)

    def judge_under(limit):
        def ahead(rows):
            cost = rows.sum(axis=1).astype(jnp.float32)
            return Outlook(cost, jnp.maximum(cost / limit - 1, 0), cost, rows)

        def judge(rows, fidelity, key):
            score = jnp.asarray(values)[jnp.arange(4), rows].mean(axis=1)
            return Told(score, ahead(rows).excess, ahead(rows).cost), {}

        return judge

    strategy = ReinforceSearch(learning_rate=0.1, penalty=3.0)  # sees the limit in the reward alone

    def mean_cost(limit, key):
        asked = run_strategy(strategy, key, mask, judge_under(limit), 300)[1].architectures
        return asked[-50:].sum(axis=-1).mean()

    costs = jax.jit(jax.vmap(mean_cost, (0, None)))(jnp.array([100.0, 4.0]), jax.random.key(0))
    assert costs[0] > 7.5  # all four decisions at two
    assert 3.0 < costs[1] < 4.6
