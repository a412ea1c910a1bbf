"""A budget kept with a confidence: by the search, its candidates, chance, and a sweep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets import DualAscent, UpperBound
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, TargetConfig, override
from hwnas_jax.cost import Sample
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.confirm import confirm
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import make_members, search_population
from hwnas_jax.search.candidates import Candidate, cost_range, resolve_target, within_budget
from hwnas_jax.search.derivation import MostProbable
from tests.search.dense import SPACE, DenseModel, images

COSTS, ERRORS = np.array([0.0, 0.5, 2.0]), np.array([0.0, 0.05, 0.3])
# Quantiles of the standard normal distribution, from tables.
Z = {None: 0.0, 0.9: 1.2815516, 0.99: 2.3263479}


@jax.tree_util.register_static
class Known(DenseModel):
    """`DenseModel` with a deviation that grows with the widths."""

    exact_expectation = knows_uncertainty = True

    def std(self, weight):
        return {"latency_ms": 0.1 + (weight * jnp.array(ERRORS, jnp.float32)).sum()}


EVERY = list(itertools.product(range(3), repeat=3))
MEAN = {cell: 1.0 + COSTS[list(cell)].sum() for cell in EVERY}
STD = {cell: 0.1 + ERRORS[list(cell)].sum() for cell in EVERY}
CONFIG = override(
    Config(), search__steps=120, search__warmup_steps=6, search__steps_per_dispatch=57,
    search__batch_size=16, search__weights__learning_rate=0.02,
    search__relaxation__args={"learning_rate": 0.1}, parallel__devices=1, sweep__devices=1,
    sweep__within="map", budget=Part("dual_ascent", {"damping": 20.0}),
)  # fmt: skip


def bound(cell, confidence):
    return MEAN[cell] + Z[confidence] * STD[cell]


@pytest.mark.parametrize("confidence", list(Z))
def test_candidates_are_those_whose_bound_keeps_the_budget(confidence):
    target = Target("latency_ms", 4.1, confidence)
    share = np.random.default_rng(0).dirichlet(np.ones(3), 3)
    for probabilities in (None, share):
        found = within_budget(
            SPACE, Known(), target, DualAscent(tolerance=0.2), probabilities=probabilities
        )
        rows = [tuple(row) for row in found.networks.tolist()]
        assert set(rows) == {c for c in EVERY if 0.8 * 4.1 <= bound(c, confidence) <= 4.1}
        expected = [MEAN[row] for row in rows], [bound(row, confidence) for row in rows]
        np.testing.assert_allclose(found.predicted["predicted"], expected[0], rtol=1e-5)
        np.testing.assert_allclose(found.predicted["latency_ms"], expected[1], rtol=1e-5)


def test_a_percentile_is_of_predictions_and_reach_is_of_bounds():
    reachable = cost_range(SPACE, Known(), "latency_ms", confidence=0.9)
    bounds = [bound(cell, 0.9) for cell in EVERY]
    assert reachable.bounds == pytest.approx((min(bounds), max(bounds)))
    median = np.percentile(list(MEAN.values()), 50)
    target = resolve_target(TargetConfig(percentile=50.0), reachable)
    assert target == ("latency_ms", pytest.approx(median), 0.9, ())
    with pytest.raises(UserError, match=r"1\.128 to \S+ ms with a confidence of 0\.9"):
        resolve_target(TargetConfig(value=1.05), reachable)
    with pytest.raises(UserError, match=r"with a confidence of 0\.9; the least .* is 1\.128 ms"):
        within_budget(SPACE, Known(), Target("latency_ms", 1.05, 0.9), DualAscent())


def test_a_model_without_uncertainty_is_refused():
    with pytest.raises(UserError, match=r"knows its uncertainty; 'dense' does not"):
        cost_range(SPACE, DenseModel(), "latency_ms", confidence=0.9)
    assert cost_range(SPACE, DenseModel(), "latency_ms", confidence=0.5).bounds == (1.0, 7.0)


@pytest.mark.parametrize("value", [0.4, 1.0, 95.0])
def test_a_confidence_out_of_range_is_named(value):
    with pytest.raises(UserError, match=rf"target.confidence\S* = {value} must be (less|greater)"):
        override(Config(), target__confidence=value)


def test_what_the_margin_keeps_free_need_not_be_used():
    """Predicted 3.2 with a margin of 0.8 to 4.0: 0.9 of 3.2 is enough, more than 4.0 too much."""
    sure = Candidate(np.array([0, 1, 2], np.int32), 0.0, 3.2, 4.0)
    plain = Candidate(np.array([0, 1, 2], np.int32), 0.0, 3.2, 3.2)

    def meets(candidate, measured, budget=DualAscent()):  # noqa: B008
        groups, target = {("search", "search"): [candidate]}, Target("latency_ms", 4.0)
        found = {SPACE.to_string(candidate.architecture): Sample(measured, 0.0, 1)}
        rows = confirm(SPACE, groups, found, target, budget)[1]
        return rows[0]["meets_budget"]

    assert [meets(sure, ms) for ms in (2.8, 2.9, 3.9, 4.1)] == [False, True, True, False]
    assert [meets(plain, ms) for ms in (2.9, 3.5, 3.7, 4.1)] == [False, False, True, False]
    assert [meets(plain, ms, UpperBound()) for ms in (0.1, 4.0, 4.1)] == [True, True, False]


def derived(probabilities, confidence, value=4.1):
    """Returns the likeliest network within the budget, and its predicted cost."""
    target = Target("latency_ms", value, confidence)
    found = within_budget(
        SPACE, Known(), target, DualAscent(tolerance=0.1), probabilities=probabilities
    )
    row = MostProbable().order(found, None, None, seed=0)[0]
    return tuple(found.networks[row].tolist()), float(found.predicted["predicted"][row])


def check(shares):
    """The networks of ever tighter confidences keep the same budget at ever lower cost."""
    costs = []
    for confidence, share in shares.items():
        network, predicted = derived(share, confidence)
        assert bound(network, confidence) <= 4.1
        costs.append(predicted)
        mean = sum(
            share[0, i] * share[1, j] * share[2, k] * bound((i, j, k), confidence)
            for i, j, k in EVERY
        )
        assert mean == pytest.approx(4.1, rel=0.05), confidence
    assert costs[0] > costs[-1]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.slow
def test_a_tighter_confidence_finds_a_cheaper_network_within_the_budget():
    check(
        {
            confidence: search_architecture(
                SPACE, images(), Known(), Target("latency_ms", 4.1, confidence), CONFIG
            ).probabilities
            for confidence in (None, 0.99)
        }
    )


@pytest.mark.slow
def test_so_does_every_member_of_a_sweep():
    shares = {}
    for confidence in (None, 0.99):
        targets = [Target("latency_ms", value, confidence) for value in (3.0, 4.1)]
        states = search_population(SPACE, images(), Known(), make_members(targets, [0]), CONFIG)
        shares[confidence] = [np.asarray(jax.nn.softmax(state.params)) for state in states]
    check({confidence: both[1] for confidence, both in shares.items()})
    low = {confidence: derived(both[0], confidence, 3.0) for confidence, both in shares.items()}
    assert low[0.99][1] < low[None][1]
    assert bound(low[0.99][0], 0.99) <= 3.0
