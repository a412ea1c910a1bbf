"""Options of the step: order, paths, micro-batches, types; and which gradients it never forms."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hwnas_jax.search.bilevel import Batch, make_search
from hwnas_jax.search.objective import Target

from hwnas_jax.config import Config, ParallelConfig, SearchConfig, TargetConfig, override
from hwnas_jax.errors import UserError
from hwnas_jax.nn.platform import platform
from hwnas_jax.parallel.replicas import AXIS, Replicas, own_slice
from hwnas_jax.relax.base import RELAXATIONS
from tests.tiny import TinyCost, TinySpace

SPACE = TinySpace()
MASK = jnp.asarray(SPACE.mask)
KEY = jax.random.key(2)
UNCLIPPED = {"weight_clip_norm": 1e6, "weight_decay": 0.0}


def make(relaxation="softmax", *, sync_axis=None, **changes):
    """A search whose hardware term weighs nothing, so that Adam's first moment is the task's."""
    config = SearchConfig(relaxation=relaxation, steps=10, warmup_steps=0, **changes)
    target = TargetConfig(weight=0.0, samples=2)
    return make_search(
        SPACE, TinyCost(), Target("latency_ms", 1.0), config, target, sync_axis=sync_axis
    )


@functools.cache
def start():
    state = make().init(jax.random.key(0))
    # Of small weights before normalisation a step changes much: what is of second order matters.
    logits = jax.random.normal(jax.random.key(1), MASK.shape)
    return state._replace(weights=0.5 * state.weights, logits=logits)


def batch(size=8):
    keys = jax.random.split(jax.random.key(7), 2)
    images = [jax.random.normal(key, (size, *SPACE.input_shape)) for key in keys]
    first, second = jnp.arange(size) % 3, (jnp.arange(size) * 2 + 1) % 3
    return Batch(images[0], first, images[1], second)


def run(step, state=None, data=None):
    """Runs one jitted half of a step from `start()`."""
    step = jax.jit(functools.partial(step, axis_name=None))
    return step(start() if state is None else state, data or batch(), KEY, 1.0)


def logit_gradient(state):
    """The gradient behind Adam's first moment after one step from zero."""
    return np.asarray(optax.tree.get(state.logit_optimizer, "mu")) / 0.5


def weight_gradient(state):
    """The gradient behind SGD's momentum after one step from zero."""
    return np.asarray(optax.tree.get(state.weight_optimizer, "trace"))


def task_loss(search, relaxation, weights, logits, images, labels, key=KEY):
    """The task loss written down a second time."""
    gates = RELAXATIONS[relaxation](key, logits, MASK, 1.0)
    logged = jax.nn.log_softmax(search.logits(weights, images, gates))
    return -jnp.take_along_axis(logged, labels[:, None], 1).mean()


@functools.cache
def slopes(relaxation):
    """`(weights, logits, images, labels, key) -> loss, (weight gradient, logit gradient)`."""
    loss = functools.partial(task_loss, make(relaxation), relaxation)
    return jax.jit(jax.value_and_grad(loss, (0, 1)))


@pytest.fixture
def smooth(monkeypatch):
    """`slopes` of a network without kinks, where differences are those of one smooth piece."""
    monkeypatch.setattr(jax.nn, "relu", jax.nn.silu)
    return slopes.__wrapped__("softmax")


def directional(function, direction, size):
    logits = start().logits
    return (function(logits + size * direction) - function(logits - size * direction)) / (2 * size)


DIRECTION = np.random.default_rng(3).normal(size=MASK.shape).astype(np.float32)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.5), ("adamw", 0.05)])
def test_second_order_is_the_difference_quotient_through_the_weight_step(smooth, optimizer, rate):
    """The weights step by the optimiser itself: clipped, decayed, with momentum."""
    options = {"weight_learning_rate": rate, "weight_clip_norm": 0.2, "weight_decay": 0.1}
    data = batch()
    second = make(order="second", weight_optimizer=optimizer, **options)
    weight_step = jax.jit(functools.partial(second.weight_step, axis_name=None))
    state = start()
    state = state._replace(weight_optimizer=second.init(KEY).weight_optimizer)
    if optimizer == "adamw":
        # Its first step is the gradient's sign, which does not answer the logits.
        for shift in range(1, 4):
            shifted = data._replace(weight_labels=(data.weight_labels + shift) % 3)
            state, _ = weight_step(state, shifted, KEY, 1.0)
    after, (loss, *_) = run(second.arch_step, state)

    def unrolled(logits):
        ahead, _ = weight_step(state._replace(logits=logits), data, KEY, 1.0)
        value, _ = smooth(ahead.weights, logits, data.arch_images, data.arch_labels, KEY)
        return float(value)

    assert float(loss) == pytest.approx(unrolled(state.logits), rel=1e-5)
    # Half along the gradient itself, where differences are large beside the rounding of the loss,
    # half along a direction that does not know it.
    found = logit_gradient(after)
    direction = found / np.linalg.norm(found) + DIRECTION / np.linalg.norm(DIRECTION)
    expected = directional(unrolled, direction, 0.03)
    assert float((found * direction).sum()) == pytest.approx(expected, rel=2e-3)
    ahead, (_, _, norm) = weight_step(state, data, KEY, 1.0)
    assert float(norm) > options["weight_clip_norm"]
    _, (_, direct) = smooth(ahead.weights, state.logits, data.arch_images, data.arch_labels, KEY)
    # The way through the weight step matters, or this test would tell nothing.
    through = logit_gradient(after) - direct
    assert np.linalg.norm(through) > 0.05 * np.linalg.norm(direct)
    assert np.array_equal(after.weights, state.weights)


