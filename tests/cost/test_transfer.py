"""Transfer to a new device: the posterior, the choice of samples, the model, real tables."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost import predict_architectures, std_architectures
from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.metrics import spearman
from hwnas_jax.cost.judge.protocols import fbnet_tasks, help_cells, help_split, middle
from hwnas_jax.cost.models import hypotheses as hypotheses_module
from hwnas_jax.cost.models import posterior as posterior_module
from hwnas_jax.cost.models.base import as_drawn
from hwnas_jax.cost.models.hypotheses import Hypotheses, draw_hypotheses, explain, see_samples
from hwnas_jax.cost.models.intervals import widening
from hwnas_jax.cost.models.posterior import Seen, average, predict_left_out, weights_of
from hwnas_jax.cost.models.prior import TransferConfig, choose_samples, learn_prior
from hwnas_jax.cost.models.sources import SourceModels, one_hot
from hwnas_jax.cost.models.transfer import TransferModel, source_devices
from hwnas_jax.cost.models.transfer_linear import LinearForm
from hwnas_jax.cost.models.views import View
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.base import Choices, Decision

SMALL = TransferConfig(hypotheses=64, trials=2)
SPACE = Choices(
    "toy",
    (*(Decision(f"b{i}", ("k3_e1", "k3_e6", "k5_e1", "skip")) for i in range(4)),
     Decision("r", ("8", "16"))),
)  # fmt: skip
ALL = SPACE.enumerate()


def make_table(devices=6, seed=0):
    """Devices whose entries mix two kinds of hardware, with two per cent of noise."""
    rng = np.random.default_rng(seed)
    kinds = rng.uniform(0.2, 2.0, (2, 5, 4))
    share = rng.uniform(0, 1, devices)
    entries = share[:, None, None] * kinds[0] + (1 - share)[:, None, None] * kinds[1]
    entries = entries * rng.uniform(0.9, 1.1, entries.shape)
    entries *= rng.uniform(1, 30, devices)[:, None, None]
    costs = entries[:, np.arange(5), ALL].sum(axis=2)
    costs *= np.exp(0.02 * rng.standard_normal(costs.shape))
    names = tuple(f"d{number}" for number in range(devices))
    values = {"latency_ms": costs, "energy_mj": 2 * costs[:, ::-1]}
    return CostTable("toy table", SPACE, ALL, names, values)


TABLE = make_table()
SOURCES = TABLE.devices[1:]


@pytest.fixture(scope="module")
def prior():
    return learn_prior(TABLE, SOURCES, SMALL)


def toy_view(factors, devices, anchor_scale, log_prior=0.0):
    """A view whose features are given; its sources are only counted."""
    none = np.zeros(devices)
    sources = SourceModels(
        tuple("ab"[:devices]), none, none, np.zeros((devices, 0)), np.zeros((0, 2), int),
        np.zeros((devices, 0)), none,
    )  # fmt: skip
    centre = np.zeros(len(factors[0]) - devices)
    return View(SPACE, "written", sources, centre, tuple(factors), anchor_scale, log_prior)


def see(held, view, features, costs):
    devices = len(view.sources.devices)
    projected = [features @ factor for factor in view.factors]
    samples = see_samples(held, projected, features[:, -devices:], costs, view.anchor_scale)
    return Seen(view, features, samples)


def planted_samples(count=8):
    """Samples of two views, one general hypothesis and one mix, with their brute-force priors."""
    rng = np.random.default_rng(0)
    held = Hypotheses(
        np.array([[1.0, 0.1, 0.5], [0.0, 0.0, 1.0]]), np.array([[0.9, 0.1], [0.5, 0.5]]),
        np.array([0.3, 0.05]), np.log([0.4, 0.6]), np.array([False, True]),
    )  # fmt: skip
    features = [rng.standard_normal((count, 5)), 0.5 * rng.standard_normal((count, 5))]
    costs = 10 + features[0] @ rng.standard_normal(5)
    factors = [rng.standard_normal((5, 5)), rng.standard_normal((5, 2))]
    views = [toy_view(factors, 2, 1.7, np.log(0.8)), toy_view(factors, 2, 0.9, np.log(0.2))]
    seen = [see(held, view, own, costs) for view, own in zip(views, features, strict=True)]
    return held, seen, costs


def by_hand(held, one, h, level):
    """Returns the prior mean and covariance of the constant and the features of a view."""
    anchors, scale = held.anchors[h], one.view.anchor_scale
    start = np.zeros(6)
    start[0], start[-2:] = level, level * anchors
    own = np.diag(held.shares[h, -1] * anchors * scale**2)
    if held.mixes[h]:
        # A coefficient of a mix multiplies one plus the feature.
        spread = np.zeros((6, 2))
        spread[0], spread[-2:] = 1, np.eye(2)
        return start, spread @ own @ spread.T
    prior = np.zeros((6, 6))
    prior[0, 0] = held.level[h]
    shares = zip(held.shares[h, :-1], one.view.factors, strict=True)
    prior[1:, 1:] = sum(share * factor @ factor.T for share, factor in shares)
    prior[-2:, -2:] += own
    return start, prior


def test_the_posterior_is_that_of_linear_regression_hypothesis_by_hypothesis(monkeypatch):
    monkeypatch.setattr(posterior_module, "_KEPT", 1.0)
    held, seen, costs = planted_samples()
    count = len(costs)
    explained = [explain(held, one.samples) for one in seen]
    means, covariances = [], []
    for number, (one, found) in enumerate(zip(seen, explained, strict=True)):
        design = np.c_[np.ones(count), one.features]
        for h in range(2):
            level = np.median(costs / ((1 + one.features[:, -2:]) @ held.anchors[h]))
            assert found.level[h] == pytest.approx(level)
            start, prior = by_hand(held, one, h, level)
            noise = held.noise[h] / found.trust[h]
            marginal = design @ prior @ design.T + np.diag(noise)
            missed = costs - design @ start
            size = missed @ np.linalg.solve(marginal, missed)
            assert found.variance[h] == pytest.approx(size / (count - 1))
            gain = prior @ design.T @ np.linalg.inv(marginal)
            whole = np.zeros(11)
            place = np.r_[0, 5 * number + np.arange(1, 6)]
            whole[place] = start + gain @ missed
            means.append(whole)
            unit = found.variance[h] * (count - 1) / (count - 3)
            covariance = np.zeros((11, 11))
            covariance[np.ix_(place, place)] = unit * (prior - gain @ design @ prior)
            covariances.append(covariance)
    posterior = average(held, seen, explained)
    weights = weights_of(seen, explained).reshape(-1)
    mean = weights @ np.stack(means)
    apart = np.stack(means) - mean
    covariance = np.einsum("h,hij->ij", weights, np.stack(covariances))
    covariance += (apart.T * weights) @ apart
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(posterior.covariance, covariance, rtol=1e-5, atol=1e-7)


def test_a_sample_left_out_is_predicted_as_if_it_had_never_been_seen(monkeypatch):
    # Enough rounds that the weights of samples come out the same from either start.
    monkeypatch.setattr(hypotheses_module, "_ROUNDS", 200)
    monkeypatch.setattr(hypotheses_module, "_ROUNDS_FROM_NEAR", 200)
    monkeypatch.setattr(posterior_module, "_KEPT", 1.0)
    held, seen, costs = planted_samples(12)
    explained = [explain(held, one.samples) for one in seen]
    rows = np.array([3, 7])
    others = np.delete(np.arange(len(costs)), rows)
    again = [see(held, one.view, one.features[others], costs[others]) for one in seen]
    posterior = average(held, again, [explain(held, one.samples) for one in again])
    design = np.concatenate([np.ones((2, 1)), *(one.features[rows] for one in seen)], axis=1)
    mean, deviation = predict_left_out(held, seen, explained, rows)
    np.testing.assert_allclose(mean, design @ posterior.mean, rtol=1e-4)
    wanted = (design @ posterior.covariance * design).sum(axis=1) + posterior.noise
    np.testing.assert_allclose(deviation, np.sqrt(wanted), rtol=1e-4)


def test_hypotheses_are_weighed_by_bayes_rule_and_outliers_are_seen_through():
    rng = np.random.default_rng(1)
    count = 40
    relative = 0.3 * rng.standard_normal((count, 2))
    costs = 5 * (1 + relative[:, 1]) + 0.02 * rng.standard_normal(count)
    costs[3] *= 3
    held = Hypotheses(
        np.full((2, 2), 1e-3), np.array([[1.0, 0.0], [0.0, 1.0]]), np.full(2, 1e-3),
        np.log([0.5, 0.5]), np.zeros(2, bool),
    )  # fmt: skip
    found = explain(held, see_samples(held, [relative], relative, costs, 3.0))
    assert found.weights[1] > 0.999
    assert found.trust[1].argmin() == 3 and found.trust[1, 3] < 0.01
    assert found.level[1] == pytest.approx(5, rel=0.01)
    np.testing.assert_allclose(found.weights.sum(), 1)


def test_drawn_hypotheses_are_proper():
    held = draw_hypotheses(64, 3, 5, seed=0)
    general = ~held.mixes
    assert held.shares.shape == (len(held.noise), 4) and general.sum() == 64
    np.testing.assert_allclose(held.anchors.sum(axis=1), 1)
    np.testing.assert_allclose(held.anchors[general][::2], 0.2)
    assert held.anchors[general][1::2].max(axis=1).mean() > 0.7
    assert (held.shares[held.mixes, :-1] == 0).all() and (held.level[held.mixes] == 0).all()
    np.testing.assert_allclose(np.exp(held.log_prior).sum(), 1)
    fewer = held.without(2).anchors
    assert fewer.shape[1] == 4
    np.testing.assert_allclose(fewer.sum(axis=1), 1)


def test_trials_decide_whether_mixes_are_the_rule_and_which_general_hypotheses_are_likely():
    held = draw_hypotheses(64, 3, 5, seed=0)
    evidence = np.full((6, len(held.noise)), -3.0)
    evidence[:, 5] = 2.0
    general = held.learned(evidence, 0.5)
    evidence[:, -1] = 4.0
    mixed = held.learned(evidence, 0.5)
    for found in (general, mixed):
        np.testing.assert_allclose(np.exp(found.log_prior).sum(), 1)
        assert np.where(held.mixes, -np.inf, found.log_prior).argmax() == 5
        assert len(set(found.log_prior[held.mixes])) == 1
    # By Bayes' rule over the two totals: how likely the trials are with each.
    chance = []
    for total in (0.8, 0.05):
        prior = np.where(held.mixes, total / 16, (1 - total) / 64)
        chance.append(np.prod(np.exp(evidence) @ prior))
    wanted = (0.8 * chance[0] + 0.05 * chance[1]) / sum(chance)
    assert np.exp(mixed.log_prior[held.mixes]).sum() == pytest.approx(wanted)
    assert wanted > 0.7
    assert np.exp(general.log_prior[held.mixes]).sum() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("count", [9, 20])
def test_widened_intervals_hold_their_share(count):
    """Errors of a new network are drawn as those of the samples, a third too large for their sd."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        ratios = 1.33 * np.abs(rng.standard_normal(count))
        reach = 1.6449 * widening(ratios)
        held.append((1.33 * np.abs(rng.standard_normal(50)) <= reach).mean())
    assert 0.88 < np.mean(held) < 0.92


