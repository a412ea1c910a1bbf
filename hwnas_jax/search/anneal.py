"""Gradient search where accuracy and cost are known functions of the architecture.

A table, a predictor or a frozen evaluator takes the place of the supernet, as DANCE has it; the
decisions may be a network's, an accelerator's, or both.

Legend: `D` decisions, `K` options of the widest decision.

References: Choi et al., "DANCE: Differentiable Accelerator/Network Co-Exploration", 2021;
Williams and Peng, "Function Optimization Using Connectionist Reinforcement Learning Algorithms",
1991 (entropy).
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax

from hwnas_jax.relax import softmax_probabilities as probabilities
from hwnas_jax.search.expected_cost import expectation


def minimise(
    function: Callable[[jax.Array], jax.Array],
    mask: jax.Array,
    key: jax.Array,
    *,
    steps: int = 600,
    samples: int = 8,
    learning_rate: float = 0.1,
    temperature_start: float = 2.0,
    temperature_end: float = 0.05,
    spread: float = 1.0,
) -> jax.Array:
    """Returns logits `float32[D, K]` of architectures at which a function is small.

    Adam follows the gradient of the function's expectation over independent draws, less the
    entropy of all decisions times a temperature that falls geometrically.

    Args:
      function: `float32[D, K] -> float32[]`, called on one-hot rows only; its scale is that of the
        temperature, so a logarithm of a cost fits.
      mask: `bool[D, K]`, which options there are.
      key: of the start and the draws.
      steps: gradient steps.
      samples: architectures drawn in each; see `hwnas_jax.search.expected_cost.expectation`.
      learning_rate: of Adam.
      temperature_start: at the first step.
      temperature_end: at the last.
      spread: standard deviation of the logits at the start; starts far from uniform end at
        different optima, of which the best can be taken.
    """
    chex.assert_rank(mask, 2)
    mask = jnp.asarray(mask)
    start_key, draw_key = jax.random.split(key)
    optimizer = optax.adam(learning_rate)

    def loss(logits, key, temperature):
        share = probabilities(logits, mask)
        entropy = -(share * jnp.log(jnp.where(share > 0, share, 1.0))).sum()
        return expectation(function, key, share, samples) - temperature * entropy

    def step(carry, number):
        logits, state = carry
        ratio = temperature_end / temperature_start
        temperature = temperature_start * ratio ** (number / max(steps - 1, 1))
        gradient = jax.grad(loss)(logits, jax.random.fold_in(draw_key, number), temperature)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(logits, updates), state), None

    logits = spread * jax.random.normal(start_key, mask.shape)
    (logits, _), _ = jax.lax.scan(step, (logits, optimizer.init(logits)), jnp.arange(steps))
    return logits


def least_over(
    function: Callable[[jax.Array], jax.Array], answers: jax.Array
) -> Callable[[jax.Array], jax.Array]:
    """Returns a function of the first decisions: the least over what the others may be.

    Independent draws cannot say that an accelerator suits one network and not another, so a search
    over both settles on the accelerator that suits most. Here every network is judged by its own,
    as by DANCE's hardware generation network, but by looking at all of them.

    Args:
      function: `float32[D, K] -> float32[]`, called on one-hot rows only.
      answers: `float32[N, R, K]`, one-hot rows of the last `R` decisions.

    Returns:
      `float32[D - R, K] -> float32[]`.
    """
    chex.assert_rank(answers, 3)

    def least(weight: jax.Array) -> jax.Array:
        return jax.vmap(lambda rest: function(jnp.concatenate([weight, rest])))(answers).min()

    return least
