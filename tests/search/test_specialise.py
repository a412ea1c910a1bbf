"""Networks for many budgets, on problems whose best networks are known by enumeration."""

import functools
import itertools
import re

import numpy as np
import pytest

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.search import affordable
from hwnas_jax.search.affordable import nearest, spread
from hwnas_jax.search.judgements import Judgements
from hwnas_jax.search.specialise import Specialising, features_of, specialise
from hwnas_jax.spaces import make_space
from tests.search.test_elastic import ARGS, SIZES

WAYS = Specialising(
    samples=48, predictor="ridge", finalists=3, population=16, generations=20, rounds=2
)


@functools.cache
def space():
    return make_space("ofa", {**ARGS["ofa"], "units": "1,2"}, **SIZES)


@functools.cache
def model():
    return AnalyticModel.count(space())


@functools.cache
def every():
    """All networks, what they cost and how good they are.

    Larger is better, with less and less to gain. The gain of a decision is drawn, and is nothing in
    a layer that is left out.
    """
    networks = np.unique(space().canonical(space().enumerate()), axis=0)
    costs = predict_architectures(model(), networks, space().num_options)["macs"]
    return networks, costs, quality(networks)


def quality(networks):
    rng = np.random.default_rng(3)
    gains = rng.uniform(0.1, 1.0, (space().num_decisions, 1)) * [0.0, 0.6, 1.0]
    size = np.where(space().closed(networks), 0.0, gains[np.arange(len(gains)), networks]).sum(1)
    return (1 - np.exp(-0.4 * size)).astype(np.float32)


def found_for(budgets, *, known=None, asked=None, kept=None, ways=WAYS, **changes):
    def judge(networks):
        if asked is not None:
            asked.extend(map(tuple, networks.tolist()))
        return quality(networks)

    own = {"higher_is_better": True, "seed": 0, "budget": BUDGETS["upper_bound"]()} | changes
    return specialise(
        space(), model(), [Target("macs", budget) for budget in budgets], own.pop("budget"), judge,
        known or Judgements.none(space()), ways=ways,
        keep=(kept if kept is not None else []).append, **own,
    )  # fmt: skip


def twenty():
    costs = every()[1]
    return np.linspace(costs.min(), 0.9 * costs.max(), 20).tolist()


def test_twenty_budgets_are_kept_by_networks_near_the_best():
    networks, costs, qualities = every()
    asked, kept = [], []
    found = found_for(twenty(), asked=asked, kept=kept)
    regrets = []
    for budget, one in zip(twenty(), found, strict=True):
        row = np.flatnonzero((networks == one.architecture).all(1))
        assert one.target.value == budget and len(row) == 1
        assert one.cost == costs[row[0]] <= budget
        assert one.judged == qualities[row[0]]
        assert abs(one.metric - one.judged) < 4 * one.metric_std
        regrets.append(qualities[costs <= budget].max() - one.judged)
    judged = [one.judged for one in found]
    assert judged == sorted(judged) and judged[-1] > judged[0] + 0.1
    assert np.mean(regrets) < 0.01 and max(regrets) < 0.06
    # A sample of the same size does worse: the spread of what is judged is not the whole story.
    sample = np.random.default_rng(0).choice(len(costs), len(asked), replace=False)
    by_chance = [
        qualities[costs <= budget].max() - qualities[sample][costs[sample] <= budget].max(initial=0)
        for budget in twenty()
    ]
    assert np.mean(regrets) < 0.5 * np.mean(by_chance)
    assert len(asked) == len(set(asked)) == len(kept[-1].networks)


def test_what_was_judged_is_not_judged_again():
    kept, asked = [], []
    before = found_for(twenty()[3:6], kept=kept)
    again = found_for(twenty()[3:6], known=kept[-1], asked=asked)
    assert not set(asked) & set(map(tuple, kept[-1].networks.tolist()))
    assert len(asked) <= 3 * WAYS.rounds * WAYS.finalists
    for one, other in zip(before, again, strict=True):
        assert other.judged >= one.judged