@pytest.mark.parametrize("count", [8, 9])
def test_intervals_are_widened_by_samples_left_out_from_nine_on(prior, count):
    rows, costs = ALL[::55][:count], TABLE.values["latency_ms"][0][::55][:count]
    seen = prior.seen(rows, costs)
    explained = [explain(prior.hypotheses, one.samples) for one in seen]
    ratios = []
    for row in range(count):
        mean, deviation = predict_left_out(prior.hypotheses, seen, explained, np.array([row]))
        ratios.append(abs(costs[row] - mean[0]) / deviation[0])
    wanted = widening(np.array(ratios)) if count == 9 else 1.0
    found = prior.condition(rows, costs).noise / average(prior.hypotheses, seen, explained).noise
    assert found == pytest.approx(wanted**2)


def test_a_new_device_is_recovered_from_fifteen_samples_one_of_them_wrong(prior):
    costs = TABLE.values["latency_ms"][0]
    seen = np.random.default_rng(0).choice(len(ALL), 15, replace=False)
    rest = np.setdiff1d(np.arange(len(ALL)), seen)
    features = np.c_[np.ones(len(rest)), prior.features(ALL[rest])]
    for wrong, least, most in ((1.0, 0.91, 0.05), (2.5, 0.88, 0.06)):
        taken = costs[seen].copy()
        taken[4] *= wrong
        predicted = features @ prior.condition(ALL[seen], taken).mean
        assert spearman(costs[rest], predicted) > least
        assert np.abs(predicted / costs[rest] - 1).mean() < most


