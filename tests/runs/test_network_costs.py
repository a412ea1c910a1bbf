"""What networks cost for certain, where the budget is on energy or on what nobody can measure."""

import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, ProfileConfig, override
from hwnas_jax.cost.measure import networks as measuring
from hwnas_jax.cost.measure.energy import ROUNDS
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.runs.network_costs import cost_of
from tests.cost.toy import ToySpace


class Meter:
    """Counts as many millijoules a call as the call says."""

    def __init__(self, device):
        self.device = device

    def per_call_mj(self, call, seconds):
        assert seconds == 0.5
        return call()


class Runtime:
    name, device, options, packages = "fake", "gpu", {}, ()

    def compile_all(self, space, architectures, operations, batch_size, on_compiled):
        assert not list(operations) and batch_size == 8
        for number in range(len(architectures)):
            on_compiled(number + 1)
        return [lambda row=row: float(row.sum()) for row in architectures], []


def test_a_budget_on_energy_is_confirmed_by_energies(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "EnergyMeter", Meter)
    monkeypatch.setattr(measuring, "make_runtime", lambda config: Runtime())
    space, config = (
        ToySpace(),
        override(Config(), profile=ProfileConfig(batch_size=8, energy_s=0.5)),
    )
    networks, seen = [np.array([0, 1, 2, 2, 1]), np.array([2, 2, 2, 2, 1])], []
    found = cost_of(
        space, networks, Target("energy_mj", 7.0), tmp_path, config, Silent(),
        lambda *done: seen.append(done),
    )  # fmt: skip
    assert [sample.median for sample in found.corrected] == [6.0, 9.0]
    assert found.as_timed == found.corrected and found.drift == 1.0
    assert seen[:2] == [(1, 2, "compiling"), (2, 2, "compiling")]
    assert seen[-1] == (ROUNDS, ROUNDS, "energy")


def test_what_can_neither_be_counted_nor_measured_is_named(tmp_path):
    target = Target("edp_mj_ms", 7.0)
    with pytest.raises(UserError, match="that networks can be measured by 'edp_mj_ms': allowed"):
        cost_of(
            ToySpace(), [np.array([0, 1, 2, 2, 1])], target, tmp_path, Config(), Silent(), quiet
        )
