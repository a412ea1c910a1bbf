"""The 3x3 convolution at stride one with half the multiplications, for CPU.

Along each image row, four outputs of three taps take six products instead of twelve (Winograd's
F(4, 3)). Along the column the three taps stay as they are and become one contraction over `3 I`
channels. The transforms surround a batched matrix product, which XLA:CPU runs near its peak also
inside `scan` and `switch`. The gradients have the same form: both share one transform of the
output's gradient, and the kernel's gradient needs no transposed image.

References: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4
_POINTS = 6
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float32,
)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float32,
)


@jax.jit
def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves `x` (`[B, H, W, I]`, `W` a multiple of `TILE`) with `kernel` (`[3, 3, I, O]`)."""
    batch, height, width, _ = x.shape
    features = kernel.shape[-1]
    products = jax.lax.dot_general(
        _transform_input(x), _transform_kernel(kernel), (((2,), (1,)), ((0,), (0,)))
    )
    points = _slices(products.reshape(_POINTS, batch, height, width // TILE, features), 0)
    return _stack(_combine(_OUTPUT, points), 3).reshape(batch, height, width, features)


@jax.jit
def conv3x3_gradients(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of `x` and `kernel`, given the gradient of `conv3x3(x, kernel)`."""
    gradient = jax.lax.optimization_barrier(gradient)
    batch, height, width, inputs = x.shape
    outputs = gradient.shape[-1]
    tiles = gradient.reshape(batch, height, width // TILE, TILE, outputs)
    points = _stack(_combine(_OUTPUT.T, _slices(tiles, 3)), 0)
    points = points.reshape(_POINTS, -1, outputs)
    kernel_points = jax.lax.dot_general(
        _transform_input(x), points, (((1,), (1,)), ((0,), (0,)))
    ).reshape(_POINTS, 3, inputs, outputs)
    input_points = jax.lax.dot_general(
        points, _transform_kernel(kernel), (((2,), (2,)), ((0,), (0,)))
    ).reshape(_POINTS, batch, height, width // TILE, 3, inputs)
    above, here, below = _slices(input_points, 4)
    rows = here + _shift(above, 2, -1) + _shift(below, 2, 1)
    left, *inner, right = _combine(_INPUT.T, _slices(rows, 0))
    inner[0] = inner[0] + _shift(right, 2, 1)
    inner[-1] = inner[-1] + _shift(left, 2, -1)
    x_gradient = jax.lax.optimization_barrier(_stack(inner, 3).reshape(x.shape))
    return x_gradient, jnp.einsum("pt,prio->rtio", _KERNEL, kernel_points)


def _transform_kernel(kernel):
    """Returns `[6, 3 I, O]`."""
    points = jnp.einsum("pt,rtio->prio", _KERNEL, kernel)
    return points.reshape(_POINTS, -1, kernel.shape[-1])


def _transform_input(x):
    """Returns `[6, B H W / 4, 3 I]`: the points of each tile with the rows above and below."""
    batch, height, width, inputs = x.shape
    tiles = x.reshape(batch, height, width // TILE, TILE, inputs)
    inner = _slices(tiles, 3)
    points = _combine(_INPUT, [_shift(inner[-1], 2, 1), *inner, _shift(inner[0], 2, -1)])
    rows = [
        jax.lax.concatenate([_shift(point, 1, 1), point, _shift(point, 1, -1)], point.ndim - 1)
        for point in points
    ]
    return _stack(rows, 0).reshape(_POINTS, -1, 3 * inputs)


def _shift(x, axis, by):
    """Moves `x` by one along `axis`, forwards or backwards, and fills with zeros."""
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (by, -by, 0)
    return jax.lax.pad(x, np.zeros((), x.dtype), pads)


def _slices(x, axis):
    return [jax.lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])]


def _stack(parts, axis):
    return jax.lax.concatenate([jax.lax.expand_dims(part, (axis,)) for part in parts], axis)


def _combine(matrix, parts):
    """Returns `matrix @ parts`; zeros and ones of the matrix cost nothing."""
    results = []
    for row in matrix:
        # These are `lax` operations, since every jnp operator is traced as a jitted function.
        terms = [
            p if c == 1 else jax.lax.mul(p, np.asarray(c, p.dtype))
            for c, p in zip(row.tolist(), parts, strict=True)
            if c
        ]
        results.append(functools.reduce(jax.lax.add, terms))
    return results