def test_a_plain_step_ahead_and_weights_at_rest_are_difference_quotients(smooth):
    """Products with second derivatives by differences of the weight gradient."""
    state, data, rate, decay = start(), batch(), 0.2, 0.1
    train = (data.weight_images, data.weight_labels)
    valid = (data.arch_images, data.arch_labels)

    def gradient(weights, logits):
        return np.asarray(smooth(weights, logits, *train, KEY)[1][0])

    def unrolled(logits):
        ahead = state.weights - rate * gradient(state.weights, logits)
        return float(smooth(ahead, logits, *valid, KEY)[0])

    after, _ = run(make(order="second", inner_step_size=rate).arch_step)
    expected = directional(unrolled, DIRECTION, 0.02)
    assert float((logit_gradient(after) * DIRECTION).sum()) == pytest.approx(expected, rel=2e-2)

    after, _ = run(
        make(order="implicit", implicit_terms=2, inner_step_size=rate, weight_decay=decay).arch_step
    )
    _, (vector, direct) = smooth(state.weights, state.logits, *valid, KEY)
    vector = np.asarray(vector)
    shift = 1e-2 * vector / np.linalg.norm(vector)
    curved = gradient(state.weights + shift, state.logits)
    curved = (curved - gradient(state.weights - shift, state.logits)) / 2e-2
    curved = curved * np.linalg.norm(vector) + decay * vector
    solved = rate * (2 * vector - rate * curved)
    across = directional(lambda a: gradient(state.weights, a) @ solved, DIRECTION, 0.02)
    expected = float((direct * DIRECTION).sum()) - across
    assert float((logit_gradient(after) * DIRECTION).sum()) == pytest.approx(expected, rel=2e-2)
    through = logit_gradient(after) - direct
    assert np.linalg.norm(through) > 0.05 * np.linalg.norm(direct)


def test_weights_of_adamw_are_not_taken_for_a_minimum():
    with pytest.raises(UserError, match=r"'implicit' does not go with .* 'adamw'"):
        make(order="implicit", weight_optimizer="adamw", inner_step_size=0.1)


def test_without_an_inner_step_size_the_series_takes_the_learning_rate():
    options = {"order": "implicit", "weight_learning_rate": 0.2}
    state = start()._replace(step=jnp.int32(5))
    rate = 0.001 + (0.2 - 0.001) * 0.5 * (1 + np.cos(np.pi * 5 / 10))
    by_default, _ = run(make(**options).arch_step, state)
    by_hand, _ = run(make(inner_step_size=float(rate), **options).arch_step, state)
    np.testing.assert_allclose(logit_gradient(by_default), logit_gradient(by_hand), rtol=1e-3)


def matrix_products(function, *arrays):
    """How many convolutions and matrix products the compiled program runs."""
    text = jax.jit(function).lower(*arrays).compile().as_text()
    return len(re.findall(r" (?:convolution|dot)\(|__onednn|__cpu\$.*(?:conv|matmul)", text))


@pytest.mark.parametrize("relaxation", ["softmax", "sampled_path"])
def test_each_half_of_the_step_forms_its_own_gradient_alone(relaxation):
    """Counted in the compiled program, against gradients of what is constant or not by hand.

    A layer costs one product forward, one for the gradient of its input and one for that of its
    kernel; the first layer's input needs none. The stem, two convolutions on each of two edges and
    the classifier are six layers. The logits' gradient leaves out every kernel's, and everything
    behind the first edge.
    """
    search, state, data = make(relaxation), start(), batch()
    halves = [functools.partial(s, axis_name=None) for s in (search.weight_step, search.arch_step)]
    with platform("gpu"):  # there a convolution is one product, without transforms
        by_weights, by_logits = (
            matrix_products(lambda s, b, half=half: half(s, b, KEY, 1.0), state, data)
            for half in halves
        )
    assert by_weights == 6 + 6 + 5
    assert by_logits == 6 + 3


def replicas(count=8):
    return Replicas.from_config(ParallelConfig(devices=count))


