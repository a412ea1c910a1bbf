"""Options of the step: paths, micro-batches, types; and which gradients it never forms."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import ParallelConfig
from hwnas_jax.errors import UserError
from hwnas_jax.nn.platform import platform
from hwnas_jax.parallel.replicas import AXIS, Replicas, own_slice
from hwnas_jax.relax import RELAXATIONS, one_hot_gates
from hwnas_jax.search.fair_paths import fair_paths
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.helpers import small_search
from tests.search.steps import (
    KEY,
    MASK,
    UNCLIPPED,
    arch_gradient,
    arch_step,
    batches,
    make,
    slopes,
    start,
    weight_gradient,
    weight_step,
)
from tests.tiny import TinyCost, TinySpace


def matrix_products(function, *arrays):
    """Returns how many convolutions and matrix products the compiled program runs."""
    text = jax.jit(function).lower(*arrays).compile().as_text()
    return len(re.findall(r" (?:convolution|dot)\(|__onednn|__cpu\$.*(?:conv|matmul)", text))


@pytest.mark.parametrize("relaxation", ["softmax", "sampled_path"])
def test_each_half_of_the_step_forms_its_own_gradient_alone(relaxation):
    """Counted in the compiled program, against gradients of what is constant or not by hand.

    A layer costs one product forward, one for the gradient of its input and one for that of its
    kernel; the first layer's input needs none. The stem, two convolutions on each of two edges and
    the classifier are six layers. The gradient by the architecture leaves out every kernel's, and
    everything behind the first edge.
    """
    search, state, data = make(relaxation), start(), batches()
    with platform("gpu"):  # there a convolution is one product, without transforms
        by_weights = matrix_products(
            lambda s, b: search.weight_step(s, b, KEY, 1.0, axis_name=None), state, data
        )
        by_params = matrix_products(
            lambda s, b: search.arch_step(
                s, b, KEY, 1.0, axis_name=None, cost_model=TinyCost()
            ), state, data,
        )  # fmt: skip
    assert by_weights == 6 + 6 + 5
    assert by_params == 6 + 3


def replicas(count=8):
    return Replicas.from_config(ParallelConfig(devices=count))


def part_of(batch, number, size=2):
    """Returns some consecutive examples of a batch."""
    return jax.tree.map(lambda leaf: leaf[size * number : size * (number + 1)], batch)


def test_own_paths_average_the_gradients_of_each_replicas_path():
    state, data = start(), batches(16)
    search = make("sampled_path", search__paths="own", **UNCLIPPED)

    def both(state, data):
        part = own_slice(data, AXIS)
        weights, _ = search.weight_step(state, part, KEY, 1.0, AXIS)
        params, _ = search.arch_step(state, part, KEY, 1.0, AXIS, cost_model=TinyCost())
        return state, (weights, params)

    group = replicas()
    _, found = group.compile(both)(group.place(state), group.share(data))
    group.check_identical(found)
    weight_sum, arch_sum, paths = 0.0, 0.0, set()
    for replica in range(8):
        key = jax.random.fold_in(KEY, replica)
        own = part_of(data["weight"], replica)
        _, (gradient, _) = slopes("sampled_path")(state.weights, state.params, own, key)
        weight_sum += np.asarray(gradient)
        key = jax.random.fold_in(jax.random.split(KEY)[0], replica)
        own = part_of(data["arch"], replica)
        _, (_, gradient) = slopes("sampled_path")(state.weights, state.params, own, key)
        arch_sum += np.asarray(gradient)
        gates = RELAXATIONS["sampled_path"]().sample(key, state.params, MASK, 1.0)
        paths.add(tuple(gates.index.tolist()))
    assert len(paths) > 2
    by_weights, by_params = group.read(found)
    np.testing.assert_allclose(weight_gradient(by_weights), weight_sum / 8, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(arch_gradient(by_params), arch_sum / 8, rtol=1e-4, atol=1e-5)


def test_own_paths_refuse_statistics_over_replicas():
    space = make_space("nasbench201", {}, input_shape=(4, 4, 1), num_outputs=3)
    own = {"search__paths": "own", "parallel__sync_batch_statistics": True}
    drawn, mixed = "sampled_path", "straight_through"
    message = "search.paths = 'own' does not go with parallel.sync_batch_statistics"
    for changes in (
        {"search__relaxation__name": drawn},
        {"search__relaxation__name": mixed, "search__estimator__name": "reinforce"},
    ):
        with pytest.raises(UserError, match=message):
            small_search(space, sync_axis=AXIS, **own, **changes)
    small_search(space, sync_axis=AXIS, **own, search__relaxation__name=mixed)
    small_search(space, search__paths="own", search__relaxation__name=drawn)


def test_micro_batches_average_their_gradients_and_values():
    state, data = start(), batches()
    search = make("sampled_path", search__accumulate=4, **UNCLIPPED)
    by_weights, (weight_loss, _, norm) = weight_step(search)
    by_params, (arch_loss, *_) = arch_step(search)

    def expected(half, key):
        parts = [part_of(data[half], number) for number in range(4)]
        found = [slopes("sampled_path")(state.weights, state.params, part, key) for part in parts]
        return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *found)

    value, (gradient, _) = expected("weight", KEY)
    np.testing.assert_allclose(weight_gradient(by_weights), gradient, rtol=1e-4, atol=1e-6)
    assert float(norm) == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    assert float(weight_loss) == pytest.approx(value, rel=1e-5)
    value, (_, gradient) = expected("arch", jax.random.split(KEY)[0])
    np.testing.assert_allclose(arch_gradient(by_params), gradient, rtol=1e-4, atol=1e-6)
    assert float(arch_loss) == pytest.approx(value, rel=1e-5)


def test_batches_that_do_not_divide_into_micro_batches_are_named():
    message = r"batch_size = 64 does not divide by 8 devices times 3 parts of their .* is 72"
    with pytest.raises(UserError, match=message):
        replicas().check_batch(64, "search.batch_size", 3)
    replicas().check_batch(64, "search.batch_size", 4)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    state, data = start(), batches()

    def step_of(dtype):
        step = functools.partial(make(search__dtype=dtype).step, cost_model=TinyCost())
        return jax.jit(step).lower(state, data)

    half, full = step_of("bfloat16"), step_of("float32")
    text = half.as_text()
    products = re.findall(r"stablehlo\.convolution.*: \((tensor<\S+>), (tensor<\S+>)\)", text)
    assert products
    assert all("xbf16>" in operand for pair in products for operand in pair)
    after, info = half.compile()(state, data)
    for leaf in jax.tree.leaves((after._replace(key=after.step), info)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    exact, exact_info = full.compile()(state, data)
    assert float(info.weight_loss) == pytest.approx(float(exact_info.weight_loss), rel=0.05)
    assert float(info.weight_loss) != float(exact_info.weight_loss)
    ours, theirs = weight_gradient(after), weight_gradient(exact)
    assert ours @ theirs > 0.99 * np.linalg.norm(ours) * np.linalg.norm(theirs)
    np.testing.assert_allclose(after.weights, exact.weights, atol=0.02)


class AskedSpace(TinySpace):
    """Remembers how its supernet was asked for."""

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        self.asked = axis_name, rematerialise
        return super().supernet(rngs, axis_name=axis_name)


def test_the_supernet_is_asked_to_keep_little_and_to_average_statistics():
    space = AskedSpace()
    small_search(space, search__rematerialise=True)
    assert space.asked == (None, True)
    small_search(space, sync_axis=AXIS)
    assert space.asked == (AXIS, False)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"search__dtype": "float16"}, ("search.dtype 'float16'", "float32, bfloat16")),
        ({"search__dtype": "bf16"}, ("search.dtype 'bf16'", "Did you mean 'bfloat16'?")),
        ({"search__paths": "owm"}, ("search.paths 'owm'", "Did you mean 'own'?")),
        ({"search__estimator__name": "2nd"}, ("estimator '2nd'", "backprop", "second_order")),
        ({"search__relaxation__name": "softmx"}, ("relaxation 'softmx'", "mean 'softmax'?")),
        ({"search__relaxation__args": {"learning_rat": 1.0}}, ("'learning_rat'", "learning_rate")),
        ({"search__relaxation__args": {"learning_rate": -1.0}}, ("learning_rate = -1.0", "than 0")),
    ],
)
def test_unknown_options_are_named(changes, parts):
    with pytest.raises(UserError) as caught:
        make(**changes)
    for part in parts:
        assert part in str(caught.value)


def loss_of(gates, weights, part):
    """Returns the cross-entropy of a part of a batch, written down a second time."""
    outputs = make_supernet(TinySpace()).apply(weights, part.inputs, gates)
    logged = jax.nn.log_softmax(outputs)
    return -jnp.take_along_axis(logged, part.targets[:, None], axis=1).mean()


def parts_of(batch, count):
    """Returns equal parts of a batch, in order."""
    size = len(batch.targets) // count
    return [
        jax.tree.map(lambda leaf, n=n: leaf[size * n : size * (n + 1)], batch) for n in range(count)
    ]


def test_draws_of_a_step_share_its_batch():
    """Each of two draws runs on half of the batch; weights and architecture get the mean."""
    relaxation, state, data = RELAXATIONS["gumbel_softmax"](), start(), batches(8)
    search = make("gumbel_softmax", search__draws=2, **UNCLIPPED)

    def mean(half, key, by):
        def loss(weights, params):
            keys = jax.random.split(key, 2)
            losses = [
                loss_of(relaxation.sample(own, params, MASK, 1.0), weights, part)
                for own, part in zip(keys, parts_of(data[half], 2), strict=True)
            ]
            return (losses[0] + losses[1]) / 2

        return jax.jit(jax.grad(loss, argnums=by))(state.weights, state.params)

    found = weight_gradient(weight_step(search, data=data)[0])
    np.testing.assert_allclose(found, mean("weight", KEY, 0), rtol=1e-3, atol=1e-6)
    found = arch_gradient(arch_step(search, data=data)[0])
    task_key = jax.random.split(KEY)[0]
    np.testing.assert_allclose(found, mean("arch", task_key, 1), rtol=1e-3, atol=1e-6)


def test_fair_paths_run_every_option_equally_often():
    mask = jnp.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 1]], bool)
    drawn = [fair_paths(jax.random.key(seed), mask, 12) for seed in range(20)]
    for paths in drawn:
        counts = [np.bincount(row, minlength=4).tolist() for row in np.asarray(paths).T]
        assert counts == [[3, 3, 3, 3], [6, 6, 0, 0], [4, 0, 4, 4]]
    assert len({tuple(np.asarray(paths[0]).tolist()) for paths in drawn}) > 8, "in random order"
    pairs = {tuple(np.asarray(path)[:2].tolist()) for paths in drawn for path in paths}
    assert len(pairs) == 8, "decisions are independent"


def test_the_warm_up_is_fair_whatever_the_relaxation():
    """The mean over the three paths by hand; after the warm-up the mixture is trained again."""
    own = {"search__steps": 10, "search__warmup_steps": 5, "search__draws": 3, **UNCLIPPED}
    data = batches(9)
    fair = make("softmax", **own, search__fair=True)
    expected = sum(
        jax.grad(loss_of, argnums=1)(
            one_hot_gates(path, MASK.shape[1], sampled=True), start().weights, part
        )
        for path, part in zip(fair_paths(KEY, MASK, 3), parts_of(data["weight"], 3), strict=True)
    )
    found = weight_gradient(weight_step(fair, data=data)[0])
    np.testing.assert_allclose(found, expected / 3, rtol=1e-3, atol=1e-6)
    later = start()._replace(step=jnp.int32(7))
    mixed = make("softmax", **own)
    np.testing.assert_array_equal(
        weight_gradient(weight_step(fair, later, data)[0]),
        weight_gradient(weight_step(mixed, later, data)[0]),
    )


def test_entropy_weighs_more_and_more_until_the_end():
    """Beside a search without it, the gradient gains progress times weight times the entropy's."""

    def entropy(params):
        share = jax.nn.softmax(jnp.where(MASK, params, -jnp.inf))
        return -(share * jnp.log(jnp.where(MASK, share, 1.0))).sum(-1).mean()

    slope = np.asarray(jax.grad(entropy)(start().params))
    plain, weighed = make(), make(search__entropy=2.0)
    for step in (0, 4, 10):
        state = start()._replace(step=jnp.int32(step))
        added = arch_gradient(arch_step(weighed, state)[0]) - arch_gradient(
            arch_step(plain, state)[0]
        )
        np.testing.assert_allclose(added, 2.0 * step / 10 * slope, atol=2e-6)
