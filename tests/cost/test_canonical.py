"""A search predicts what a derivation predicts: the cost of canonical forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.models import CostModel, gaussian, on_canonical_forms, predict_architectures
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.cost.models.gaussian import GaussianProcess
from hwnas_jax.cost.models.prior import TransferConfig, learn_prior
from hwnas_jax.cost.models.roofline import Machine, RooflineModel
from hwnas_jax.cost.models.search_model import fitted_model, search_model, with_fitted
from hwnas_jax.cost.models.table import TableModel
from hwnas_jax.cost.models.transfer import TransferModel
from hwnas_jax.cost.models.with_counts import WithCounts
from hwnas_jax.search.expected_cost import expected_costs
from hwnas_jax.spaces import make_space
from tests.cost.contract import gates, mean_over_draws
from tests.cost.toy import CuttableSpace, ToySpace, synthetic

CELLS = make_space(
    "nasbench201", {"channels": 4, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10
)
EVERY = CELLS.enumerate()
FORMS = CELLS.canonical(EVERY)


def observed(share=0.5):
    """Cells whose cost depends on what is written, with this share, as well as on what runs."""
    rows = CELLS.random(np.random.default_rng(0), 40)
    written, runs = (np.array([0.0, 0.2, 1.0, 2.0, 0.5])[r].sum(1) for r in (
        rows, CELLS.canonical(rows)))  # fmt: skip
    operations = {
        name: {"latency_ms": 0.01 * (1 + number)}
        for number, name in enumerate(CELLS.operations()[0])
    }
    return Observations(rows, {"latency_ms": 1 + runs + share * written}, operations)


def in_pairs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "is_enumerable", lambda space: False)
        return GaussianProcess.fit(CELLS, observed())


def transfer():
    costs = np.random.default_rng(1).uniform(1, 2, (2, 400))
    table = CostTable("toy", CELLS, EVERY[::39][:400], ("a", "b"), {"latency_ms": costs})
    prior = learn_prior(table, ("a", "b"), TransferConfig(hypotheses=16, trials=1))
    # A transfer decides between what is written and what runs; here it takes what is written.
    return TransferModel.of([prior], observed(share=2.0))


EXACT = {
    "gaussian": lambda: GaussianProcess.fit(CELLS, observed()),
    "gaussian in pairs": in_pairs,
    "bayesian": lambda: BayesianAdditive.fit(CELLS, observed()),
    "table": lambda: TableModel.fit(CELLS, observed()),
    "analytic": lambda: AnalyticModel.fit(CELLS, observed()),
    "roofline": lambda: RooflineModel.build(CELLS, Machine(1e10, 1e10), 1),
    "transfer": transfer,
}


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_model_gives_the_mean_over_the_canonical_forms_of_all_cells(name):
    model = EXACT[name]()
    searched = on_canonical_forms(model, CELLS)
    derived = predict_architectures(model, FORMS, CELLS.num_options)
    weights = gates(CELLS, seed=3, count=3)
    found = jax.jit(jax.vmap(searched.predict))(weights)
    for metric in model.metrics:
        means = [mean_over_draws(derived[metric], CELLS, weight) for weight in weights]
        np.testing.assert_allclose(found[metric], means, rtol=1e-4, err_msg=metric)
    if name not in ("roofline", "analytic"):
        # As they are written, architectures cost something else.
        written = predict_architectures(model, EVERY, CELLS.num_options)["latency_ms"]
        assert np.abs(written / derived["latency_ms"] - 1).max() > 0.02


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Picky(CostModel):
    """Costs one in canonical form, and a hundred otherwise."""

    space: object
    name = "picky"
    metrics = ("latency_ms",)

    def predict(self, weight):
        options = jnp.argmax(weight, axis=1)
        cut = (options[0] == 0) & (options != 0).any()
        return {"latency_ms": jnp.where(cut, 100.0, 1.0)}


def test_a_model_whose_expectation_is_sampled_is_asked_about_canonical_forms_alone():
    space = CuttableSpace()
    share = jnp.asarray(gates(space, count=1)[0])
    model = Picky(space)
    for asked, expected in ((model, 10.0), (on_canonical_forms(model, space), 1.0)):
        found = expected_costs(asked, ("latency_ms",), jax.random.key(0), share, 16)
        assert (float(found["latency_ms"]) > 1) == (expected > 1), expected


def test_a_space_without_canonical_forms_needs_no_other_model():
    model = Picky(None)
    assert on_canonical_forms(model, ToySpace()) is model


def test_deviations_are_those_of_canonical_forms():
    model = BayesianAdditive.fit(CELLS, observed())
    searched = on_canonical_forms(model, CELLS)
    hard = np.eye(5, dtype=np.float32)
    found = jax.jit(jax.vmap(searched.std))(hard[EVERY[::1500]])["latency_ms"]
    np.testing.assert_allclose(
        found, jax.jit(jax.vmap(model.std))(hard[FORMS[::1500]])["latency_ms"], rtol=1e-4
    )


def test_counts_stand_beside_a_model_so_that_both_can_be_limited():
    space = CuttableSpace()
    counts = AnalyticModel.count(space)
    model = BayesianAdditive.fit(
        space, synthetic(space, space.enumerate()[::5]).observations(space)
    )
    joint = WithCounts.of(model, space)
    assert joint.metrics == ("latency_ms", "macs", "flops", "params")
    assert joint.exact_expectation and joint.knows_uncertainty
    every, weight = space.enumerate(), gates(space, count=1)[0]
    own = predict_architectures(model, every, 3), predict_architectures(counts, every, 3)
    both = predict_architectures(joint, every, 3)
    for metric in joint.metrics:
        one = own[metric != "latency_ms"][metric]
        np.testing.assert_allclose(both[metric], one, rtol=1e-6)
        assert float(joint.predict(weight)[metric]) == pytest.approx(
            mean_over_draws(one, space, weight), rel=1e-4
        )
    assert float(joint.std(weight)["params"]) == 0 < float(joint.std(weight)["latency_ms"])


def test_what_a_model_predicts_goes_before_what_is_counted():
    space = ToySpace()
    rows = space.enumerate()[::5]
    model = BayesianAdditive.fit(space, Observations(rows, {"params": 5.0 + rows.sum(axis=1)}))
    joint = WithCounts.of(model, space)
    assert joint.metrics == ("params", "macs", "flops")
    found = predict_architectures(joint, rows, 3)["params"]
    np.testing.assert_allclose(found, 5 + rows.sum(axis=1), rtol=0.02)


def test_the_model_of_a_search_has_counts_and_canonical_forms_and_gives_back_what_was_fitted():
    space = CuttableSpace()
    fitted = BayesianAdditive.fit(
        space, synthetic(space, space.enumerate()[::5]).observations(space)
    )
    model = search_model(fitted, space)
    assert model.metrics == ("latency_ms", "macs", "flops", "params")
    assert model.name == "bayesian" and model.exact_expectation
    rows = np.array([[0, 2, 2, 2, 1], [0, 0, 0, 0, 0], [1, 2, 2, 2, 1]], np.int32)
    macs = predict_architectures(model, rows, 3)["macs"]
    assert macs[0] == macs[1] < macs[2]
    assert fitted_model(model) is fitted is fitted_model(fitted)
    other = dataclasses.replace(fitted, metrics=("energy_mj",))
    assert with_fitted(model, other).metrics == ("energy_mj", "macs", "flops", "params")
    assert with_fitted(fitted, other) is other
