"""How a choice becomes differentiable: from logits to gates.

Legend: `D` decisions, `K` options of the widest decision.

A relaxation is a pure function `(key, logits, mask, temperature) -> Gates`. It knows no
search space, and a search space knows no relaxation.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

_MASKED = -1e9


class Gates(NamedTuple):
    """What a supernet consumes.

    Attributes:
      weight: `float32[D, K]`, the factor on each option's output; zero where masked.
      index: `int32[D]` or None. When set, only option `index[d]` of decision `d` runs and its
        output is multiplied by `weight[d, index[d]]` (value one, gradient of the relaxation).
        When None, every option runs and the outputs are mixed.
    """

    weight: jax.Array
    index: jax.Array | None = None  # type: ignore[assignment]  # tuple.index is not meant


Relaxation = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Gates]


def masked(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns `logits` (`float32[D, K]`) with options outside `mask` (`bool[D, K]`) ruled out."""
    return jnp.where(mask, logits, _MASKED)


def probabilities(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the option probabilities `float32[D, K]` that `logits` stand for."""
    chex.assert_rank(logits, 2)
    chex.assert_equal_shape([logits, mask])
    return jax.nn.softmax(masked(logits, mask), axis=-1)


def one_hot_gates(architecture: jax.Array, num_options: int, *, sampled: bool = False) -> Gates:
    """Returns the gates that stand for one architecture.

    Args:
      architecture: `int32[D]`.
      num_options: `K`.
      sampled: whether only the chosen options shall run.
    """
    chex.assert_rank(architecture, 1)
    weight = jax.nn.one_hot(architecture, num_options, dtype=jnp.float32)
    return Gates(weight, jnp.asarray(architecture, jnp.int32) if sampled else None)


def _relaxed_sample(key, logits, mask, temperature):
    """Returns a Gumbel-softmax sample `float32[D, K]` and the option it favours, `int32[D]`."""
    chex.assert_rank(logits, 2)
    chex.assert_equal_shape([logits, mask])
    noisy = masked(jax.nn.log_softmax(masked(logits, mask)), mask) + jax.random.gumbel(
        key, logits.shape, logits.dtype
    )
    return jax.nn.softmax(noisy / temperature, axis=-1), jnp.argmax(noisy, axis=-1)


def _hard(relaxed, index):
    """Returns one-hot rows in value, with the gradient of `relaxed`."""
    hard = jax.nn.one_hot(index, relaxed.shape[-1], dtype=relaxed.dtype)
    return hard + relaxed - jax.lax.stop_gradient(relaxed)


def softmax(key: jax.Array, logits: jax.Array, mask: jax.Array, temperature: jax.Array) -> Gates:
    """Mixes all options by their tempered probabilities, without noise.

    References: Liu et al., "DARTS: Differentiable Architecture Search", 2018.
    """
    del key
    chex.assert_equal_shape([logits, mask])
    return Gates(jax.nn.softmax(masked(logits, mask) / temperature, axis=-1))


def gumbel_softmax(
    key: jax.Array, logits: jax.Array, mask: jax.Array, temperature: jax.Array
) -> Gates:
    """Mixes all options by a Gumbel-softmax sample; one-hot as the temperature falls to zero.

    References: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", 2016;
    Xie et al., "SNAS: Stochastic Neural Architecture Search", 2018.
    """
    return Gates(_relaxed_sample(key, logits, mask, temperature)[0])


def straight_through(
    key: jax.Array, logits: jax.Array, mask: jax.Array, temperature: jax.Array
) -> Gates:
    """One-hot in value, Gumbel-softmax in gradient; every option runs and gets a gradient."""
    return Gates(_hard(*_relaxed_sample(key, logits, mask, temperature)))


def sampled_path(
    key: jax.Array, logits: jax.Array, mask: jax.Array, temperature: jax.Array
) -> Gates:
    """Straight-through, and only the drawn option runs.

    References: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours"
    (GDAS), 2019.
    """
    relaxed, index = _relaxed_sample(key, logits, mask, temperature)
    return Gates(_hard(relaxed, index), index)


RELAXATIONS: dict[str, Relaxation] = {
    "softmax": softmax,
    "gumbel_softmax": gumbel_softmax,
    "straight_through": straight_through,
    "sampled_path": sampled_path,
}
