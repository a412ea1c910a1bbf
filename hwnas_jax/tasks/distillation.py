"""How far a network's outputs are from those of a teacher.

Legend: `B` batch, `O` outputs; `...` are positions of a dense task.

References: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def squared_distance(outputs: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """Returns the mean squared difference, `float32[]`.

    Args:
      outputs: `float32[B, ..., O]`.
      teacher: of the same shape.
      temperature: has no meaning for values, and is not read.
    """
    del temperature
    return jnp.square(outputs - teacher).mean()


def softmax_divergence(outputs: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """Returns the mean Kullback-Leibler divergence of the softened probabilities, `float32[]`.

    It is multiplied by the squared temperature, so that its gradient keeps its size whatever the
    temperature is.

    Args:
      outputs: logits `float32[B, ..., O]`, one class of several.
      teacher: logits of the same shape.
      temperature: divides both.
    """
    said = jax.nn.log_softmax(outputs / temperature)
    wanted = jax.nn.log_softmax(teacher / temperature)
    return temperature**2 * (jnp.exp(wanted) * (wanted - said)).sum(-1).mean()


def sigmoid_divergence(outputs: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """Returns the same as `softmax_divergence` where every output is a yes or no of its own."""
    wanted = jax.nn.sigmoid(teacher / temperature)
    cross, own = (
        optax.sigmoid_binary_cross_entropy(logits / temperature, wanted)
        for logits in (outputs, teacher)
    )
    return temperature**2 * (cross - own).mean()


DISTANCES: dict[str, Callable[[jax.Array, jax.Array, float], jax.Array]] = {
    "values": squared_distance,
    "classes": softmax_divergence,
    "labels": sigmoid_divergence,
}
"""By what outputs are, `(outputs, outputs of the teacher, temperature) -> float32[]`."""
