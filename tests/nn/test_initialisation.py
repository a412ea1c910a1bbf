"""Initial weights: their moments, and that streams and arrays are independent."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import stats

from hwnas_jax.nn.initialisation import weight_rngs


def drawn(seed, count=20_000):
    rngs = weight_rngs(jax.random.key(seed))
    return [np.asarray(jax.random.uniform(rngs.params(), (count,))) for _ in range(3)]


def test_bits_are_uniform_and_arrays_are_independent():
    arrays = [*drawn(0), *drawn(1), *drawn(2**31)]
    for number, array in enumerate(arrays):
        assert stats.kstest(array, "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(array[1:], array[:-1])[0, 1]) < 0.03
        for other in arrays[:number]:
            assert abs(np.corrcoef(array, other)[0, 1]) < 0.03
            assert len(np.intersect1d(array, other)) < 200


def test_stacked_modules_have_weights_of_their_own():
    rngs = weight_rngs(jax.random.key(0))
    keys = jax.random.split(rngs.params(), 5)
    init = nnx.initializers.he_uniform()
    kernels = np.asarray(jax.vmap(lambda key: init(key, (3, 3, 16, 32), jnp.float32))(keys))
    np.testing.assert_allclose(kernels.std(axis=(1, 2, 3, 4)), (2 / 144) ** 0.5, rtol=0.03)
    flat = kernels.reshape(5, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(5)).max() < 0.06


def test_the_same_key_draws_the_same():
    np.testing.assert_array_equal(drawn(3)[2], drawn(3)[2])
    folded = [jax.random.fold_in(weight_rngs(jax.random.key(0)).params(), n) for n in (0, 1)]
    one, other = (np.asarray(jax.random.uniform(key, (1000,))) for key in folded)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.15
