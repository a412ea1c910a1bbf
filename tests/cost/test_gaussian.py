import jax
import numpy as np
import pytest

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models import gaussian
from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.cost.models.canonical import on_canonical_forms
from hwnas_jax.cost.models.gaussian import GaussianProcess
from hwnas_jax.cost.models.gaussian_regression import regress
from hwnas_jax.cost.models.interaction_kernel import AdditiveKernel
from hwnas_jax.cost.models.registry import load_cost_model
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz, write_npz
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.published import fbnet, nasbench201
from tests.cost.contract import gates, mean_over_draws
from tests.cost.toy import ToySpace, law_ms, synthetic

CELLS, TOY = nasbench201(), ToySpace()
SIZES = {
    "width": 0.1, "units": "1,2", "resolutions": "4,8", "depths": "1,2", "kernels": "3,5",
    "expansions": "1,2", "halvings": 1,
}  # fmt: skip
ELASTIC = make_space("ofa", SIZES, input_shape=(8, 8, 1), num_outputs=3)


def _toy(noise=0.02, count=75, seed=3):
    space = ToySpace()
    rows = np.random.default_rng(seed).permutation(space.enumerate())[:count]
    return synthetic(space, rows, noise).observations(space)


def _cells(count=120, noise=0.03, seed=0):
    """Cells whose cost is a table over what runs plus one over what is written, with noise."""
    rng = np.random.default_rng(seed)
    rows = CELLS.random(rng, count)
    latency_ms = _cell_law(rows) * np.exp(noise * rng.standard_normal(count))
    return Observations(rows, {"latency_ms": latency_ms})


def _cell_law(rows):
    runs = CELLS.canonical(rows)
    each = np.array([0.0, 0.3, 1.0, 2.5, 0.6])
    return (
        2
        + each[runs].sum(axis=1)
        + 0.2 * each[rows].sum(axis=1)
        + 0.5 * (runs[:, 5] == 3) * (runs[:, 0] == 3)
    )


KINDS = [GaussianProcess, BayesianAdditive]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def toy(request):
    return request.param.fit(ToySpace(), _toy())


@pytest.fixture(scope="module")
def untabulated():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "is_enumerable", lambda space: False)
        return GaussianProcess.fit(CELLS, _cells())


def _elastic_law(rows):
    """Of networks in which depths close layers; what is closed costs nothing."""
    form = ELASTIC.canonical(rows)
    each = np.random.default_rng(1).uniform(0.1, 1.0, ELASTIC.mask.shape)
    return 1 + each[np.arange(form.shape[1]), form].sum(axis=1) + 0.5 * form[:, 0] * form[:, -1]


@pytest.fixture(scope="module")
def elastic():
    rows = ELASTIC.random(np.random.default_rng(0), 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "is_enumerable", lambda space: False)
        return GaussianProcess.fit(ELASTIC, Observations(rows, {"latency_ms": _elastic_law(rows)}))


def _predict_all(model, space):
    return predict_architectures(model, space.enumerate(), space.num_options)["latency_ms"]


def test_the_law_is_learned_and_the_interval_holds(toy):
    space = ToySpace()
    rows = space.enumerate()
    truth = np.array([law_ms(space, row) for row in rows])
    errors = np.abs(predict_architectures(toy, rows, 3)["latency_ms"] / truth - 1)
    assert errors.mean() < 0.03
    fresh = synthetic(space, rows, noise=0.02, seed=9).latencies_ms
    mean = predict_architectures(toy, rows, 3)["latency_ms"]
    deviation = std_architectures(toy, rows, 3)["latency_ms"]
    assert 0.8 < (np.abs(fresh - mean) < 1.645 * deviation).mean() <= 1.0


def test_what_other_decisions_close_costs_nothing(elastic):
    """Also where it is written: networks that are equal are predicted alike, and right."""
    rows = ELASTIC.enumerate()
    found = _predict_all(elastic, ELASTIC)
    alike = predict_architectures(elastic, ELASTIC.canonical(rows), 2)["latency_ms"]
    np.testing.assert_allclose(found, alike, rtol=0.02)
    assert np.abs(found / _elastic_law(rows) - 1).mean() < 0.02


