"""Searches that measure a few networks in place of knowing what all of them cost."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import hwnas_jax as hw
from hwnas_jax.report.compare_page import render
from hwnas_jax.runs.compare import measured
from hwnas_jax.runs.compare.cell import make_program, over_limit, run_cell
from hwnas_jax.runs.compare.measured import (
    Belief,
    Device,
    Devices,
    believed,
    make_measured_program,
)
from hwnas_jax.runs.compare.plan import make_plan
from hwnas_jax.runs.compare.results import compared
from hwnas_jax.search.measuring import answer, worth_measuring
from hwnas_jax.tabular.base import make_column
from tests.runs.compare.studies import QUERIES, SEEDS, settings

MOST = 8


@pytest.fixture(scope="module")
def plan(tables):
    own = settings(
        tables, methods=("evolution,population=5",), cases=("slow<=2.5",), measurements=MOST
    )
    return make_plan(own)


@pytest.fixture(scope="module")
def devices(plan):
    return Devices(plan)


@pytest.fixture(scope="module")
def method(plan):
    return plan.methods["evolution population=5"]


@pytest.fixture(scope="module")
def cell(plan, devices, method):
    return run_cell(plan, make_measured_program(plan, method, devices), plan.cases[0])


def rows_of(plan, architectures):
    number = {tuple(row): place for place, row in enumerate(plan.networks.architectures.tolist())}
    return np.array([number[tuple(row)] for row in architectures.tolist()])


def test_a_search_measures_no_more_than_it_may_and_answers_within_the_limit(plan, cell):
    assert cell.score.shape == (SEEDS, QUERIES)
    assert (np.diff(cell.measured, axis=1) >= 0).all()
    assert (cell.measured[:, 0] == MOST // 2).all() and (cell.measured <= MOST).all()
    case = plan.cases[0]
    for seed in range(SEEDS):
        rows = rows_of(plan, cell.architectures[seed])
        np.testing.assert_allclose(cell.cost[seed], case.cost[rows], rtol=1e-6)
    assert not over_limit(cell, case, cell.best[:, -1]).any()
    assert (cell.chance[:, -1] >= plan.settings.confidence).all()


def test_what_is_measured_is_known_and_the_rest_has_an_uncertainty(plan, devices):
    device = devices.of(plan.cases[0])
    taken = device.first(6, seed=0)
    assert len(set(taken.tolist())) == 6
    belief = device.belief(taken)
    np.testing.assert_allclose(belief.mean[taken], device.cost[taken], rtol=1e-6)
    assert not belief.std[taken].any()
    rest = np.setdiff1d(np.arange(len(device.cost)), taken)
    assert (belief.std[rest] > 0).all()
    chance = belief.chance(np.array([*rest[:5], -1, *taken[:2]]), 2.5)
    normal = scipy.stats.norm.cdf(2.5, belief.mean[rest[:5]], belief.std[rest[:5]])
    np.testing.assert_allclose(chance[:5], normal, atol=1e-6)
    assert chance[5] == 0
    np.testing.assert_array_equal(chance[6:], device.cost[taken[:2]] <= 2.5)
    # The other device's costs rise with those of this one, and six samples give the scale.
    assert np.abs(belief.mean / device.cost - 1).mean() < 0.2


def test_the_device_itself_is_not_read_before_it_is_measured(plan, devices):
    case = plan.cases[0]
    hidden = plan.costs.values["latency_ms"].copy()
    hidden[plan.costs.row("slow")] = 7.0
    other = type(plan.costs)(**{**vars(plan.costs), "values": {"latency_ms": hidden}})
    blind = Device.of(other, "slow", "latency_ms", plan.networks.architectures, case.cost)
    known = devices.of(case)
    np.testing.assert_array_equal(blind.features, known.features)
    taken = known.first(5, seed=1)
    np.testing.assert_array_equal(blind.belief(taken).mean, known.belief(taken).mean)


def test_a_search_that_knows_the_truth_asks_for_the_same_as_one_without_stops(
    plan, method, monkeypatch
):
    """What is told anew after a stop leads to the same state."""

    class Oracle(Device):
        def belief(self, rows):
            del rows
            return Belief(self.cost.astype(np.float32), np.zeros(len(self.cost), np.float32))

    monkeypatch.setattr(measured, "Device", Oracle)
    case = plan.cases[0]
    stops = run_cell(plan, make_measured_program(plan, method, Devices(plan)), case)
    whole = run_cell(plan, make_program(plan, method), case)
    for name in ("architectures", "score", "reported", "excess", "cost", "best"):
        np.testing.assert_array_equal(getattr(stops, name), getattr(whole, name), name)


def test_a_belief_that_changes_is_told_anew(plan, method, cell):
    """The excess of what was asked for is that of the belief of its time."""
    case = plan.cases[0]
    truth = np.maximum(cell.cost / case.limit - 1, 0)
    assert (np.abs(cell.excess - truth) > 1e-3).any()
    assert np.abs(cell.excess - truth).mean() < 0.2


def test_the_outlook_is_that_of_the_belief(plan):
    space, networks = plan.table.space, plan.networks.architectures
    asked = networks[[3, 5, 7, 11]]
    places = make_column(space, networks[:9], np.arange(9))
    mean = np.linspace(1, 3, 9).astype(np.float32)
    std = np.full(9, 0.5, np.float32)
    std[5] = 0.0
    mean[7] = np.inf
    outlook = believed(space, places, Belief(mean, std), jnp.float32(1.5))(asked)
    np.testing.assert_allclose(outlook.cost[:2], mean[[3, 5]])
    doubt = np.array([0.5, 0.0])  # a standard deviation over the limit may be asked for
    wanted = np.maximum((mean[[3, 5]] - doubt) / 1.5 - 1, 0)
    np.testing.assert_allclose(outlook.excess[:2], wanted, rtol=1e-5)
    assert np.isinf(outlook.excess[2:]).all()  # not to be measured, and not in the table
    wanted = [scipy.stats.norm.cdf((1.5 - mean[3]) / 0.5), 0, 0, 0]
    np.testing.assert_allclose(outlook.chance, wanted, atol=1e-6)


def test_what_is_worth_a_measurement():
    score, chance = np.array([0.5, 0.9, 0.7, 0.4]), np.array([0.96, 0.25, 0.6, 0.9])
    np.testing.assert_allclose(worth_measuring(score, chance, 0.95), [0, 0.1, 0.12, 0])
    assert answer(score, chance, 0.95) == 0
    assert answer(score, chance, 0.5) == 2
    # Where none is sure, the likely one with a good score is measured, not the best unlikely one.
    assert np.argmax(worth_measuring(score, np.array([0.0, 0.1, 0.9, 0.5]), 0.95)) == 2


def test_the_page_says_what_the_searches_knew(plan, cell, devices):
    random = run_cell(
        plan, make_measured_program(plan, plan.methods["random"], devices), plan.cases[0]
    )
    label = plan.cases[0].label
    found = compared(plan, {("random", label): random, ("evolution population=5", label): cell})
    one = found.cases[0].methods[1]
    assert one.measured == pytest.approx(cell.measured[:, -1].mean())
    assert one.confidence == pytest.approx(cell.chance[:, -1].mean())
    page = render(found)
    assert f"each may measure {MOST} networks" in page and "confidence (%)" in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cases": ("slow<=2.5", "fast")}, "the case 'fast' has none"),
        ({"measurements": 2}, "measurements"),
        ({"methods": ("successive_halving",)}, "several fidelities"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_what_cannot_be_measured_is_refused(tables, changes, words):
    own = {"methods": ("random",), "cases": ("slow<=2.5",), "measurements": MOST, "queries": 100}
    with pytest.raises(hw.UserError, match=words):
        make_plan(settings(tables, **(own | changes)))
