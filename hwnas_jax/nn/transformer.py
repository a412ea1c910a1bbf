"""Parts of a vision transformer, which masks over channels, heads and hidden units can narrow.

Legend: `B` batch, `H, W, C` image height, width, channels, `T` tokens, `E` embedding channels,
`h` heads, `d` channels of a head, `M` hidden units.

Blocks are pre-norm. A mask holds a factor for each channel, head or unit. If it holds ones followed
by zeros, the masked part is exactly the narrower part that is built of its leading weights. With
factors in between, channels are partly present: they count partly in the statistics of a
normalisation, and are read and written partly. A part is one product at full width, whatever the
number of options.

References: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Touvron et al.,
"Training Data-Efficient Image Transformers" (DeiT), ICML 2021.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from flax import nnx

EPSILON = 1e-6

_init = nnx.initializers.xavier_uniform()
_small = nnx.initializers.truncated_normal(0.02)


class Linear(nnx.Module):
    """A product and a bias, `[..., I] -> [..., O]`."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = nnx.Param(_init(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return _affine(x, self.kernel[...], self.bias[...])

    def macs(self, rows: int) -> int:
        """Returns multiply-accumulates for this many rows."""
        return rows * self.kernel.size


class LayerNorm(nnx.Module):
    """Normalises every token over its channels, then scales and shifts."""

    def __init__(self, features: int, rngs: nnx.Rngs):
        del rngs
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: jax.Array, channels: jax.Array | None = None) -> jax.Array:
        """Normalises `x` (`[..., E]`), with statistics weighted by `channels` (`float32[E]`)."""
        chex.assert_equal_shape_suffix([x, self.scale[...]], 1)
        return _normalise(x, self.scale[...], self.bias[...], channels)


class Patches(nnx.Module):
    """Cuts images into patches and embeds them: `[B, H, W, C] -> [B, T, E]`.

    Positions are learned. If there is a class token, it comes first.
    """

    def __init__(
        self, image: tuple[int, int, int], patch: int, features: int, rngs: nnx.Rngs, *, token: bool
    ):
        height, width, colours = image
        self.patch = patch
        self.embed = Linear(patch * patch * colours, features, rngs)
        tokens = (height // patch) * (width // patch) + token
        self.positions = nnx.Param(_small(rngs.params(), (tokens, features), jnp.float32))
        self.token = nnx.Param(_small(rngs.params(), (features,), jnp.float32)) if token else None

    def __call__(self, x: jax.Array, channels: jax.Array | None = None) -> jax.Array:
        chex.assert_rank(x, 4)
        batch, height, width, colours = x.shape
        size = self.patch
        x = x.reshape(batch, height // size, size, width // size, size, colours)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, size * size * colours)
        x = self.embed(x)
        if self.token is not None:
            token = jnp.broadcast_to(self.token[...].astype(x.dtype), (batch, 1, x.shape[-1]))
            x = jnp.concatenate([token, x], 1)
        return _masked(x + self.positions[...].astype(x.dtype), channels)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width, _ = input_shape
        return self.embed.macs((height // self.patch) * (width // self.patch))


class Attention(nnx.Module):
    """Normalisation and self-attention, `[B, T, E] -> [B, T, E]`, without the residual."""

    def __init__(self, features: int, heads: int, head_size: int, rngs: nnx.Rngs):
        self.head_size = head_size
        self.norm = LayerNorm(features, rngs)
        inner = heads * head_size
        draw = functools.partial(_init, shape=(features, inner), dtype=jnp.float32)
        # Queries, keys and values have an axis of their own, so that fewer heads are the leading
        # part of the last axis.
        self.kernel = nnx.Param(jnp.stack([draw(rngs.params()) for _ in range(3)], 1))
        self.bias = nnx.Param(jnp.zeros((3, inner)))
        self.out = Linear(inner, features, rngs)

    def __call__(
        self, x: jax.Array, channels: jax.Array | None = None, heads: jax.Array | None = None
    ) -> jax.Array:
        """Attends over the tokens.

        Args:
          x: `[B, T, E]`.
          channels: `float32[E]`, or None for all.
          heads: `float32[h]`, or None for all.
        """
        chex.assert_rank(x, 3)
        values = self.norm(x, channels)
        values = _attend(values, self.kernel[...], self.bias[...], heads, self.head_size)
        return _masked(self.out(values), channels)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(T, E)`."""
        tokens = input_shape[0]
        scores_and_values = 2 * tokens * tokens * self.bias.shape[1]
        return tokens * self.kernel.size + scores_and_values + self.out.macs(tokens)


class MLP(nnx.Module):
    """Normalisation and two products around a GELU, `[B, T, E] -> [B, T, E]`, without residual."""

    def __init__(self, features: int, hidden: int, rngs: nnx.Rngs):
        self.norm = LayerNorm(features, rngs)
        self.expand = Linear(features, hidden, rngs)
        self.reduce = Linear(hidden, features, rngs)

    def __call__(
        self, x: jax.Array, channels: jax.Array | None = None, hidden: jax.Array | None = None
    ) -> jax.Array:
        """Runs the products; masks are `float32[E]` and `float32[M]`, or None for all."""
        values = jax.nn.gelu(self.expand(self.norm(x, channels)), approximate=False)
        return _masked(self.reduce(_masked(values, hidden)), channels)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(T, E)`."""
        return self.expand.macs(input_shape[0]) + self.reduce.macs(input_shape[0])


class TokenHead(nnx.Module):
    """Normalisation and a linear layer on the first token or the mean: `[B, T, E] -> [B, O]`."""

    def __init__(self, features: int, classes: int, rngs: nnx.Rngs, *, token: bool):
        self.token = token
        self.norm = LayerNorm(features, rngs)
        self.classify = Linear(features, classes, rngs)

    def __call__(self, x: jax.Array, channels: jax.Array | None = None) -> jax.Array:
        chex.assert_rank(x, 3)
        x = self.norm(x[:, 0] if self.token else x, channels)
        return self.classify(x if self.token else x.mean(1))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image; the shape does not matter."""
        del input_shape
        return self.classify.macs(1)


# These are jitted so that they are compiled as a whole even if a network runs operation by
# operation.
@jax.jit
def _affine(x, kernel, bias):
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


@jax.jit
def _normalise(x, scale, bias, channels):
    values = x.astype(jnp.float32)
    share = jnp.ones(x.shape[-1]) if channels is None else channels.astype(jnp.float32)
    share = share / share.sum()
    values = values - (share * values).sum(-1, keepdims=True)
    variance = (share * values * values).sum(-1, keepdims=True)
    values = values * jax.lax.rsqrt(variance + EPSILON) * scale + bias
    return _masked(values.astype(x.dtype), channels)


@functools.partial(jax.jit, static_argnums=4)
def _attend(x, kernel, bias, heads, head_size):
    batch, tokens, features = x.shape
    joint = _affine(x, kernel.reshape(features, -1), bias.reshape(-1))
    joint = joint.reshape(batch, tokens, 3, -1, head_size)
    values = jax.nn.dot_product_attention(*(joint[:, :, i] for i in range(3)))
    values = _masked(values, None if heads is None else heads[:, None])
    return values.reshape(batch, tokens, -1)


def _masked(x, mask):
    return x if mask is None else x * mask.astype(x.dtype)
