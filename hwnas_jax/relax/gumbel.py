"""The Gumbel-softmax family: noise on the logits, hard or soft gates, one option run or all."""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation, masked, straight_through


def relaxed_sample(
    key: jax.Array, logits: jax.Array, mask: jax.Array, temperature: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns a Gumbel-softmax sample `float32[D, K]` and the option it favours, `int32[D]`.

    The favoured option is distributed by the softmax of the logits, whatever the temperature.

    References: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", 2016.
    """
    chex.assert_rank(logits, 2)
    chex.assert_equal_shape([logits, mask])
    noisy = masked(jax.nn.log_softmax(masked(logits, mask)), mask) + jax.random.gumbel(
        key, logits.shape, logits.dtype
    )
    index = jnp.argmax(noisy, axis=-1).astype(jnp.int32)
    return jax.nn.softmax(noisy / temperature, axis=-1), index


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class GumbelSoftmax(Relaxation):
    """Mixes all options by a Gumbel-softmax sample; one-hot as the temperature falls to zero.

    References: Xie et al., "SNAS: Stochastic Neural Architecture Search", 2018.
    """

    name = "gumbel_softmax"
    summary = "all options run, mixed by a Gumbel-softmax sample (SNAS)"

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns the relaxed sample as gates."""
        return Gates(relaxed_sample(key, params, mask, temperature)[0])


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class StraightThrough(Relaxation):
    """One-hot in value, Gumbel-softmax in gradient; every option runs and gets a gradient."""

    name = "straight_through"
    summary = "all options run, one counts, gradients by Gumbel-softmax"

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns one-hot gates with the gradient of the relaxed sample."""
        return Gates(straight_through(*relaxed_sample(key, params, mask, temperature)))


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class SampledPath(Relaxation):
    """Straight-through, and only the drawn option runs.

    References: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours"
    (GDAS), 2019.
    """

    name = "sampled_path"
    summary = "only the drawn option runs, gradients by Gumbel-softmax (GDAS)"
    draws_paths = True

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns one-hot gates and the drawn options."""
        relaxed, index = relaxed_sample(key, params, mask, temperature)
        return Gates(straight_through(relaxed, index), index)
