"""Small dense networks that are trained on a few rows, as data of fixed shape.

Legend: `N` rows to learn from, `n` asked about, `F` features, `b` rows of a batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Parameters = list[tuple[jax.Array, jax.Array]]
"""Weights `float32[in, out]` and biases `float32[out]` of every layer."""

BatchLoss = Callable[[Parameters, jax.Array, jax.Array], jax.Array]
"""`(parameters, rows int32[b], counts float32[b]) -> float32[]`; a count is one, or zero for a row
that only fills the batch."""


def draw_parameters(key: jax.Array, sizes: tuple[int, ...]) -> Parameters:
    """Returns weights drawn uniformly with the variance of Glorot, and biases of zero.

    Args:
      key: random key.
      sizes: of the layers, that of the input first.

    References: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """
    draw = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (draw(own, (into, out), jnp.float32), jnp.zeros(out, jnp.float32))
        for own, into, out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def outputs(parameters: Parameters, features: jax.Array) -> jax.Array:
    """Returns the network's output for features `float32[n, F]`, `float32[n]`."""
    hidden = features
    for weight, bias in parameters[:-1]:
        hidden = jax.nn.relu(hidden @ weight + bias)
    weight, bias = parameters[-1]
    return (hidden @ weight + bias)[:, 0]


def trained(
    key: jax.Array,
    loss: BatchLoss,
    parameters: Parameters,
    known: jax.Array,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
) -> Parameters:
    """Returns the parameters after some epochs of Adam over the known rows.

    Every epoch visits each known row once, in an order of its own. The last batch of an epoch may
    be smaller.

    Args:
      key: of the orders.
      loss: of a batch.
      parameters: at the start.
      known: `bool[N]`.
      epochs: how many.
      batch: `b`.
      learning_rate: of Adam.
    """
    optimizer = optax.adam(learning_rate, b1=0.9, b2=0.99)
    count = known.sum()
    batches = (count + batch - 1) // batch

    def epoch(carry, own_key):
        order = jnp.argsort(jnp.where(known, jax.random.uniform(own_key, known.shape), 2.0))

        def step(number, carry):
            parameters, state = carry
            places = number * batch + jnp.arange(batch)
            rows = order[jnp.minimum(places, len(order) - 1)]
            gradient = jax.grad(loss)(parameters, rows, (places < count).astype(jnp.float32))
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(parameters, updates), state

        return jax.lax.fori_loop(0, batches, step, carry), None

    start = parameters, optimizer.init(parameters)
    return jax.lax.scan(epoch, start, jax.random.split(key, epochs))[0][0]