def test_less_of_an_error_is_better():
    (found,) = found_for(twenty()[5:6], higher_is_better=False)
    costs, qualities = every()[1:]
    assert found.judged < np.median(qualities[costs <= twenty()[5]])
    assert found.metric == pytest.approx(found.judged, abs=0.1)


def test_a_budget_to_be_spent_is_spent():
    (found,) = found_for(twenty()[9:10], budget=BUDGETS["dual_ascent"]())
    assert 0.97 * twenty()[9] <= found.cost <= twenty()[9]


def test_what_no_network_meets_is_named_with_the_least():
    least = every()[1].min()
    message = f"meet 1, 2 macs; the least that any takes is {least:.4g} macs"
    with pytest.raises(UserError, match=re.escape(message)):
        found_for([1.0, 2.0, 1e9])
    with pytest.raises(UserError, match="Did you mean 'gaussian'"):
        found_for(twenty()[:1], ways=Specialising(predictor="gausian"))


def test_a_supernet_that_diverged_is_named():
    nothing = lambda networks: np.full(len(networks), np.nan)  # noqa: E731
    with pytest.raises(UserError, match="its training has diverged"):
        specialise(
            space(), model(), [Target("macs", twenty()[3])], BUDGETS["upper_bound"](), nothing,
            Judgements.none(space()), higher_is_better=True, ways=WAYS, seed=0,
        )  # fmt: skip


def test_the_ends_of_a_large_space_are_found(monkeypatch):
    """With few draws, none of them near the cheapest or the dearest network."""
    monkeypatch.setattr(affordable, "ENUMERABLE", 10)
    monkeypatch.setattr(affordable, "architectures_of", lambda space, seed: every()[0][200:230])
    pool = spread(space(), model(), Target("macs", 0.0), seed=0)
    costs = predict_architectures(model(), pool, space().num_options)["macs"]
    assert costs.min() == every()[1].min() and costs.max() == every()[1].max()
    assert len(np.unique(pool, axis=0)) == len(pool)
    np.testing.assert_array_equal(space().canonical(pool), pool)


def test_a_sample_is_spread_over_costs():
    costs = np.concatenate([np.full(1000, 5.0), [1.0, 2.0, 9.0, 10.0]])
    rows = nearest(costs, 20)
    assert len(set(rows.tolist())) == 20
    assert set(range(1000, 1004)) <= set(rows.tolist())
    assert sorted(nearest(costs, 5000).tolist()) == list(range(1004))


def test_features_are_those_of_the_network():
    """Architectures that build one network have the same, others do not."""
    some = space().random(np.random.default_rng(0), 60)
    features = np.asarray(features_of(space())(some))
    networks = space().canonical(some)
    for one, other in itertools.combinations(range(len(some)), 2):
        same = (networks[one] == networks[other]).all()
        assert same == (features[one] == features[other]).all()


def test_judgements_are_read_as_they_were_written(tmp_path):
    path, weights = tmp_path / "judged.npz", np.arange(5.0, dtype=np.float32)
    networks = every()[0][:7]
    Judgements.none(space()).with_more(networks, quality(networks)).save(path, weights, 16)
    found = Judgements.load(path, space(), weights, 16)
    np.testing.assert_array_equal(found.networks, networks)
    np.testing.assert_array_equal(found.metric, quality(networks))
    assert len(Judgements.load(path, space(), weights, 8).metric) == 0
    assert len(Judgements.load(path, space(), weights + 1, 16).metric) == 0
    assert len(Judgements.load(tmp_path / "none.npz", space(), weights, 16).metric) == 0
    twice = np.concatenate([networks, networks[:1]])
    Judgements(twice, quality(twice)).save(path, weights, 16)
    with pytest.raises(UserError, match=r"delete it, .* judged again: it lists a network twice"):
        Judgements.load(path, space(), weights, 16)
