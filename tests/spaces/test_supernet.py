"""The supernet as functions, against the module that it is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.nn.initialisation import weight_rngs
from hwnas_jax.relax import Gates, one_hot_gates
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.search.dense import DenseSpace, DenseSupernet
from tests.tiny import TinySpace

SPACE = DenseSpace()
INPUTS = np.random.default_rng(0).standard_normal((5, *SPACE.input_shape)).astype(np.float32)
MIXED = Gates(jax.nn.softmax(jnp.arange(9.0).reshape(3, 3) % 4))


def module(key, space=SPACE):
    return space.supernet(weight_rngs(key))


def test_weights_are_the_modules_parameters_in_one_row():
    supernet = make_supernet(SPACE)
    weights = supernet.init(jax.random.key(3))
    expected, _ = ravel_pytree(nnx.state(module(jax.random.key(3)), nnx.Param))
    assert weights.shape == (supernet.num_weights,) and weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, expected)
    again, _ = ravel_pytree(supernet.unravel(weights))
    np.testing.assert_array_equal(again, expected)
    assert not np.array_equal(weights, supernet.init(jax.random.key(4)))


@pytest.mark.parametrize("sampled", [False, True])
def test_apply_is_the_module(sampled):
    supernet, key = make_supernet(SPACE), jax.random.key(1)
    gates = one_hot_gates(jnp.array([2, 0, 1]), 3, sampled=True) if sampled else MIXED
    expected = jax.jit(lambda: module(key)(INPUTS, gates))()
    outputs = jax.jit(supernet.apply)(supernet.init(key), INPUTS, gates)
    assert outputs.shape == (5, SPACE.num_outputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_half_precision_computes_less_exactly_and_returns_float32():
    full, half = make_supernet(SPACE), make_supernet(SPACE, dtype=jnp.bfloat16)
    weights = full.init(jax.random.key(0))
    np.testing.assert_array_equal(weights, half.init(jax.random.key(0)))
    exact, rounded = (jax.jit(net.apply)(weights, INPUTS, MIXED) for net in (full, half))
    assert rounded.dtype == jnp.float32
    assert not np.allclose(exact, rounded, atol=1e-5)
    np.testing.assert_allclose(exact, rounded, atol=0.1)


class FeaturedSupernet(DenseSupernet):
    def features(self, x, gates):
        x, found = x.reshape(len(x), -1), []
        for d, mixed in enumerate(self.mixed):
            x = mixed(x, gates.weight[d], None if gates.index is None else gates.index[d])
            found.append(x)
        return found


class FeaturedSpace(DenseSpace):
    has_features = True

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        return FeaturedSupernet(self.num_outputs, rngs)


def test_features_are_what_each_block_hands_on():
    supernet = make_supernet(FeaturedSpace())
    weights = supernet.init(jax.random.key(2))
    found = jax.jit(supernet.features)(weights, INPUTS, MIXED)
    assert isinstance(found, tuple) and len(found) == 3
    head = nnx.merge(nnx.split(module(jax.random.key(0)))[0], supernet.unravel(weights)).head
    np.testing.assert_allclose(
        head(found[-1]), supernet.apply(weights, INPUTS, MIXED), rtol=1e-5, atol=1e-6
    )
    first = module(jax.random.key(2)).mixed[0](INPUTS.reshape(5, -1), MIXED.weight[0], None)
    np.testing.assert_allclose(found[0], first, rtol=1e-5, atol=1e-6)


def test_a_supernet_of_a_space_that_declares_none_has_no_features():
    assert make_supernet(SPACE).features is None


class ScoredSpace(DenseSpace):
    def scores(self, supernet):
        rows = [[0.0, *(b.up.kernel[...].std() for b in m.blocks)] for m in supernet.mixed]
        return jnp.array(rows)


def test_scores_are_the_spaces():
    assert not make_supernet(SPACE).scored
    assert make_supernet(SPACE).scores(jnp.zeros(make_supernet(SPACE).num_weights)) is None
    supernet = make_supernet(ScoredSpace())
    assert supernet.scored
    weights = supernet.init(jax.random.key(0))
    expected = ScoredSpace().scores(module(jax.random.key(0)))
    np.testing.assert_allclose(supernet.scores(weights), expected, rtol=1e-6)
    np.testing.assert_allclose(supernet.scores(2 * weights), 2 * expected, rtol=1e-6)


class Remembering(TinySpace):
    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        self.asked = (axis_name, rematerialise)
        return super().supernet(rngs, axis_name=axis_name)


def test_a_space_is_told_whether_to_rematerialise():
    space = Remembering()
    make_supernet(space, sync_axis="replica")
    assert space.asked == ("replica", False)
    make_supernet(space, rematerialise=True)
    assert space.asked == (None, True)


def test_weights_of_another_length_are_refused():
    supernet = make_supernet(SPACE)
    with pytest.raises(AssertionError):
        supernet.apply(jnp.zeros(supernet.num_weights + 1), INPUTS, MIXED)
