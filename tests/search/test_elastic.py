"""Elastic training: which options are open, which networks a step trains, and who teaches."""

import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.relax import one_hot_gates
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.search.elastic import open_options, sandwich, stages_of
from hwnas_jax.spaces import SPACES, make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.helpers import small_search, stripes
from tests.search.steps import KEY, UNCLIPPED, batches, weight_gradient

SIZES = {"input_shape": (8, 8, 1), "num_outputs": 3}
ARGS = {
    "channels": {"width": 0.2, "stages": 2, "depth": 1, "divisor": 1, "expansion": 2,
                 "halvings": 1, "head": 20, "fractions": "0.5,1.0"},
    "ofa": {"width": 0.1, "units": "2", "depths": "1,2", "kernels": "1,3,5",
            "expansions": "1,2", "halvings": 1},
    "autoformer": {"embeddings": "4,6,8", "depths": "1,2", "heads": "1,2", "ratios": "1,2",
                   "head_size": 2, "patch": 4},
}  # fmt: skip
"""Options of small spaces, of every space that has an elastic supernet."""


@functools.cache
def small(name):
    return make_space(name, ARGS[name], **SIZES)


def chosen(space, opened):
    """Returns the names of the options that are open, by decision."""
    return {
        decision.name: [option for option, is_open in zip(decision.options, row, strict=False)
                        if is_open]
        for decision, row in zip(space.decisions, opened, strict=True)
    }  # fmt: skip


def test_every_nested_space_is_tried():
    assert {name for name in SPACES if SPACES[name].nested} == ARGS.keys()


def test_options_open_kind_after_kind_the_largest_first():
    space = make_space("ofa", {**ARGS["ofa"], "resolutions": "4,8"}, **SIZES)
    expected = {
        "kernel": [["5"], ["3", "5"], ["1", "3", "5"], ["1", "3", "5"], ["1", "3", "5"]],
        "depth": [["2"], ["2"], ["2"], ["1", "2"], ["1", "2"]],
        "expansion": [["2"], ["2"], ["2"], ["2"], ["1", "2"]],
        "resolution": [["4", "8"]] * 5,
    }
    stages = stages_of(space)
    assert stages.shape == (5, space.num_decisions, space.num_options)
    for number, opened in enumerate(stages):
        for name, options in chosen(space, opened).items():
            assert options == expected[name.rpartition(".")[2]][number], (number, name)
    np.testing.assert_array_equal(stages[-1], space.mask)


def test_options_that_are_off_stay_closed():
    space = make_space("channels", {**ARGS["channels"], "fractions": "0.4,0.7,1.0"}, **SIZES)
    space = space.restricted({"layer1": ["5"]})
    assert [chosen(space, opened) for opened in stages_of(space)] == [
        {"layer1": ["4"], "layer2": ["6"]},
        {"layer1": ["2", "4"], "layer2": ["5", "6"]},
        {"layer1": ["2", "4"], "layer2": ["3", "5", "6"]},
    ]


def test_stages_take_equally_long_and_the_last_stays():
    stages = np.arange(5)[:, None, None] >= np.arange(5)

    def number(step, warmup_steps=100, shrinking=0.4):
        return int(open_options(stages, jnp.int32(step), warmup_steps, shrinking).sum()) - 1

    assert [number(step) for step in (0, 9, 10, 19, 20, 39, 40, 99)] == [0, 0, 1, 1, 2, 3, 4, 4]
    assert number(0, shrinking=0.0) == 4
    assert number(0, warmup_steps=0) == 4


def test_a_step_trains_the_largest_the_smallest_and_what_lies_between():
    opened = jnp.array([[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 0]], bool)
    draws = np.array([sandwich(jax.random.key(seed), opened, 6) for seed in range(30)])
    assert (draws[:, 0] == [3, 1, 2]).all() and (draws[:, 1] == [1, 0, 2]).all()
    assert np.take_along_axis(np.asarray(opened).T, draws.reshape(-1, 3), 0).all()
    assert len({tuple(path) for path in draws[:, 2:].reshape(-1, 3).tolist()}) == 6
    np.testing.assert_array_equal(sandwich(KEY, opened, 2), [[3, 1, 2], [1, 0, 2]])


