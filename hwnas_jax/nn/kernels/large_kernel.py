"""Convolutions with kernels as large as the image, and mixtures of them as one convolution.

Arrays are NHWC, and padding is symmetric and keeps the size at stride one.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.nn.kernels.convolution import conv2d

# With more taps than this the Fourier form is faster on CPU (benchmarks/large_kernel.py).
FOURIER_TAPS = 64


def effective_size(kernel: int, dilation: int) -> int:
    """Returns how far a dilated kernel reaches, in taps.

    >>> effective_size(3, 15)
    31
    """
    return (kernel - 1) * dilation + 1


def conv_large(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolves `x` with a kernel of any odd height and width.

    Args:
      x: `[B, H, W, I]`.
      kernel: `[h, w, I, O]`, `h` and `w` odd. Taps that only ever reach past the image are cut
        off first.
      stride: step along axes longer than one.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), O]`; an axis of one stays.
    """
    chex.assert_rank([x, kernel], 4)
    chex.assert_equal(kernel.shape[2], x.shape[3])
    for axis in (0, 1):
        excess = kernel.shape[axis] - (2 * x.shape[axis + 1] - 1)
        if excess > 0:
            size = kernel.shape[axis]
            kernel = jax.lax.slice_in_dim(kernel, excess // 2, size - excess // 2, axis=axis)
    if kernel.shape[0] * kernel.shape[1] > FOURIER_TAPS:
        y = conv_fourier(x, kernel)
        return y[:, ::stride, ::stride]
    return conv2d(x, kernel, stride=stride)


def conv_fourier(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves in the Fourier domain at stride one, in a time that hardly depends on the kernel.

    Args:
      x: `[B, H, W, I]`.
      kernel: `[h, w, I, O]`, `h` and `w` odd.

    Returns:
      `[B, H, W, O]`.
    """
    batch, height, width, inputs = x.shape
    outputs = kernel.shape[3]
    size = tuple(a + b - 1 for a, b in zip((height, width), kernel.shape[:2], strict=True))
    turned = kernel[::-1, ::-1].astype(jnp.float32)
    images = jnp.fft.rfft2(x.astype(jnp.float32), size, axes=(1, 2))
    factors = jnp.fft.rfft2(turned, size, axes=(0, 1))
    frequencies = images.shape[1] * images.shape[2]
    images = images.reshape(batch, frequencies, inputs)
    factors = factors.reshape(frequencies, inputs, outputs)
    # A complex product is made of three real ones, since XLA:CPU has no fast complex product.
    real = jnp.einsum("bfi,fio->bfo", images.real, factors.real)
    imaginary = jnp.einsum("bfi,fio->bfo", images.imag, factors.imag)
    both = jnp.einsum("bfi,fio->bfo", images.real + images.imag, factors.real + factors.imag)
    product = jax.lax.complex(real - imaginary, both - real - imaginary)
    product = product.reshape(batch, size[0], size[1] // 2 + 1, outputs)
    whole = jnp.fft.irfft2(product, size, axes=(1, 2))
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    return whole[:, top : top + height, left : left + width].astype(x.dtype)


def mix_kernels(
    kernels: Sequence[jax.Array], dilations: Sequence[int], weight: jax.Array
) -> jax.Array:
    """Returns one kernel that computes a weighted sum of dilated convolutions.

    A convolution is linear in its kernel, so `sum_i w_i conv(x, k_i) = conv(x, sum_i w_i k_i)` once
    all kernels are spread and padded to a common size.

    Args:
      kernels: each `[h, w, I, O]`; a height of one stays one.
      dilations: of each.
      weight: `float32[len(kernels)]`.

    Returns:
      `[H', W', I, O]`.

    References: Shen et al., "Efficient Architecture Search for Diverse Tasks" (DASH), 2022.
    """
    chex.assert_shape(weight, (len(kernels),))
    spread = [_spread(k, d) for k, d in zip(kernels, dilations, strict=True)]
    shape = tuple(max(kernel.shape[axis] for kernel in spread) for axis in (0, 1))
    total = None
    for factor, kernel in zip(weight, spread, strict=True):
        margins = [(size - own) // 2 for size, own in zip(shape, kernel.shape[:2], strict=True)]
        padded = jax.lax.pad(
            factor * kernel, np.zeros((), kernel.dtype),
            [*((margin, margin, 0) for margin in margins), (0, 0, 0), (0, 0, 0)],
        )  # fmt: skip
        total = padded if total is None else total + padded
    return jnp.asarray(total)


def _spread(kernel, dilation):
    gaps = [(0, 0, dilation - 1)] * 2 + [(0, 0, 0)] * 2
    return jax.lax.pad(kernel, np.zeros((), kernel.dtype), gaps)