def test_own_paths_average_the_gradients_of_each_replicas_path():
    state, data = start(), batch(16)
    search = make("sampled_path", paths="own", **UNCLIPPED)

    def both(state, data):
        part = own_slice(data, AXIS)
        weights, _ = search.weight_step(state, part, KEY, 1.0, AXIS)
        logits, _ = search.arch_step(state, part, KEY, 1.0, AXIS)
        return state, (weights, logits)

    group = replicas()
    _, (by_weights, by_logits) = group.compile(both)(group.place(state), group.share(data))
    group.check_identical((by_weights, by_logits))
    weight_sum, logit_sum, paths = 0.0, 0.0, set()
    for replica in range(8):
        part = jax.tree.map(lambda a, r=replica: a[2 * r : 2 * r + 2], data)
        key = jax.random.fold_in(KEY, replica)
        _, (gradient, _) = slopes("sampled_path")(
            state.weights, state.logits, part.weight_images, part.weight_labels, key
        )
        weight_sum += np.asarray(gradient)
        key = jax.random.fold_in(jax.random.split(KEY)[0], replica)
        _, (_, gradient) = slopes("sampled_path")(
            state.weights, state.logits, part.arch_images, part.arch_labels, key
        )
        logit_sum += np.asarray(gradient)
        paths.add(tuple(RELAXATIONS["sampled_path"](key, state.logits, MASK, 1.0).index.tolist()))
    assert len(paths) > 2
    found = group.read(by_weights), group.read(by_logits)
    np.testing.assert_allclose(weight_gradient(found[0]), weight_sum / 8, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logit_gradient(found[1]), logit_sum / 8, rtol=1e-4, atol=1e-5)


def test_own_paths_refuse_statistics_over_replicas():
    message = "search.paths = 'own' does not go with parallel.sync_batch_statistics"
    with pytest.raises(UserError, match=message):
        override(Config(), search__paths="own", parallel__sync_batch_statistics=True)
    with pytest.raises(UserError, match=message):
        make("sampled_path", sync_axis=AXIS, paths="own")
    make("straight_through", sync_axis=AXIS, paths="own")


@pytest.mark.parametrize("relaxation", ["sampled_path"])
def test_micro_batches_average_their_gradients_and_values(relaxation):
    state, data = start(), batch()
    search = make(relaxation, accumulate=4, **UNCLIPPED)
    weights, (weight_loss, _, norm) = run(search.weight_step)
    logits, (arch_loss, *_) = run(search.arch_step)
    parts = [jax.tree.map(lambda a, i=i: a[2 * i : 2 * i + 2], data) for i in range(4)]
    by_weights = [
        slopes(relaxation)(state.weights, state.logits, p.weight_images, p.weight_labels, KEY)
        for p in parts
    ]
    task_key = jax.random.split(KEY)[0]
    by_logits = [
        slopes(relaxation)(state.weights, state.logits, p.arch_images, p.arch_labels, task_key)
        for p in parts
    ]
    expected = np.mean([gradient for _, (gradient, _) in by_weights], 0)
    np.testing.assert_allclose(weight_gradient(weights), expected, rtol=1e-4, atol=1e-6)
    assert float(norm) == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    assert float(weight_loss) == pytest.approx(np.mean([v for v, _ in by_weights]), rel=1e-5)
    expected = np.mean([gradient for _, (_, gradient) in by_logits], 0)
    np.testing.assert_allclose(logit_gradient(logits), expected, rtol=1e-4, atol=1e-6)
    assert float(arch_loss) == pytest.approx(np.mean([v for v, _ in by_logits]), rel=1e-5)


def test_batches_that_do_not_divide_into_micro_batches_are_named():
    message = r"batch_size = 64 does not divide by 8 devices times 3 micro-batches; .* is 72"
    with pytest.raises(UserError, match=message):
        replicas().check_batch(64, "search.batch_size", 3)
    replicas().check_batch(64, "search.batch_size", 4)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    state, data = start(), batch()
    half, full = make(dtype="bfloat16"), make()
    step = jax.jit(functools.partial(half.step, axis_name=None))
    text = step.lower(state, data).as_text()
    products = re.findall(r"stablehlo\.convolution.*: \((tensor<\S+>), (tensor<\S+>)\)", text)
    assert products
    assert all("xbf16>" in operand for pair in products for operand in pair)
    after, info = step(state, data)
    for leaf in jax.tree.leaves((after._replace(key=after.step), info)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    exact, exact_info = jax.jit(functools.partial(full.step, axis_name=None))(state, data)
    assert float(info.weight_loss) == pytest.approx(float(exact_info.weight_loss), rel=0.05)
    assert float(info.weight_loss) != float(exact_info.weight_loss)
    cosine = jnp.vdot(weight_gradient(after), weight_gradient(exact))
    cosine /= jnp.linalg.norm(weight_gradient(after)) * jnp.linalg.norm(weight_gradient(exact))
    assert float(cosine) > 0.99
    np.testing.assert_allclose(after.weights, exact.weights, atol=0.02)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"dtype": "float16"}, ("search.dtype 'float16'", "float32, bfloat16", "'bfloat16'?")),
        ({"dtype": "bf16"}, ("search.dtype 'bf16'", "Did you mean 'bfloat16'?")),
        ({"dtype": "float64"}, ("search.dtype 'float64'", "float32, bfloat16")),
        ({"order": "2nd"}, ("search.order '2nd'", "first, second, implicit")),
        ({"paths": "owm"}, ("search.paths 'owm'", "Did you mean 'own'?")),
    ],
)
def test_unknown_options_are_named(changes, parts):
    with pytest.raises(UserError) as caught:
        make(**changes)
    for part in parts:
        assert part in str(caught.value)