def test_gates_give_the_mean_where_decisions_govern_others(elastic):
    """Several governors are several groups of decisions, each a mixture of forms of its own."""
    weights, every = gates(ELASTIC, count=3), ELASTIC.enumerate()
    for model, rows in (
        (elastic, every), (on_canonical_forms(elastic, ELASTIC), ELASTIC.canonical(every)),
    ):  # fmt: skip
        costs = predict_architectures(elastic, rows, ELASTIC.num_options)["latency_ms"]
        found = jax.jit(jax.vmap(model.predict))(weights)["latency_ms"]
        means = [mean_over_draws(costs, ELASTIC, weight) for weight in weights]
        np.testing.assert_allclose(found, means, rtol=2e-5)


def test_both_forms_of_the_process_agree(untabulated):
    """On a truth without triples or empty networks of their own they hold the same posterior."""
    observed = _cells()
    rows = CELLS.random(np.random.default_rng(5), 200)
    tabulated = predict_architectures(GaussianProcess.fit(CELLS, observed), rows, 5)
    pairwise = predict_architectures(untabulated, rows, 5)
    np.testing.assert_allclose(tabulated["latency_ms"], pairwise["latency_ms"], rtol=0.05)


def test_the_pairwise_form_is_the_textbook_posterior(untabulated):
    observed, asked = _cells(), CELLS.random(np.random.default_rng(5), 20)
    kernel = AdditiveKernel(CELLS, 2)
    values = observed.values["latency_ms"] / observed.values["latency_ms"].mean()
    parts = np.array(list(kernel.parts(observed.architectures, observed.architectures)))
    fit = regress(parts, values, names=kernel.names)
    across = np.tensordot(
        fit.variances, np.array(list(kernel.parts(asked, observed.architectures))), 1
    )
    matrix = np.linalg.inv(fit.precision)
    mean = across @ np.linalg.solve(matrix, values)
    own = [np.diag(part) for part in kernel.parts(asked, asked)]
    variance = np.tensordot(fit.variances, own, 1)
    variance -= (across * np.linalg.solve(matrix, across.T).T).sum(axis=1)
    noise = (fit.relative * mean) ** 2 + fit.absolute**2
    scale = observed.values["latency_ms"].mean()
    np.testing.assert_allclose(
        predict_architectures(untabulated, asked, 5)["latency_ms"], scale * mean, rtol=1e-4
    )
    np.testing.assert_allclose(
        std_architectures(untabulated, asked, 5)["latency_ms"],
        scale * fit.spread * np.sqrt(variance + noise), rtol=0.01,
    )  # fmt: skip


