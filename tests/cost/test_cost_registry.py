"""Cost models by name: options, a user's own file, files that name a model not known here."""

import dataclasses

import jax
import numpy as np
import pytest

from hwnas_jax.cost.models import COST_MODELS, load_cost_model, predict_architectures
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.cost.models.registry import check_cost_model, fit_model, refit
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz, write_npz
from hwnas_jax.registry import Part
from tests.cost import contract
from tests.cost.toy import CuttableSpace, ToySpace, synthetic

SPACE = CuttableSpace()
OBSERVED = synthetic(SPACE, SPACE.enumerate()[::5]).observations(SPACE)

OWN = '''
import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from hwnas_jax.cost.models.base import FittedModel
from hwnas_jax.cost.models.model_file import check_array


@dataclasses.dataclass(frozen=True)
class Options:
    penalty: Annotated[float, Gt(0)] = 1e-3


@functools.partial(jax.tree_util.register_dataclass, data_fields=["table"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Ridge(FittedModel):
    """A plain ridge on one-hot rows, bent so that costs stay positive."""

    table: jax.Array

    name = "ridge"
    summary = "a ridge in closed form"
    Options = Options
    metrics = ("latency_ms",)

    @classmethod
    def fit(cls, space, observations, options, *, seed=0):
        rows = np.eye(space.num_options)[observations.architectures].reshape(len(observations), -1)
        gram = rows.T @ rows + options.penalty * np.eye(rows.shape[1])
        table = np.linalg.solve(gram, rows.T @ observations.values["latency_ms"])
        return cls(jnp.asarray(table.reshape(space.mask.shape), jnp.float32))

    def predict(self, weight):
        return {"latency_ms": jnp.logaddexp(0.0, 5 * (weight * self.table).sum()) / 5}

    def contents(self):
        return {}, {"table": self.table}

    @classmethod
    def load(cls, values, arrays, space):
        return cls(jnp.asarray(check_array(arrays, "table", space.mask.shape)))
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(COST_MODELS, "_admitted", {})
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_model_from_a_file_keeps_the_contract(own, tmp_path):
    assert len(OWN.splitlines()) < 60
    model = fit_model(Part(f"{own}:Ridge", {"penalty": 0.01}), SPACE, OBSERVED)
    for check in contract.MODEL_CHECKS:
        check(model, SPACE)
    contract.check_file(model, SPACE, tmp_path)
    errors = predict_architectures(model, OBSERVED.architectures, 3)["latency_ms"]
    assert (
        np.abs(errors / OBSERVED.values["latency_ms"] - 1)[OBSERVED.architectures[:, 0] > 0].mean()
        < 0.1
    )


def test_a_file_of_a_model_that_is_not_known_here_runs_no_code(own, tmp_path, monkeypatch):
    fit_model(Part(f"{own}:Ridge"), SPACE, OBSERVED).save(tmp_path / "m.npz", SPACE)
    monkeypatch.setattr(COST_MODELS, "_admitted", {})
    own.write_text("raise SystemExit('it was run')")
    with pytest.raises(UserError, match=r"m\.npz: unknown cost model 'ridge'"):
        load_cost_model(tmp_path / "m.npz", SPACE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("def contents(self)", "def content(self)"), "lacks contents"),
        (("    summary = ", "    about = "), "lacks summary"),
        (('name = "ridge"', 'name = "mlp"'), "called 'mlp', a name that a built-in cost model"),
        (("class Ridge(FittedModel)", "class Ridge"), "is no cost model: it must be a subclass"),
        (('latency_ms": jnp.l', 'latency": jnp.l'), "one number for each of latency_ms, got .*y'"),
        (("self.table).sum()", "self.table).sum(axis=1)"), "got {'latency_ms': .5,.}"),
        (("weight * self.table", "weight @ self.table"), "predict fails on gates"),
    ],
)
def test_a_model_that_lacks_part_of_the_contract_is_named(own, change, reason):
    assert change[0] in OWN
    own.write_text(OWN.replace(*change))
    with pytest.raises(UserError, match=f"(?s){reason}"):
        fit_model(Part(f"{own}:Ridge"), SPACE, OBSERVED)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Part("gausian"), "unknown cost model 'gausian'.*Did you mean 'gaussian'"),
        (Part("mlp", {"member": 2}), "unknown option of the cost model mlp 'member'.*'members'"),
        (Part("mlp", {"members": 0}), "cost model mlp: members = 0 must be greater than 0"),
        (Part("mlp", {"loss": "hinge"}), "loss = 'hinge' must be 'log', 'rank' or 'both'"),
        (Part("gaussian", {"members": 2}), "unknown option of the cost model gaussian 'members'"),
    ],
)
def test_a_wrong_name_or_option_is_refused(part, reason):
    with pytest.raises(UserError, match=f"(?s){reason}"):
        check_cost_model(part)


def test_options_reach_the_fit():
    model = fit_model(Part("mlp", {"members": 3, "hidden": 5, "steps": 2}), SPACE, OBSERVED)
    assert model.parameters["first"].shape[::2] == (3, 5)


def test_a_model_is_fitted_again_with_its_own_options():
    fewer = OBSERVED.subset(np.arange(12))
    model = MLPEnsemble.fit(SPACE, fewer, MLPEnsemble.Options(members=2, hidden=4, steps=2))
    again = refit(model, Part("mlp", {"members": 3, "steps": 2}), SPACE, OBSERVED)
    assert again.parameters["first"].shape[::2] == (3, 32)
    plain = BayesianAdditive.fit(SPACE, fewer)
    other = refit(plain, Part("mlp", {"members": 3}), SPACE, OBSERVED)
    assert isinstance(other, BayesianAdditive)
    direct = BayesianAdditive.fit(SPACE, OBSERVED)
    jax.tree.map(np.testing.assert_array_equal, other.mean, direct.mean)


def test_a_file_whose_deviations_are_not_finite_is_refused(tmp_path):
    BayesianAdditive.fit(SPACE, OBSERVED).save(tmp_path / "m.npz", SPACE)
    arrays = read_npz(tmp_path / "m.npz")
    write_npz(tmp_path / "m.npz", arrays | {"root": np.full_like(arrays["root"], 3e38)})
    with pytest.raises(UserError, match="its standard deviations of latency_ms are no finite"):
        load_cost_model(tmp_path / "m.npz", SPACE)


def test_options_are_plain_values_with_defaults():
    for name in COST_MODELS:
        options = COST_MODELS[name].Options()
        for value in dataclasses.asdict(options).values():
            assert isinstance(value, int | float | bool | str)


def test_models_that_build_operations_say_so():
    needs = {name for name in COST_MODELS if COST_MODELS[name].needs_space}
    assert needs == {"table", "analytic", "roofline"}
    reads = {name for name in COST_MODELS if COST_MODELS[name].reads_operations(ToySpace())}
    assert reads == {"table", "bayesian", "linear", "mlp", "attention"}