def test_chosen_samples_leave_the_least_variance_one_by_one(prior):
    candidates = ALL[::9]
    covariance, noise = prior.expected_covariance()
    features = np.c_[np.ones(len(candidates)), prior.features(candidates)]
    gram = features @ covariance @ features.T

    def left(rows):
        taken = gram[:, rows]
        inside = gram[np.ix_(rows, rows)] + noise * np.eye(len(rows))
        return (np.diag(gram) - (taken * np.linalg.solve(inside, taken.T).T).sum(axis=1)).mean()

    chosen = choose_samples(prior, candidates, 4)
    for size in range(4):
        before = chosen[:size].tolist()
        every = {row: left([*before, row]) for row in range(len(candidates)) if row not in before}
        assert every[chosen[size]] == pytest.approx(min(every.values()), rel=1e-6)
    rng = np.random.default_rng(0)
    random = [left(rng.choice(len(candidates), 4, replace=False).tolist()) for _ in range(50)]
    assert left(chosen.tolist()) < np.quantile(random, 0.1)
    with pytest.raises(UserError, match="cannot be chosen from 57"):
        choose_samples(prior, candidates, 59)


def fitted(seen, sources=SOURCES):
    priors = [learn_prior(TABLE, sources, SMALL, metric=metric) for metric in TABLE.values]
    return TransferModel.of(priors, seen)