def test_the_additive_posterior_is_bayesian_linear_regression():
    """Against the normal equations on explicit features, with the same variances."""
    space = fbnet()
    rng = np.random.default_rng(0)
    rows = space.random(rng, 60)
    values = 1 + rng.random((22, 9))[np.arange(22), rows].sum(axis=1)
    observed = Observations(rows, {"latency_ms": values})
    model = BayesianAdditive.fit(space, observed)
    kernel = AdditiveKernel(space, 1)
    parts = np.array(list(kernel.parts(rows, rows)))
    fit = regress(parts, values / values.mean(), names=kernel.names)
    names = dict(zip(kernel.names, fit.variances, strict=True))

    def features(some):
        one_hot = np.eye(9)[some]
        return np.concatenate(
            [np.ones((len(some), 1)), one_hot.sum(axis=1) / 22, one_hot.reshape(len(some), -1)],
            axis=1,
        )

    prior = np.repeat([names["constant"], names["shared"], names["single"] / 22], [1, 9, 198])
    kernel_matrix = (features(rows) * prior) @ features(rows).T
    own_noise = np.diag(np.linalg.inv(fit.precision) - kernel_matrix)
    design = features(rows)
    covariance = np.linalg.inv(np.diag(1 / prior) + (design.T / own_noise) @ design)
    weights = covariance @ (design.T / own_noise) @ (values / values.mean())
    asked = space.random(rng, 10)
    np.testing.assert_allclose(
        predict_architectures(model, asked, 9)["latency_ms"],
        values.mean() * features(asked) @ weights, rtol=1e-3,
    )  # fmt: skip
    known = ((features(asked) @ covariance) * features(asked)).sum(axis=1)
    mean = features(asked) @ weights
    expected = fit.spread * np.sqrt(known + (fit.relative * mean) ** 2 + fit.absolute**2)
    np.testing.assert_allclose(
        std_architectures(model, asked, 9)["latency_ms"], values.mean() * expected, rtol=0.02
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_metric_has_a_law_of_its_own(kind):
    space = ToySpace()
    rows = np.random.default_rng(2).permutation(space.enumerate())
    laws = {"energy_mj": 5.0 + rows[:, 0] ** 2, "latency_ms": 1.0 + rows[:, 4] + rows[:, 1]}
    seen = Observations(rows[::4], {metric: law[::4] for metric, law in laws.items()})
    model = kind.fit(space, seen)
    assert model.metrics == ("energy_mj", "latency_ms")
    for metric, found in predict_architectures(model, rows, 3).items():
        assert np.abs(found / laws[metric] - 1).mean() < 0.04


def test_no_cell_is_predicted_to_cost_nothing():
    """From cells that differ by far more than their parts do, an additive law leads below zero."""
    rows = CELLS.random(np.random.default_rng(5), 12)
    values = 10.0 ** np.random.default_rng(0).uniform(-1, 2, len(rows))
    plain = BayesianAdditive.fit(CELLS, Observations(rows, {"latency_ms": values}))
    assert _predict_all(plain, CELLS).min() < 0
    model = GaussianProcess.fit(CELLS, Observations(rows, {"latency_ms": values}))
    assert _predict_all(model, CELLS).min() >= 0.00999 * values.min()


def test_a_network_that_computes_nothing_has_a_part_of_its_own():
    rng = np.random.default_rng(0)
    rows = CELLS.random(rng, 150)
    cut = (CELLS.canonical(rows) == 0).all(axis=1)
    rows = np.concatenate([rows, np.zeros((1, 6), np.int32), [[3, 3, 3, 0, 0, 0]]]).astype(np.int32)
    cut = np.concatenate([cut, [True, True]])
    observed = Observations(rows, {"latency_ms": np.where(cut, 0.01, _cell_law(rows))})
    model = GaussianProcess.fit(CELLS, observed)
    asked = np.array([[1, 0, 2, 0, 0, 0], [2, 2, 2, 0, 0, 0]], np.int32)
    assert predict_architectures(model, asked, 5)["latency_ms"].max() < 0.6
    fine = CELLS.random(rng, 100)
    fine = fine[(CELLS.canonical(fine) > 0).any(axis=1)]
    errors = predict_architectures(model, fine, 5)["latency_ms"] / _cell_law(fine) - 1
    assert np.abs(errors).mean() < 0.05


def test_a_space_too_large_to_tabulate():
    space = fbnet()
    rng = np.random.default_rng(0)
    table = rng.uniform(0.1, 2, (22, 9))
    rows, asked = space.random(rng, 200), space.random(rng, 50)
    truth = lambda some: 5 + table[np.arange(22), some].sum(axis=1)  # noqa: E731
    model = GaussianProcess.fit(space, Observations(rows, {"latency_ms": truth(rows)}))
    errors = predict_architectures(model, asked, 9)["latency_ms"] / truth(asked) - 1
    assert np.abs(errors).mean() < 0.02
    assert (std_architectures(model, asked, 9)["latency_ms"] > 0).all()


def test_what_cannot_be_fitted_is_refused(monkeypatch):
    space = ToySpace()
    with pytest.raises(UserError, match="needs 4 measured networks, there are 3"):
        GaussianProcess.fit(space, _toy().subset(np.arange(3)))
    with pytest.raises(UserError, match="needs 2 measured"):
        BayesianAdditive.fit(space, _toy().subset(np.arange(1)))
    with pytest.raises(UserError, match=r"needs a positive latency_ms; network \[1\] has -1"):
        BayesianAdditive.fit(space, Observations(space.enumerate()[:3],
                             {"latency_ms": np.array([1.0, -1.0, 2.0])}))  # fmt: skip
    monkeypatch.setattr(GaussianProcess, "most_networks", 50)
    with pytest.raises(UserError, match="at most 50 networks, there are 75"):
        GaussianProcess.fit(space, _toy())


@pytest.mark.parametrize(
    ("name", "value"), [("means", -7.25), ("variances", -1), ("means", np.nan)]
)
def test_a_file_of_impossible_costs_is_refused(tmp_path, name, value):
    path = tmp_path / "model.npz"
    GaussianProcess.fit(TOY, _toy(count=20)).save(path, TOY)
    arrays = read_npz(path)
    arrays[name].flat[0] = value
    write_npz(path, arrays)
    with pytest.raises(UserError, match=rf"model\.npz: {name} at \[0,.*\] is {value}"):
        load_cost_model(path, TOY)
