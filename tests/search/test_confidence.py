"""A budget kept with a confidence: by the search, its candidates, chance, and a sweep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hwnas_jax.search.derive import confirm
from hwnas_jax.search.objective import Target
from hwnas_jax.search.population import make_members, search_population
from hwnas_jax.search.stage import search_architecture

from hwnas_jax.config import Config, TargetConfig, override
from hwnas_jax.cost import Sample
from hwnas_jax.errors import UserError
from hwnas_jax.search.candidates import Candidate, cost_range, resolve_target, within_budget
from tests.search.dense import SPACE, DenseModel, images

COSTS, ERRORS = np.array([0.0, 0.5, 2.0]), np.array([0.0, 0.05, 0.3])
# Quantiles of the standard normal distribution, from tables.
Z = {None: 0.0, 0.8: 0.8416212, 0.9: 1.2815516, 0.99: 2.3263479}


@jax.tree_util.register_static
class Known(DenseModel):
    """`DenseModel` with a deviation that grows with the widths."""

    exact_expectation = True

    def std(self, weight):
        return {"latency_ms": 0.1 + (weight * jnp.array(ERRORS, jnp.float32)).sum()}


EVERY = list(itertools.product(range(3), repeat=3))
MEAN = {cell: 1.0 + COSTS[list(cell)].sum() for cell in EVERY}
STD = {cell: 0.1 + ERRORS[list(cell)].sum() for cell in EVERY}
CONFIG = override(
    Config(), search__steps=120, search__warmup_steps=6, search__steps_per_dispatch=57,
    search__batch_size=16, search__weight_learning_rate=0.02, search__logit_learning_rate=0.1,
    parallel__devices=1, sweep__devices=1, sweep__within="map", target__damping=20.0,
)  # fmt: skip


def bound(cell, confidence):
    return MEAN[cell] + Z[confidence] * STD[cell]


@pytest.mark.parametrize("confidence", list(Z))
@pytest.mark.parametrize("logits", [None, np.random.default_rng(0).normal(size=(3, 3))])
def test_candidates_are_those_whose_bound_keeps_the_budget(confidence, logits):
    target = Target("latency_ms", 4.1, confidence)
    found = within_budget(SPACE, Known(), target, 0.2, logits=logits)
    wanted = {cell for cell in EVERY if 0.8 * 4.1 <= bound(cell, confidence) <= 4.1}
    assert {tuple(c.architecture.tolist()) for c in found} == wanted
    for candidate in found:
        cell = tuple(candidate.architecture.tolist())
        assert candidate.predicted == pytest.approx(MEAN[cell], rel=1e-5)
        assert candidate.bound == pytest.approx(bound(cell, confidence), rel=1e-5)


def test_a_percentile_is_of_predictions_and_reach_is_of_bounds():
    reachable = cost_range(SPACE, Known(), "latency_ms", confidence=0.9)
    bounds = [bound(cell, 0.9) for cell in EVERY]
    assert reachable.bounds == pytest.approx((min(bounds), max(bounds)))
    median = np.percentile(list(MEAN.values()), 50)
    target = resolve_target(TargetConfig(percentile=50.0), reachable)
    assert target == ("latency_ms", pytest.approx(median), 0.9)
    with pytest.raises(UserError, match=r"1\.128 to \S+ ms with a confidence of 0\.9"):
        resolve_target(TargetConfig(ms=1.05), reachable)
    with pytest.raises(UserError, match=r"fastest takes 1\.128"):
        within_budget(SPACE, Known(), Target("latency_ms", 1.05, 0.9), 0.1)


def test_a_model_without_uncertainty_is_refused():
    with pytest.raises(UserError, match=r"cost\.model = 'dense' does not"):
        cost_range(SPACE, DenseModel(), "latency_ms", confidence=0.9)
    assert cost_range(SPACE, DenseModel(), "latency_ms", confidence=0.5).bounds == (1.0, 7.0)


@pytest.mark.parametrize("value", [0.4, 1.0, 95.0])
def test_a_confidence_out_of_range_is_named(value):
    with pytest.raises(UserError, match=rf"target.confidence = {value} must lie in \[0.5, 1\)"):
        override(Config(), target__confidence=value)


def test_what_the_margin_keeps_free_need_not_be_used():
    """Predicted 3.2 with a margin of 0.8 to 4.0: 0.9 of 3.2 is enough, more than 4.0 too much."""
    sure = Candidate(np.array([0, 1, 2], np.int32), 0.0, 3.2, 4.0)
    plain = Candidate(np.array([0, 1, 2], np.int32), 0.0, 3.2, 3.2)

    def meets(candidate, measured):
        groups = {"search": [candidate]}
        return confirm(SPACE, groups, [Sample(measured, 0.0, 1)], 4.0)[1][0]["meets_budget"]

    assert [meets(sure, ms) for ms in (2.8, 2.9, 3.9, 4.1)] == [False, True, True, False]
    assert [meets(plain, ms) for ms in (2.9, 3.5, 3.7, 4.1)] == [False, False, True, False]


def derived(state, confidence, value=4.1):
    target = Target("latency_ms", value, confidence)
    return within_budget(SPACE, Known(), target, 0.1, logits=np.asarray(state.logits))[0]


def check(states):
    """The networks of ever tighter confidences keep the same budget at ever lower cost."""
    found = {confidence: derived(state, confidence) for confidence, state in states.items()}
    for confidence, candidate in found.items():
        assert bound(tuple(candidate.architecture.tolist()), confidence) <= 4.1
    costs = [candidate.predicted for candidate in found.values()]
    assert costs[0] > costs[-1]
    assert costs == sorted(costs, reverse=True)
    share = {c: np.asarray(jax.nn.softmax(state.logits, -1)) for c, state in states.items()}
    means = {
        c: sum(p[0, i] * p[1, j] * p[2, k] * bound((i, j, k), c) for i, j, k in EVERY)
        for c, p in share.items()
    }
    for confidence, mean in means.items():
        assert mean == pytest.approx(4.1, rel=0.05), confidence


@pytest.mark.slow
def test_a_tighter_confidence_finds_a_cheaper_network_within_the_budget():
    check(
        {
            confidence: search_architecture(
                SPACE, images(), Known(), Target("latency_ms", 4.1, confidence), CONFIG
            ).state
            for confidence in (None, 0.9, 0.99)
        }
    )


@pytest.mark.slow
def test_so_does_every_member_of_a_sweep():
    states = {}
    for confidence in (None, 0.99):
        targets = [Target("latency_ms", value, confidence) for value in (3.0, 4.1)]
        states[confidence] = search_population(
            SPACE, images(), Known(), make_members(targets, [0]), CONFIG
        )
    check({confidence: both[1] for confidence, both in states.items()})
    low = {confidence: derived(both[0], confidence, 3.0) for confidence, both in states.items()}
    assert low[0.99].predicted < low[None].predicted
    assert bound(tuple(low[0.99].architecture.tolist()), 0.99) <= 3.0
