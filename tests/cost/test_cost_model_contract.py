"""The contract of cost models, over the registry; broken models fail the check that names it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.models import COST_MODELS, gaussian, roofline
from hwnas_jax.cost.models.base import ExactModel, FittedModel, as_drawn
from hwnas_jax.cost.models.prior import TransferConfig, learn_prior
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.cost.models.transfer import TransferModel
from hwnas_jax.registry import Part
from hwnas_jax.spaces.core.mixture import marginals
from tests.cost import contract
from tests.cost.toy import CuttableSpace, law_ms, synthetic

SPACE = CuttableSpace()
OBSERVED = synthetic(SPACE, SPACE.enumerate()[::3], noise=0.02).observations(SPACE)
OPTIONS = {
    "mlp": {"members": 2, "hidden": 8, "steps": 60},
    "attention": {"members": 2, "hidden": 8, "steps": 60},
    "linear": {"members": 2},
}


def transfer():
    rows = SPACE.enumerate()
    law = np.array([law_ms(SPACE, row) for row in rows])
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal((2, len(rows))))
    table = CostTable("toy", SPACE, rows, ("a", "b"), {"latency_ms": law * noise})
    prior = learn_prior(table, ("a", "b"), TransferConfig(hypotheses=16, trials=1))
    return TransferModel.of([prior], OBSERVED)


@pytest.fixture(scope="module", params=[*COST_MODELS, "gaussian in pairs"])
def model(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "gaussian in pairs":
            patch.setattr(gaussian, "is_enumerable", lambda space: False)
        patch.setattr(roofline, "measure_machine", lambda: roofline.Machine(1e10, 1e10))
        yield fitted(request.param.partition(" ")[0])


def fitted(name):
    if name == "transfer":
        return transfer()
    return fit_model(Part(name, OPTIONS.get(name, {})), SPACE, OBSERVED)


@pytest.mark.parametrize("check", contract.MODEL_CHECKS)
def test_a_model_keeps_the_contract(model, check):
    check(model, SPACE)


def test_a_model_survives_its_file(model, tmp_path):
    contract.check_file(model, SPACE, tmp_path)


def test_what_a_model_is_called_and_declares():
    for name in COST_MODELS:
        kind = COST_MODELS[name]
        assert issubclass(kind, FittedModel)
        assert kind.name == name and "\n" not in kind.summary
        assert dataclasses.is_dataclass(kind.Options)
        assert kind.exact_expectation == issubclass(kind, ExactModel)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sound(ExactModel, FittedModel):
    """A linear cost of the options; each flaw breaks one part of the contract."""

    flaw: str = ""

    name = "sound"
    summary = "for tests"
    metrics = ("latency_ms",)

    @property
    def knows_uncertainty(self):
        return self.flaw == "claims a deviation"

    def expected(self, weight, forms):
        table = jnp.arange(1.0, 1.0 + weight.size).reshape(weight.shape)
        return {"latency_ms": (marginals(forms, weight.shape) * table).sum()}

    def predict(self, weight):
        (cost,) = super().predict(weight).values()
        match self.flaw:
            case "a vector":
                cost = cost * jnp.ones(2)
            case "another metric":
                return {"energy_mj": cost}
            case "a square":
                cost = cost**2
            case "no gradient":
                cost = jax.lax.stop_gradient(cost)
            case "not a number":
                cost = jnp.log(-cost)
        return {"latency_ms": cost}

    def std(self, weight):
        if self.flaw == "a negative deviation":
            return {"latency_ms": -jnp.ones(())}
        return super().std(weight)

    def predict_encoded(self, rows, num_options):
        (costs,) = super().predict_encoded(rows, num_options).values()
        return {"latency_ms": costs + (self.flaw == "another quick way")}

    @classmethod
    def fit(cls, space, observations, options, *, seed=0):
        raise NotImplementedError

    def contents(self):
        return {}, {}

    @classmethod
    def load(cls, values, arrays, space):
        return cls()


@pytest.mark.parametrize(
    ("flaw", "check", "told"),
    [
        ("a vector", contract.check_shapes, "latency_ms"),
        ("another metric", contract.check_shapes, "metrics"),
        ("not a number", contract.check_shapes, "latency_ms"),
        ("another quick way", contract.check_architectures, "latency_ms"),
        ("no gradient", contract.check_gradient, "gradient of latency_ms"),
        ("a negative deviation", contract.check_uncertainty, "std of latency_ms"),
        ("claims a deviation", contract.check_uncertainty, "std of latency_ms"),
        ("a square", contract.check_expectation, "expectation of latency_ms"),
    ],
)
def test_a_broken_model_is_told(flaw, check, told):
    check(Sound(), SPACE)
    with pytest.raises(AssertionError, match=told):
        check(Sound(flaw), SPACE)


def test_a_broken_file_and_a_broken_distribution_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(COST_MODELS._own, "sound", Sound)
    contract.check_file(Sound(), SPACE, tmp_path)
    with pytest.raises(AssertionError, match="latency_ms"):
        contract.check_file(Sound("a square"), SPACE, tmp_path)
    contract.check_canonical(Sound(), SPACE)

    class Unaware(Sound):
        """Takes every architecture as it is written, whatever it is asked about."""

        def expected(self, weight, forms):
            return super().expected(weight, as_drawn(weight))

    with pytest.raises(AssertionError, match="latency_ms"):
        contract.check_canonical(jax.tree_util.register_static(Unaware)(), SPACE)