@pytest.mark.parametrize("name", ARGS)
def test_small_networks_are_parts_of_large_ones(name):
    """Options rise in cost, and a weight that the smallest network reads is read by the largest.

    But for the matrices of Once-for-All, which transform a kernel that shrinks.
    """
    space, supernet = small(name), make_supernet(small(name))
    cost = AnalyticModel.count(space)
    largest = space.mask.shape[1] - 1 - space.mask[:, ::-1].argmax(1)
    for decision, row in enumerate(space.mask):
        several = np.tile(largest, (row.sum(), 1)).astype(np.int32)
        several[:, decision] = np.flatnonzero(row)
        counted = predict_architectures(cost, several, space.num_options)
        assert (np.diff(counted["params"]) >= 0).all()
        assert (np.diff(counted["macs"]) > 0).all(), space.decisions[decision].name
    stages = stages_of(space)
    np.testing.assert_array_equal(stages[0].argmax(1), largest)
    assert (stages[0].sum(1) == 1).all() and (stages[-1] == space.mask).all()
    assert (stages[1:] >= stages[:-1]).all(), "what is open stays open"
    inputs = jax.random.normal(KEY, (4, 8, 8, 1))

    @jax.jit
    def reads(path, weights):
        gates = one_hot_gates(path, space.num_options, sampled=True)
        return jax.grad(lambda w: jnp.square(supernet.apply(w, inputs, gates)[:, 0]).sum())(weights)

    def read(path):
        """By some initial weights, since a unit that is never active reads nothing."""
        several = [reads(jnp.asarray(path), supernet.init(jax.random.key(n))) for n in range(5)]
        return (np.stack(several) != 0).any(0)

    numbers = supernet.unravel(jnp.arange(supernet.num_weights))
    named = jax.tree_util.tree_flatten_with_path(numbers)[0]
    shrink = [leaf for path, leaf in named if "shrink" in jax.tree_util.keystr(path)]
    shrink = np.concatenate([[], *map(np.ravel, shrink)]).astype(int)
    small_ones, large_ones = read(space.mask.argmax(1)), read(largest)
    assert 0 < small_ones.sum() < large_ones.sum()
    assert set(np.flatnonzero(small_ones & ~large_ones)) <= set(shrink.tolist())


def elastic(**changes):
    own = {"search__steps": 10, "search__warmup_steps": 10, "search__elastic__networks": 3}
    return small_search(small("channels"), **{**own, **UNCLIPPED, **changes})[1]


@functools.cache
def begun():
    return elastic().init(jax.random.key(0), {"latency_ms": 1.0})


@functools.cache
def by_hand():
    """Returns `(path, taught, distil) -> (loss, accuracy), gradient`, and outputs of a path."""
    supernet, batch = make_supernet(small("channels")), batches(space=small("channels"))["weight"]

    def outputs_of(weights, path):
        gates = one_hot_gates(path, small("channels").num_options, sampled=True)
        return supernet.apply(weights, batch.inputs, gates)

    def loss(weights, path, taught, distil):
        logged = jax.nn.log_softmax(outputs_of(weights, path))
        right = (logged.argmax(-1) == batch.targets).mean()
        share, own = jax.nn.softmax(taught), -jnp.take_along_axis(logged, batch.targets[:, None], 1)
        apart = (share * (jax.nn.log_softmax(taught) - logged)).sum(-1).mean()
        return (1 - distil) * own.mean() + distil * apart, right

    slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return (
        functools.partial(slopes, begun().weights),
        functools.partial(jax.jit(outputs_of), begun().weights),
    )


def test_the_step_is_the_mean_over_networks_with_a_teacher_that_stands_still():
    """The teacher's outputs are constants here, so that its only gradient is that of its loss.

    Before options open, the largest network is trained alone.
    """
    search = elastic(search__elastic__distil=0.7)
    step = jax.jit(functools.partial(search.weight_step, axis_name=None))
    paths = sandwich(KEY, jnp.asarray(small("channels").mask), 3)
    slopes, outputs_of = by_hand()
    taught = outputs_of(paths[0])
    found = [slopes(path, taught, 0.7 if n else 0.0) for n, path in enumerate(paths)]
    for number, trained in ((0, found[:1]), (8, found)):
        state = begun()._replace(step=jnp.int32(number))
        after, (loss, metric, _) = step(state, batches(space=small("channels")), KEY, 1.0)
        expected = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *trained)
        np.testing.assert_allclose(weight_gradient(after), expected[1], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose([loss, metric], expected[0], rtol=1e-5)


def test_stopped_and_resumed_it_ends_bit_identical(tmp_path):
    """With weights alone, stopped while some options are open."""
    config = override(
        Config(), search__steps=12, search__warmup_steps=12, search__elastic__networks=3,
        search__elastic__shrinking=0.7, search__steps_per_dispatch=3, search__checkpoint_every=3,
        search__batch_size=16, parallel__devices=1, target__metric="macs",
    )  # fmt: skip

    def stop(done, total, what):
        if done == 6:
            raise Interrupted("stopped", signal.SIGINT)

    def search(folder, progress=quiet):
        target = Target("macs", 1e6)
        return search_architecture(
            small("channels"), stripes(8), AnalyticModel.count(small("channels")), target, config,
            folder=folder, progress=progress,
        ).state  # fmt: skip

    whole = search(tmp_path / "whole")
    with pytest.raises(Interrupted):
        search(tmp_path / "stopped", stop)
    resumed = search(tmp_path / "stopped")
    assert np.asarray(whole.weights).tobytes() == np.asarray(resumed.weights).tobytes()
    np.testing.assert_array_equal(whole.params, 0.0)


def test_what_is_not_nested_is_refused():
    space = make_space("nasbench201", {}, input_shape=(4, 4, 1), num_outputs=3)
    with pytest.raises(UserError, match=r"not parts of one another\. Allowed are .*autoformer"):
        small_search(space, search__elastic__networks=3)
    with pytest.raises(UserError, match="choose one of them"):
        elastic(search__fair=True, search__draws=3)
    with pytest.raises(UserError, match=r"must be below search\.steps"):
        elastic(search__elastic__networks=None)
