"""Forms are chosen for the platform a program is traced for."""

import jax
import jax.numpy as jnp

from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.nn.platform import platform, target_platform


def test_the_default_is_the_backend_in_use():
    assert target_platform() == jax.default_backend()
    with platform("tpu"):
        assert target_platform() == "tpu"
    assert target_platform() == jax.default_backend()


def test_what_was_traced_for_another_platform_is_not_used_again():
    """On a CPU the convolution writes its own gradients; on a TPU it is a plain one."""
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
    inner = jax.jit(conv2d)
    assert "custom_vjp" in str(jax.make_jaxpr(inner)(x, kernel))
    with platform("tpu"):
        assert "custom_vjp" not in str(jax.make_jaxpr(inner)(x, kernel))
    assert "custom_vjp" in str(jax.make_jaxpr(inner)(x, kernel))
