"""Rules of derivation: ranks by hand, by losses computed apart, and by what a removal costs."""

import itertools

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.registry import Part
from hwnas_jax.search.derivation import (
    DERIVATIONS,
    BestBySupernet,
    Candidates,
    Derivation,
    Halving,
    MostProbable,
    Perturbation,
    Searched,
    check_order,
)

EVERY = np.array(list(itertools.product(range(3), range(2), range(3))), np.int32)
OPTIONS = (3, 2, 3)
SHARE = np.array([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0], [0.1, 0.1, 0.8]], np.float32)


def candidates(networks=EVERY, prior=None):
    """Returns candidates that are as probable as `SHARE` makes them."""
    chance = SHARE[np.arange(3), networks].prod(-1)
    sizes = {"macs": np.arange(float(len(networks))), "params": np.arange(float(len(networks)))}
    prior = np.full(len(networks), 1 / 18) if prior is None else prior
    return Candidates(networks, np.log(chance), np.log(prior), {"latency_ms": chance}, sizes)


def judge_of(loss):
    """Returns a judge of architectures by `loss(row)`, and the list of whom it judged."""
    asked = []

    def judge(weights, networks):
        asked.extend(tuple(row) for row in networks.tolist())
        losses = np.array([loss(row) for row in networks])
        return {"loss": losses, "accuracy": np.zeros(len(networks))}

    return judge, asked


def left(judge=None, judge_mixed=None, tune=None, train=None, *, metric="accuracy", higher=True):
    """Returns what a search left, with what a test needs of it."""
    return Searched(SHARE, SHARE, np.zeros(4), judge, judge_mixed, tune, train, metric, higher)


def order(rule, found, searched=None, seed=0):
    rows = rule.order(found, searched or left(), quiet, seed=seed)
    return check_order(rule, rows, len(found.networks)).tolist()


def test_most_probable_is_relative_to_where_the_search_began():
    """Three networks: the likeliest was likely from the start, the second gained most."""
    found = candidates(EVERY[:3])._replace(
        log_probability=np.log([0.5, 0.3, 0.2]), log_prior=np.log([0.6, 0.1, 0.1])
    )
    assert order(MostProbable(), found) == [1, 2, 0]
    assert order(MostProbable(relative=False), found) == [0, 1, 2]
    np.testing.assert_allclose(
        MostProbable().scores(found), np.log([0.5 / 0.6, 3.0, 2.0]), rtol=1e-12
    )


def test_the_supernet_orders_the_most_probable_by_its_losses():
    prior = np.random.default_rng(0).dirichlet(np.ones(18))
    found = candidates(prior=prior)
    losses = np.random.default_rng(1).permutation(18).astype(float)
    judge, asked = judge_of(lambda row: losses[np.flatnonzero((row == EVERY).all(1))[0]])
    with np.errstate(divide="ignore"):
        relative = SHARE[np.arange(3), EVERY].prod(-1) / prior
    for count in (5, 17, 64):
        asked.clear()
        best = sorted(range(18), key=lambda i: -relative[i])[:count]
        assert order(BestBySupernet(candidates=count), found, left(judge)) == sorted(
            best, key=lambda i: losses[i]
        )
        assert set(asked) == {tuple(EVERY[i]) for i in best}


def without(gates):
    """Returns which option of which decision is gone from relaxed gates, and what is fixed."""
    start = SHARE / SHARE.sum(-1, keepdims=True)
    for d, row in enumerate(gates):
        fixed = np.isclose(row.max(), 1.0)
        gone = [k for k in range(OPTIONS[d]) if row[k] == 0 and start[d, k] > 0]
        if len(gone) == 1 and not fixed:
            return d, gone[0]
        if not gone or fixed:
            continue
    return None


class Removals:
    """A supernet whose accuracy falls by a known amount when an option is removed.

    It is asked for gates from which one option of one decision is missing.
    """

    def __init__(self, hurts, sign=1):
        self.hurts, self.sign, self.seen, self.tuned = np.array(hurts), sign, [], []

    def judge_mixed(self, weights, several):
        present = (np.asarray(several) > 0) | (np.array(SHARE) == 0)
        present &= np.arange(3) < np.array(OPTIONS)[:, None]
        accuracy = (present * self.hurts).sum((1, 2))
        self.seen.append((float(weights[0]), np.asarray(several)))
        return {"accuracy": self.sign * accuracy, "loss": accuracy * 0}

    def tune(self, weights, gates, steps):
        self.tuned.append((np.array(gates), steps))
        return weights + 1


HURTS = [[0.1, 0.0, 0.9], [0.2, 0.7, 0.0], [0.3, 0.6, 0.1]]


