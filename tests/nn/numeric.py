"""What tests of numeric forms share: draws, a comparison and plain references."""

import jax
import numpy as np


def draw(*shapes, seed=0):
    """Returns normal draws, `float32`, one of each shape."""
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def assert_near(found, expected, tolerance):
    """Checks every leaf within `tolerance` times the largest expected value of that leaf."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for number, pair in enumerate(pairs):
        own, theirs = (np.asarray(leaf, np.float32) for leaf in pair)
        atol = tolerance * abs(theirs).max()
        np.testing.assert_allclose(own, theirs, rtol=0, atol=atol, err_msg=f"leaf {number}")


def lax_conv(x, kernel, stride=1, dilation=1):
    """Returns the plain convolution, NHWC and HWIO, padded to keep the size at stride one."""
    pads = [(dilation * (kernel.shape[0] // 2),) * 2] * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads,
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
