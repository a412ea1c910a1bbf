"""The structural similarity of images (SSIM).

Legend: `B` batch, `H, W` height and width, `C` channels.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

_SIDE, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def window(size: int) -> np.ndarray:
    """Returns the weights of the Gaussian window along an axis, which sum to one.

    It has 11 positions and a deviation of 1.5; along an axis of fewer positions, the largest odd
    number of them that fits.

    Args:
      size: of the images along the axis.
    """
    half = min(_SIDE, size - 1 + size % 2) // 2
    weights = np.exp(-0.5 * np.square(np.arange(-half, half + 1) / _SIGMA))
    return weights / weights.sum()


def ssim(images: jax.Array, others: jax.Array) -> jax.Array:
    """Returns how similar two images are, `float32[B]`: one where they are equal, at least -1.

    Local means, variances and covariance are taken under a window of 11x11 positions that lies
    wholly inside the image, for each channel, and all places of the window count the same. An image
    that is smaller than the window gets the largest one of odd sides that fits it.

    References: Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE Transactions on Image Processing, 2004.

    Args:
      images: `float32[B, H, W, C]`, whose values span a range of one.
      others: likewise.
    """
    chex.assert_rank([images, others], 4)
    chex.assert_equal_shape([images, others])
    down, right = (_bands(size) for size in images.shape[1:3])

    def local(values):
        return jnp.einsum("ph,qw,bhwc->bpqc", down, right, values, precision="highest")

    mean, other = local(images), local(others)
    variances = local(jnp.square(images) + jnp.square(others)) - mean**2 - other**2
    covariance = local(images * others) - mean * other
    lightness = (2 * mean * other + _K1**2) / (mean**2 + other**2 + _K1**2)
    structure = (2 * covariance + _K2**2) / (variances + _K2**2)
    return (lightness * structure).mean((1, 2, 3))


def _bands(size: int) -> np.ndarray:
    """Returns the matrix that takes the mean under the window at each place, `float32[P, size]`."""
    weights = window(size)
    rows = [
        np.pad(weights, (place, size - place - len(weights)))
        for place in range(size - len(weights) + 1)
    ]
    return np.stack(rows).astype(np.float32)


def similarity_to(image: np.ndarray, images: np.ndarray) -> float:
    """Returns the mean similarity of many images to one.

    Args:
      image: `float[H, W, C]`.
      images: `float32[N, H, W, C]`.
    """
    one = jax.jit(lambda other: ssim(jnp.float32(image)[None], other[None])[0])
    return float(np.asarray(jax.lax.map(one, images, batch_size=64), np.float64).mean())