@pytest.mark.parametrize(("sign", "higher"), [(1, True), (-1, False)])
def test_perturbation_takes_the_options_whose_removal_hurts_most(sign, higher):
    supernet = Removals(HURTS, sign)
    searched = left(judge_mixed=supernet.judge_mixed, tune=supernet.tune, higher=higher)
    for seed in range(3):
        rows = order(Perturbation(tune_steps=5), candidates(), searched, seed)
        assert EVERY[rows[0]].tolist() == [2, 1, 1]
        assert sorted(rows) == list(range(18))


def test_perturbation_stays_within_the_budget():
    """The best options of all decisions do not go together: whoever is fixed first rules."""
    feasible = EVERY[(EVERY != [2, 1, 1]).sum(-1) >= 1]  # [2, 1, 1] is too dear
    supernet = Removals(HURTS)
    searched = left(judge_mixed=supernet.judge_mixed, tune=supernet.tune)
    for seed in range(4):
        first = feasible[order(Perturbation(tune_steps=0), candidates(feasible), searched, seed)[0]]
        decisions = np.random.default_rng(seed).permutation(3)
        chosen, still = {}, feasible
        for d in decisions:
            options = sorted(set(still[:, d].tolist()), key=lambda k: -HURTS[d][k])
            chosen[int(d)] = options[0]
            still = still[still[:, d] == options[0]]
        assert first.tolist() == [chosen[d] for d in range(3)]
    assert not supernet.tuned


def test_perturbation_mixes_what_is_left_and_trains_on_after_every_decision():
    supernet = Removals(HURTS)
    searched = left(judge_mixed=supernet.judge_mixed, tune=supernet.tune)
    order(Perturbation(tune_steps=5), candidates(), searched)
    decisions = np.random.default_rng(0).permutation(3)
    assert len(supernet.seen) == 3
    for number, (trained, several) in enumerate(supernet.seen):
        d = decisions[number]
        assert trained == number  # weights trained on after each decision before
        assert len(several) == OPTIONS[d]
        for option, gates in enumerate(several):
            kept = np.where(np.arange(3) == option, 0.0, SHARE[d])
            np.testing.assert_allclose(gates[d], kept / kept.sum(), rtol=1e-6)
            for later in decisions[number + 1 :]:
                np.testing.assert_array_equal(gates[later], SHARE[later])
            for earlier in decisions[:number]:
                assert gates[earlier].tolist() == np.eye(3)[[2, 1, 1][earlier]].tolist()
    assert [steps for _, steps in supernet.tuned] == [5, 5]


def test_the_networks_that_agree_most_follow():
    supernet = Removals(HURTS)
    searched = left(judge_mixed=supernet.judge_mixed, tune=supernet.tune)
    rows = order(Perturbation(tune_steps=0), candidates(), searched)
    agreeing = (EVERY[rows] == [2, 1, 1]).sum(-1)
    assert agreeing.tolist() == sorted(agreeing.tolist(), reverse=True)
    chance = candidates().log_probability[rows]
    for number in range(4):
        among = chance[agreeing == number]
        assert among.tolist() == sorted(among.tolist(), reverse=True)


@pytest.mark.parametrize("rows", [[0, 0], [3], [-1], [], [[0, 1]], [0.5], "no rows"], ids=str)
def test_an_order_that_names_no_candidates_is_refused(rows):
    with pytest.raises(UserError, match="most_probable: order must return different row numbers"):
        check_order(MostProbable(), rows, 3)


@pytest.mark.parametrize("name", list(DERIVATIONS))
def test_every_rule_orders_candidates_of_one_network(name):
    supernet = Removals(HURTS)
    judge, _ = judge_of(lambda row: 0.0)
    train, _ = rounds_of(lambda row, steps: 0.0)
    searched = left(judge, supernet.judge_mixed, supernet.tune, train)
    rule = DERIVATIONS.make(Part(name))
    assert isinstance(rule, Derivation) and rule.summary
    assert order(rule, candidates(EVERY[7:8]), searched) == [0]


def rounds_of(loss):
    """Returns trainings whose losses are `loss(row, steps)`, and the list of rounds."""
    rounds = []

    def train(weights, networks, steps, progress, *, seed):
        rounds.append((steps, [tuple(row) for row in networks.tolist()], weights, seed))
        half = np.array([loss(tuple(row), steps) for row in networks.tolist()]) / 2
        return {"loss": half, "training_loss": half}

    return train, rounds