@pytest.fixture(scope="module")
def model():
    seen = TABLE.observations("d0", np.arange(0, len(ALL), 30))
    return fitted(seen)


def test_both_metrics_are_predicted_and_the_deviation_covers(model):
    assert model.metrics == ("latency_ms", "energy_mj")
    predicted = predict_architectures(model, ALL, SPACE.num_options)
    deviation = std_architectures(model, ALL, SPACE.num_options)
    for metric, table in TABLE.values.items():
        assert spearman(table[0], predicted[metric]) > 0.94
        inside = np.abs(predicted[metric] - table[0]) < 1.645 * deviation[metric]
        assert 0.75 < inside.mean() <= 1


def test_soft_gates_cost_their_expectation(model):
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)), jnp.float32)
    weight = jax.nn.softmax(jnp.where(SPACE.mask, logits, -jnp.inf))
    likelihood = np.asarray(weight)[np.arange(5), ALL].prod(axis=1)
    each = predict_architectures(model, ALL, SPACE.num_options)["latency_ms"]
    found = model.predict(weight)["latency_ms"]
    np.testing.assert_allclose(found, likelihood @ each, rtol=1e-5)
    slope = jax.jit(jax.grad(lambda w: model.predict(w)["latency_ms"]))(weight)
    step = jnp.zeros((5, 4)).at[1, 2].set(0.25).at[1, 0].set(-0.25)
    there = model.predict(weight + step)["latency_ms"]
    np.testing.assert_allclose(there - found, (slope * step).sum(), rtol=1e-3, atol=1e-4)


