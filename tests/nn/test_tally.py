"""Sums over layers against numpy, whatever the layers are wrapped in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nn import tally
from hwnas_jax.nn.drawn import run_drawn
from hwnas_jax.nn.kernels import activation
from hwnas_jax.nn.layerwise import run_drawn_block
from hwnas_jax.nn.normalisation import EPSILON, BatchStatistics
from hwnas_jax.nn.platform import platform

BATCH, WIDTH = 5, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, WIDTH)).astype(np.float32)
KERNELS = RNG.normal(size=(3, WIDTH, WIDTH)).astype(np.float32)


def layer(x, kernel):
    return tally.relu(x @ kernel)


def chain(x, kernels):
    for kernel in kernels:
        x = layer(x, kernel)
    return x


def scanned(x, kernels):
    return jax.lax.scan(lambda x, kernel: (layer(x, kernel), None), x, kernels)[0]


def kept_less(x, kernels):
    return scanned(x, kernels) if len(kernels) == 1 else jax.checkpoint(chain)(x, kernels)


def switched(x, kernels):
    """The second of three branches runs; the others must not count."""
    for number in range(len(kernels)):
        x = jax.lax.switch(1, [jnp.sin, lambda x, n=number: layer(x, kernels[n]), tally.relu], x)
    return x


@jax.jit
def jitted(x, kernels):
    return chain(x, kernels)


BRANCHES = (lambda x, kernel: jnp.sin(x), layer, lambda x, kernel: tally.relu(x))


def in_blocks(x, kernels):
    def block(x, kernel):
        return run_drawn_block(BRANCHES, x, jnp.int32(1), (kernel,)), None

    return jax.lax.scan(block, x, kernels)[0]


def on_edges(x, kernels):
    """A chain of edges that run, beside one into a node which leads nowhere."""
    zero = lambda x, kernel: jnp.zeros_like(x)  # noqa: E731
    edges = ((1, 0), (2, 1), (3, 2), (4, 0), (5, 3), (5, 4))
    branches = (zero, layer, lambda x, kernel: x)
    own = jnp.concatenate([kernels, kernels])[None]
    index = jnp.array([1, 1, 1, 1, 2, 0])
    return run_drawn(x, index, (own,), branches=branches, edges=edges, cut=0)


def agreement_of(codes):
    """How many units treat each two examples alike, counted one by one."""
    return (codes[:, None] == codes[None]).reshape(len(codes), len(codes), -1).sum(-1)


def expected(x, kernels):
    total = np.zeros((len(x), len(x)))
    for kernel in kernels:
        x = x @ kernel
        total += agreement_of(x > 0)
        x = np.maximum(x, 0)
    return total


def found(run, x=X, kernels=KERNELS, amount=tally.agreement, shape=None):
    """Returns what is collected, by one program that was traced before, as evaluators are."""
    shape = (len(x), len(x)) if shape is None else shape

    def program(x, kernels):
        return tally.collected(amount, shape, lambda: run(x, kernels), jax.random.key(0))

    jax.eval_shape(program, x, kernels)
    return np.asarray(jax.jit(program)(x, kernels))


@pytest.mark.parametrize(
    "run", [chain, scanned, kept_less, switched, jitted, in_blocks, on_edges],
)  # fmt: skip
def test_layers_count_through_whatever_wraps_them(run):
    total = found(run)
    np.testing.assert_array_equal(total, expected(X, KERNELS))
    np.testing.assert_array_equal(np.diag(total), 3 * WIDTH)


def test_layers_count_on_accelerators():
    with platform("gpu"):
        np.testing.assert_array_equal(found(on_edges), expected(X, KERNELS))


@pytest.mark.parametrize("relu", [activation.relu, tally.relu, tally.relu6])
def test_images_and_every_relu(relu):
    x = RNG.normal(size=(4, 3, 2, 5)).astype(np.float32)
    np.testing.assert_array_equal(found(lambda x, _: relu(x), x), agreement_of(x > 0))


def test_what_no_output_depends_on_does_not_count():
    mask = jnp.arange(WIDTH) < 4

    def run(x, kernels):
        layer(x, kernels[1])
        return layer(x, kernels[0]) * mask

    codes = (X @ KERNELS[0] > 0)[:, :4]
    np.testing.assert_array_equal(found(run), agreement_of(codes))


def test_outside_nothing_is_changed():
    assert tally.carried(BRANCHES, (X,)) == (list(BRANCHES), (X,))
    plain = jax.make_jaxpr(lambda x, kernels: jax.nn.relu(x @ kernels[0]))(X, KERNELS)
    assert str(jax.make_jaxpr(lambda x, kernels: layer(x, kernels[0]))(X, KERNELS)) == str(plain)


def test_whether_any_layer_adds():
    def add(run):
        return tally.adds(tally.agreement, (BATCH, BATCH), lambda: run(X, KERNELS))

    assert add(in_blocks)
    assert not add(lambda x, kernels: jnp.tanh(x @ kernels[0]))
    assert not tally.adds(tally.log_deviation, (), lambda: chain(X, KERNELS))


def test_deviations_of_normalised_layers():
    norm = BatchStatistics()

    def run(x, kernels):
        norm(x)  # leads nowhere
        first = norm(x @ kernels[0])
        return norm(jnp.tanh(first) @ kernels[1]) * (jnp.arange(WIDTH) < 2)

    total = found(run, amount=tally.log_deviation, shape=())
    first = X @ KERNELS[0]
    scaled = (first - first.mean(0)) / np.sqrt(first.var(0) + EPSILON)
    second = (np.tanh(scaled) @ KERNELS[1])[:, :2]
    wanted = sum(0.5 * np.log((each.var(0) + EPSILON).mean()) for each in (first, second))
    assert float(total) == pytest.approx(wanted, rel=1e-4)