def test_every_round_trains_the_better_half_for_twice_as_long():
    """A network that is good after few steps and bad after many is passed by the others."""
    found = candidates()
    rows = [tuple(row) for row in EVERY.tolist()]
    early = rows[17]

    def loss(row, steps):
        of_early = -1.0 if steps < 40 else 4.0
        return of_early if row == early else rows.index(row) / 18

    train, rounds = rounds_of(loss)
    rule = Halving(trainings=8, steps=10, shrink=2, warm=True, by_supernet=0)
    found_order = order(rule, found, left(train=train))
    assert [(steps, set(some)) for steps, some, _, _ in rounds] == [
        (10, set(rows[10:])),
        (20, {early, *rows[10:13]}),
        (40, {early, rows[10]}),
    ]
    assert all(weights is not None for _, _, weights, _ in rounds), "the supernet's are the start"
    assert len({seed for _, _, _, seed in rounds}) == 3, "each round has errors of its own"
    assert found_order == [10, 17, 11, 12, 13, 14, 15, 16, *range(9, -1, -1)]


def test_a_network_is_placed_by_all_its_trainings_together():
    """The validation loss of the last round alone would prefer the second of the two."""
    found = candidates(EVERY[:4])
    short = {"loss": np.array([0.0, 0.5, 9.0, 9.0]), "training_loss": np.zeros(4)}
    long = {"loss": np.array([0.3, 0.2]), "training_loss": np.array([0.1, 0.4])}
    answers = {10: short, 20: long}

    def train(weights, networks, steps, progress, *, seed):
        rows = [EVERY[:4].tolist().index(row) for row in networks.tolist()]
        return {name: values[np.array(rows)] for name, values in answers[steps].items()}

    rule = Halving(trainings=4, steps=10, shrink=2, by_supernet=0)
    assert order(rule, found, left(train=train))[:2] == [0, 1]
    short["loss"][:2] = 0.5, 0.0
    assert order(rule, found, left(train=train))[:2] == [1, 0]
    long["training_loss"][:] = 0.1, 0.8
    assert order(rule, found, left(train=train))[:2] == [0, 1]


@pytest.mark.parametrize(("more", "trainings"), [(0, 16), (299, 16), (300, 17), (1199, 19)])
def test_more_to_spend_is_more_trainings(more, trainings):
    """16 x 300 + 4 x 1200 steps; up to 19 only the first round grows."""
    assert Halving().with_more_passes(more) == Halving(trainings=trainings)
    assert Halving(trainings=16).with_more_passes(1200 + 1200).trainings == 20
    assert MostProbable().with_more_passes(more) == MostProbable()


def test_a_round_may_keep_one_of_four():
    train, rounds = rounds_of(lambda row, steps: 0.0)
    order(Halving(trainings=10, steps=5, by_supernet=0), candidates(), left(train=train))
    assert [(steps, len(some)) for steps, some, _, _ in rounds] == [(5, 10), (20, 2)]


def test_signs_choose_who_is_trained_by_their_mean_rank():
    """Sizes, probabilities as multiples of the start, and the supernet's losses of the first."""
    rng = np.random.default_rng(5)
    sizes = {"macs": rng.permutation(18).astype(float), "params": rng.permutation(18).astype(float)}
    prior = rng.dirichlet(np.ones(18))
    found = candidates(prior=prior)._replace(counts=sizes)
    supernet = rng.permutation(18).astype(float)
    judge, asked = judge_of(lambda row: supernet[np.flatnonzero((row == EVERY).all(1))[0]])

    def ranks(values):
        return np.array([(values < value).sum() + (values == value).sum() / 2 for value in values])

    size = ranks(-sizes["macs"])
    chance = ranks(-(found.log_probability - found.log_prior))
    first = np.argsort(size + chance, kind="stable")[:6]
    assert len(set((size + chance).tolist())) > 12, "few are equal, so luck decides little"
    told = ranks(size[first]) + ranks(chance[first]) + ranks(supernet[first])
    train, rounds = rounds_of(lambda row, steps: 0.0)
    rule = Halving(trainings=3, by_supernet=6, by_probability=True)
    order(rule, found, left(judge, train=train))
    assert rounds[0][2] is None, "new weights"
    assert set(asked) == {tuple(EVERY[i]) for i in first}
    best = set(np.sort(told)[:3].tolist())
    trained = [np.flatnonzero((EVERY[first] == row).all(1))[0] for row in rounds[0][1]]
    assert {told[i] for i in trained} <= best


def test_without_weights_no_supernet_is_asked_and_chance_settles_what_is_equal():
    found = candidates(EVERY[:6])._replace(
        counts={"macs": np.ones(6), "params": np.ones(6)}, log_prior=candidates(EVERY[:6])[1]
    )
    seen = set()
    for seed in range(8):
        train, rounds = rounds_of(lambda row, steps: 0.0)
        searched = left(train=train)._replace(weights=None)
        assert sorted(order(Halving(trainings=2), found, searched, seed)) == list(range(6))
        assert [weights for _, _, weights, _ in rounds] == [None]
        seen.add(rounds[0][1][0])
    assert len(seen) > 2