def test_without_samples_it_is_the_mean_of_the_sources_and_claims_no_interval(prior):
    posterior = prior.condition(np.zeros((0, 5), int), np.zeros(0))
    relative = prior.sources.predict(one_hot(SPACE, ALL))
    features = np.c_[np.ones(len(ALL)), prior.features(ALL)]
    mean = features @ posterior.mean
    np.testing.assert_allclose(mean, np.median(prior.sources.scale) * relative.mean(axis=1))
    unseen, sampled = fitted(None), fitted(TABLE.observations("d0", np.arange(0, len(ALL), 60)))
    assert not unseen.knows_uncertainty and sampled.knows_uncertainty


def test_a_runtime_that_drops_what_reaches_nothing_is_recognised():
    """The sources run cells as written; the new device runs their canonical forms."""
    cells = make_space("nasbench201", {}, input_shape=(32, 32, 3), num_outputs=10)
    rows = cells.random(np.random.default_rng(0), 500)
    rng = np.random.default_rng(1)
    entries = rng.uniform(0.2, 2.0, (4, 1, 5)) * np.array([0.1, 0.3, 1.0, 3.0, 1.5])
    entries = entries * rng.uniform(0.9, 1.1, (4, 6, 5))

    def costs(device, seen):
        return 1 + entries[device][np.arange(6), seen].sum(axis=1)

    sources = np.stack([costs(device, rows) for device in range(3)])
    table = CostTable("cells", cells, rows, ("a", "b", "c"), {"latency_ms": sources})
    found = learn_prior(table, table.devices, SMALL)
    dropped = costs(3, cells.canonical(rows))
    predicted = {}
    for name, target in (("written", costs(3, rows)), ("dropped", dropped)):
        posterior = found.condition(rows[:20], target[:20])
        predicted[name] = np.c_[np.ones(480), found.features(rows[20:])] @ posterior.mean
        assert spearman(target[20:], predicted[name]) > 0.97, name
    assert spearman(dropped[20:], predicted["written"]) < 0.95


def test_the_linear_form_predicts_what_the_table_does(prior, model):
    seen = TABLE.observations("d0", np.arange(0, len(ALL), 30))
    posterior = prior.condition(seen.architectures, seen.values["latency_ms"])
    form = LinearForm.of([prior], [posterior])
    one_hots = jnp.asarray(np.eye(4, dtype=np.float32)[ALL[::7]])
    means = jax.vmap(lambda w: form.mean(w, as_drawn(w))[0])(one_hots)
    deviations = jnp.sqrt(jax.vmap(lambda w: form.variance(w)[0])(one_hots))
    predicted = predict_architectures(model, ALL[::7], 4)["latency_ms"]
    np.testing.assert_allclose(means, predicted, rtol=1e-4)
    stds = std_architectures(model, ALL[::7], 4)["latency_ms"]
    np.testing.assert_allclose(deviations, stds, rtol=1e-3)
    arrays = {name: np.asarray(array) for name, array in form.arrays().items()}
    again = LinearForm.load(arrays, SPACE, 1, len(SOURCES))
    np.testing.assert_array_equal(again.coefficients, form.coefficients)


def test_a_file_of_another_layout_is_refused(model):
    values, arrays = model.contents()
    with pytest.raises(UserError, match="layout 1, known is 2: run hwnas cost transfer again"):
        TransferModel.load({**values, "layout": 1}, arrays, SPACE)


