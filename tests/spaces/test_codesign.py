"""Network and accelerator together: the contract, costs, gradients, and a whole job in small."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.config import ProfileConfig, load_config, override
from hwnas_jax.cost import Accelerator, Observations, profile
from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.cost.simulate.codesign import joint_costs
from hwnas_jax.cost.simulate.estimates import estimate, hardware_of
from hwnas_jax.cost.simulate.layers import space_layers
from hwnas_jax.cost.simulate.systolic import layer_costs, layer_shapes, stack_designs
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.relax.base import softmax_probabilities
from hwnas_jax.runs.run import Run
from hwnas_jax.search import candidates
from hwnas_jax.search.anneal import least_over, minimise
from hwnas_jax.search.expected_cost import expected_costs
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.hardware import TEMPLATES, Design, Technology, area_mm2
from tests.helpers import FEW_SAMPLES, SMALL
from tests.spaces import contract
from tests.spaces.passes import check_space

SIZES = {"rows": "4,8", "columns": "4,16", "buffer_kib": "2,8,64", "dataflow": "ws,rs"}


def space(off=None, **args):
    given = {"network_args": "channels=2,cells=1", **SIZES, **args}
    return make_space("codesign", given, input_shape=(8, 8, 1), num_outputs=3, off=off)


def test_contract():
    own = space(network="complete_graph", network_args="channels=2,nodes=3,stages=1")
    check_space(own)
    contract.check_codecs(own)
    contract.check_counts(own, extra=own.num_outputs)
    contract.check_tables_agree(own)
    assert own.size == own.network_space.size * 24 == 116 * 24
    assert space().size == 15625 * 24


def test_the_network_is_that_of_its_own_space():
    own = space(network="nasbench_macro", network_args="width=0.1,depth=1,halvings=2")
    assert own.network_space.name == "nasbench_macro"
    assert own.operations()[0].keys() == own.network_space.operations()[0].keys()
    contract.check_codecs(own, count=20)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_accelerator_is_in_the_string(seed):
    own = space()
    (row,) = own.random(np.random.default_rng(seed), 1)
    network, _, hardware = own.to_string(row).rpartition(" @ ")
    assert hardware == own.design(row).label
    np.testing.assert_array_equal(own.network_space.from_string(network), row[:6])
    assert own.designs[own.design_numbers(row[None])[0]] == own.design(row)


def test_templates_give_what_is_not_decided():
    own = space(template="tpu-like,eyeriss-like", rows="", columns="", dataflow="")
    row = own.from_string(
        "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2| @ eyeriss-like,8KiB"
    )
    assert own.design(row) == dataclasses.replace(TEMPLATES["eyeriss-like"], buffer_kib=8)
    contract.check_codecs(own, count=20)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"dataflow": "ws,weight"}, "unknown dataflow in space.args.dataflow 'weight'"),
        ({"template": "tpu"}, "Did you mean 'tpu-like'"),
        ({"rows": "0,8"}, "rows must list whole numbers from 1 to .* got '0'"),
        ({"rows": "8,8"}, "names an option twice"),
        ({"buffer_kib": ""}, "buffer_kib is empty"),
        ({"template": "tpu-like", "rows": ""}, "together, or neither"),
        ({"clock_mhz": 0.0}, "clock_mhz = 0.0 must be greater than 0"),
        ({"area_limit_mm2": 1e-3}, "below every accelerator: the smallest, 4x4,2KiB,ws, takes"),
        ({"network": "nasbench202"}, "nasbench201"),
        ({"network": "somewhere.py:Mine"}, "whose code a file may not start"),
        ({"network_args": "channels"}, "as 'channels=8,cells=1'"),
        ({"network_args": "chanels=8"}, "Did you mean 'channels'"),
    ],
)
def test_impossible_arguments_are_named(args, word):
    with pytest.raises(UserError, match=word):
        space(**args)


@pytest.mark.parametrize(
    "hardware", ["8x4,64KiB", "tpu-like", "8x4,64KiB,ws,ws", "", "9x4,2KiB,ws"]
)
def test_strings_of_other_accelerators_are_named(hardware):
    own = space()
    network = own.to_string(own.enumerate()[0]).rpartition(" @ ")[0]
    with pytest.raises(UserError, match=r"form is <network> @ 16x16,64KiB,ws|array_rows"):
        own.from_string(f"{network} @ {hardware}")


def test_accelerators_beyond_the_limit_are_no_members():
    limit = area_mm2(Design(8, 4, 64, "ws"))
    own, free = space(area_limit_mm2=limit), space()
    within = [area_mm2(design) <= limit for design in free.designs]
    assert own.size == 15625 * sum(within) < free.size
    drawn = own.random(np.random.default_rng(0), 200)
    assert max(area_mm2(own.design(row)) for row in drawn) <= limit
    assert own.feasible(drawn).all()
    with pytest.raises(UserError, match="leaves no accelerator"):
        own.restricted({"array_columns": ("4",), "buffer_kib": ("2", "8"), "array_rows": ("4",)})


def test_restrictions_reach_both_parts():
    own = space({"3<-2": ("none",), "dataflow": ("rs",)})
    assert own.size == 15625 // 5 * 4 * 12
    assert (own.random(np.random.default_rng(0), 50)[:, [5, 9]] != [0, 1]).all()


def test_costs_are_sums_over_the_layers_of_each_pair():
    own = space()
    rows = own.random(np.random.default_rng(1), 6)
    found = joint_costs(own, rows, batch_size=2)
    layers_of = space_layers(own.network_space, 2)
    for number, row in enumerate(rows):
        design = own.design(row)
        counted = layers_of(row[:6])
        costs = layer_costs(layer_shapes(list(counted)), stack_designs([design]), Technology())
        times = np.array(list(counted.values()))
        latency_ms = (times * np.asarray(costs.latency_ms)[:, 0]).sum()
        energy_mj = (times * np.asarray(costs.energy_mj)[:, 0]).sum()
        expected = {
            "latency_ms": latency_ms, "energy_mj": energy_mj, "area_mm2": area_mm2(design),
            "edp_mj_ms": latency_ms * energy_mj,
            "edap_mj_ms_mm2": latency_ms * energy_mj * area_mm2(design),
        }  # fmt: skip
        for metric, value in expected.items():
            assert found[metric][number] == pytest.approx(value, rel=1e-5)
    with pytest.raises(UserError, match="the space codesign wraps it"):
        joint_costs(own.network_space, rows[:, :6])


def test_the_expected_cost_has_a_gradient_in_both_parts():
    """Against the mean over all 16 pairs of a restricted space, by finite differences."""
    off = {
        "1<-0": ("none", "skip_connect", "avg_pool_3x3"), "2<-*": ("n*", "avg_pool_3x3"),
        "3<-0": ("none", "skip_connect", "avg_pool_3x3"), "3<-1": ("none", "nor*", "avg_pool_3x3"),
        "3<-2": ("none", "nor*", "avg_pool_3x3"), "array_rows": ("4",), "buffer_kib": ("8", "64"),
    }  # fmt: skip
    own = space(off)
    sample = space().random(np.random.default_rng(2), 200)
    values = {"edp_mj_ms": joint_costs(space(), sample)["edp_mj_ms"]}
    options = MLPEnsemble.Options(members=2, steps=60)
    model = MLPEnsemble.fit(space(), Observations(sample, values), options)
    mask, every = jnp.asarray(own.mask), own.enumerate()
    assert len(every) == 16
    each = np.asarray(
        jax.vmap(lambda row: model.predict(jax.nn.one_hot(row, 5))["edp_mj_ms"])(every), float
    )
    logits = np.random.default_rng(3).normal(size=mask.shape).astype(np.float32)

    def enumerated(logits):
        share = np.asarray(softmax_probabilities(jnp.asarray(logits), mask), float)
        return (share[np.arange(10), every].prod(axis=1) * each).sum()

    value, gradient = jax.jit(
        jax.value_and_grad(
            lambda logits: expected_costs(
                model, ("edp_mj_ms",), jax.random.key(0), softmax_probabilities(logits, mask), 100
            )["edp_mj_ms"]
        )
    )(jnp.asarray(logits))
    assert value == pytest.approx(enumerated(logits), rel=0.05)
    for decision in (0, 3, 7, 9):
        option = int(np.flatnonzero(own.mask[decision])[0])
        up, down = logits.copy(), logits.copy()
        up[decision, option] += 1e-2
        down[decision, option] -= 1e-2
        slope = (enumerated(up) - enumerated(down)) / 2e-2
        assert slope != 0
        assert gradient[decision, option] == pytest.approx(slope, rel=0.15), decision


def test_a_profile_is_computed_and_asked_again(tmp_path):
    own, config = space(), ProfileConfig(runtime="systolic", networks=20, batch_size=1)
    save_measurements(profile(own, config), tmp_path / "file.json")
    found = load_measurements(tmp_path / "file.json", own)
    assert (found.source, found.runtime) == ("simulated", "systolic")
    assert found.metrics[-2:] == ("edp_mj_ms", "edap_mj_ms_mm2")
    assert hardware_of(found).resident
    rows = found.encoded(own)[:3]
    again = estimate(own, rows, hardware_of(found), batch_size=found.batch_size).networks
    # The sums run over the layers of three networks in place of twenty, in another order.
    for one, other in zip(again, found.networks[:3], strict=True):
        assert {m: sample.median for m, sample in one.items()} == pytest.approx(
            {m: sample.median for m, sample in other.items()}, rel=1e-12
        )
    with pytest.raises(UserError, match="bring accelerators of their own"):
        estimate(own, found.encoded(own), Accelerator())
    with pytest.raises(UserError, match="'jax' does not go with the space codesign"):
        profile(own, ProfileConfig())
    with pytest.raises(UserError, match="'systolic' does not go with the space nasbench201"):
        profile(own.network_space, config)


def interlocked(rng):
    """Costs `[27, 9]` and accuracies `[27]` of networks each of which suits other accelerators."""
    networks = np.array(list(itertools.product(range(3), repeat=3)))
    designs = np.array(list(itertools.product(range(3), repeat=2)))
    work = 1.0 + networks.sum(axis=1)
    suits = (networks[:, :1] - designs[:, 0]) ** 2 + (networks[:, 1:2] - designs[:, 1]) ** 2
    costs = work[:, None] * (1 + 1.5 * suits) * (1 + 0.3 * designs.sum(axis=1))
    accuracy = 60 + 4 * networks.sum(axis=1) + rng.normal(0, 1, len(networks))
    return costs * np.exp(rng.normal(0, 0.05, costs.shape)), accuracy


def test_searched_together_is_better_than_one_after_the_other():
    joint, first, second = [], [], []
    free = jnp.ones((3, 3), bool)
    answers = jnp.eye(3)[np.indices((3, 3)).reshape(2, -1).T]
    for seed in range(5):
        costs, accuracy = interlocked(np.random.default_rng(seed))
        least = np.quantile(accuracy, 0.6)
        allowed = np.where(accuracy[:, None] >= least, costs, np.inf)
        table = jnp.asarray(np.log(costs).reshape(3, 3, 3, 3, 3), jnp.float32)
        short = jnp.asarray(np.maximum(least - accuracy, 0).reshape(3, 3, 3), jnp.float32)

        def function(weight, table=table, short=short):
            option = tuple(jnp.argmax(weight, axis=-1))
            return table[option] + jnp.minimum(short[option[:3]], 1.0) + 2 * short[option[:3]]

        search = jax.jit(
            jax.vmap(lambda key, f=function: minimise(least_over(f, answers), free, key))
        )
        logits = np.asarray(search(jax.random.split(jax.random.key(seed), 8)))
        networks = logits.argmax(axis=-1) @ [9, 3, 1]
        ends = [allowed[network, costs[network].argmin()] for network in networks]
        joint.append(min(ends) / allowed.min())
        first.append(allowed[allowed[:, 8].argmin()].min() / allowed.min())
        most = costs[accuracy.argmax()].argmin()
        second.append(allowed[:, most].min() / allowed.min())
    assert np.mean(joint) <= 1.02
    assert np.mean(joint) < min(np.mean(first), np.mean(second)) - 0.05, (joint, first, second)


@pytest.mark.slow
def test_search_meets_its_target(tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "SAMPLES", FEW_SAMPLES)
    config = load_config("codesign")
    args = {**config.space.args, "network_args": "channels=2,cells=1"}
    changes = {**SMALL, "profile__networks": 60, "profile__batch_size": 1}
    config = override(config, space__args=args, **changes)
    Run.create(config, tmp_path / "run").all()
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    losses = [line["weight_loss"] for line in lines if "weight_loss" in line]
    assert np.mean(losses[-3:]) < 0.95 * losses[0]
    target = read_json(folder / "targets.json", "targets")["targets"][0]["value"]
    own = Run.open(folder).space
    networks = read_json(folder / "networks.json", "networks")["networks"]
    assert [network["origin"] for network in networks] == ["search", "random"]
    for network in networks:
        assert 0.8 * target <= network["predicted"] <= target
        row = own.from_names(network["architecture"])
        exact = joint_costs(own, row[None])["edap_mj_ms_mm2"][0]
        assert network["measured"] == pytest.approx(exact)
        assert own.design(row).label in network["string"]
    assert (folder / "report.html").is_file()
