import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.parallel.accumulate import mean_over_micro_batches

INPUTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
TARGETS = np.arange(12, dtype=np.float32)


def loss(weights, inputs, targets):
    return jnp.mean((inputs @ weights - targets) ** 2)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_a_loss_without_batch_statistics_has_the_gradient_of_the_whole_batch(count):
    weights = jnp.arange(3.0)

    def gradients(inputs, targets):
        return jax.value_and_grad(loss)(weights, inputs, targets)

    value, gradient = jax.jit(lambda *arrays: mean_over_micro_batches(gradients, count, *arrays))(
        INPUTS, TARGETS
    )
    errors = INPUTS @ np.arange(3.0) - TARGETS
    assert float(value) == pytest.approx((errors**2).mean(), rel=1e-5)
    np.testing.assert_allclose(gradient, 2 * errors @ INPUTS / 12, rtol=1e-4)


def test_parts_are_taken_in_order():
    found = mean_over_micro_batches(lambda part: part[0] * part[-1], 3, jnp.arange(6.0))
    assert float(found) == pytest.approx((0 * 1 + 2 * 3 + 4 * 5) / 3)


def test_parts_must_divide():
    with pytest.raises(ValueError, match="5 micro-batches do not divide a batch of 12"):
        mean_over_micro_batches(jnp.mean, 5, INPUTS)