def test_one_source_is_enough():
    seen = TABLE.observations("d0", np.arange(0, len(ALL), 40))
    model = fitted(seen, ["d1"])
    predicted = predict_architectures(model, ALL, SPACE.num_options)["latency_ms"]
    assert spearman(TABLE.values["latency_ms"][0], predicted) > 0.8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hypotheses": 100}, "power of two, got 100"),
        ({"learned": 1.0}, r"learned must be in \[0, 1\), got 1.0"),
        ({"trials": -1}, "trials must be at least 0, got -1"),
        ({"trial_samples": 2}, "trial_samples must be at least 3, got 2"),
    ],
)
def test_settings_out_of_range_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        learn_prior(TABLE, SOURCES, dataclasses.replace(SMALL, **changes))


def test_one_or_two_samples_are_refused(prior):
    with pytest.raises(UserError, match="no sample at all or at least 3, got 2"):
        prior.condition(ALL[:2], np.ones(2))


def test_the_new_device_is_never_a_source():
    split = dataclasses.replace(TABLE, splits={"train": ("d0", "d3")})
    assert source_devices(TABLE, "d2") == ("d0", "d1", "d3", "d4", "d5")
    assert source_devices(split, "d0") == ("d3",)
    assert source_devices(split, "d0", ["d1"]) == ("d1",)
    with pytest.raises(UserError, match="d0 is the new device"):
        source_devices(split, "d0", ["d0"])
    with pytest.raises(UserError, match="unknown device of toy table 'd9'"):
        source_devices(split, "d0", ["d9"])


def test_the_middle_of_a_range():
    costs = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0, 10.0, 0.0, 11.0])
    np.testing.assert_array_equal(middle(costs, np.arange(10)), [0, 2, 3, 4, 5, 6, 7, 8])


def test_the_protocol_of_help_gives_the_published_row_of_flops(shared):
    table = load_table(shared / "nb201_latency_help.npz")
    names = table.space.decisions[0].options
    cost = np.array([{"nor_conv_1x1": 1, "nor_conv_3x3": 9}.get(name, 0) for name in names])
    flops = cost[table.architectures].sum(axis=1)
    published = {"titan_rtx_256": 0.950, "gold_6226": 0.826, "pixel2": 0.765, "fpga": 0.900}
    for device, wanted in published.items():
        costs = table.values["latency_ms"][table.row(device)]
        pool, test = help_cells(costs)
        assert len(pool) == 720 and len(test) == 800 and pool.max() < 900 <= test.min()
        assert spearman(costs[test], flops[test]) == pytest.approx(wanted, abs=0.006)


def test_the_tasks_name_devices_of_the_table(shared):
    table = load_table(shared / "fbnet_latency_help.npz")
    tasks = fbnet_tasks(table)
    assert list(tasks) == ["FD", "F1", "F2", "F3", "F4", "FA"]
    assert len(tasks["FA"].sources) == 15
    for task in tasks.values():
        assert not set(task.sources) & set(task.targets)


@pytest.mark.slow
def test_ten_samples_rank_the_cells_of_new_devices(shared):
    whole = load_table(shared / "nb201_latency_help.npz")
    table = dataclasses.replace(
        whole, architectures=whole.architectures[:1900],
        values={"latency_ms": whole.values["latency_ms"][:, :1900]},
    )  # fmt: skip
    task = help_split(table)
    prior = learn_prior(
        table, task.sources, dataclasses.replace(SMALL, hypotheses=256), rows=np.arange(900)
    )
    features = np.c_[np.ones(1900), prior.features(table.architectures)]
    bounds = {"eyeriss": 0.98, "gold_6226": 0.97, "raspi4": 0.88}
    for device, least in bounds.items():
        costs = table.values["latency_ms"][table.row(device)].astype(float)
        pool, test = help_cells(costs)
        found = []
        for draw in range(3):
            seen = np.random.default_rng(draw).choice(pool, 10, replace=False)
            posterior = prior.condition(table.architectures[seen], costs[seen])
            found.append(spearman(costs[test], features[test] @ posterior.mean))
        assert np.mean(found) > least, device
