"""Training of an ensemble's corrections: all members at once, on networks and on relaxed gates.

Legend: `N` networks, `M` members, `Q` metrics, `F` features, `S` soft gates, `H` architectures
drawn from each, `R` networks of a batch.
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.additive import Features

# Relative error beyond which a network counts as an outlier: several times timing noise.
_OUTLIER = 0.1
# The same for relaxed gates, whose targets are means without noise of a measurement.
_SOFT_OUTLIER = 0.02
_BATCH = 256
_FILL = 64
_POOL, _SOFT_BATCH, _HARD = 4096, 32, 8
_COLDEST, _HOTTEST = 0.1, 5.0
# Differences of log cost below this count as ties more than as an order.
_TIE = 0.05
_PAIRINGS = 8


def train(
    model: Any,
    features: np.ndarray,
    values: np.ndarray,
    draws: np.ndarray,
    config: CostConfig,
    *,
    seed: int,
) -> dict[str, jax.Array]:
    """Returns the trained parameters of all members.

    Args:
      model: an ensemble with `bias` and `table` only.
      features: `float[N, F]`.
      values: `float[N, Q]`, positive, in medians.
      draws: `int[M, N]`, how often each network is in each member's sample.
      config: the loss, whether relaxed gates are trained on, and the optimiser.
      seed: of the initial weights and the order.
    """
    chex.assert_rank([features, values, draws], 2)
    # Filled up to a multiple, so that fits to a few networks more compile only once.
    length = -(-len(values) // _FILL) * _FILL
    samples = np.stack([np.resize(np.repeat(np.arange(len(row)), row), length) for row in draws])
    fill = ((0, length - len(values)), (0, 0))
    pool = relaxed_pool(model.features, seed) if config.relaxed else None
    return _train(
        model,
        jax.random.key(seed),
        jnp.asarray(np.pad(features, fill), jnp.float32),
        jnp.asarray(np.pad(np.log(values), fill), jnp.float32),
        samples.astype(np.int32),
        pool,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        steps=config.steps,
        loss=config.loss,
    )


def relaxed_pool(features: Features, seed: int) -> tuple[jax.Array, jax.Array]:
    """Draws gates of every sharpness, and architectures from them.

    Returns:
      Expected features of the gates (`float32[S, F]`), and features of architectures drawn from
      them, decision by decision independently (`float32[S, H, F]`).
    """
    space, rng = features.space, np.random.default_rng(seed)
    temperature = np.exp(rng.uniform(np.log(_COLDEST), np.log(_HOTTEST), (_POOL, 1, 1)))
    logits = rng.standard_normal((_POOL, *space.mask.shape)) / temperature
    logits = np.where(space.mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    uniform = rng.random((_HARD, _POOL, space.num_decisions, 1))
    drawn = (uniform > weights.cumsum(axis=2)).sum(axis=3)
    drawn = np.minimum(drawn, space.mask.sum(axis=1) - 1).transpose(1, 0, 2)
    hard = features.observed(drawn.reshape(-1, space.num_decisions))
    soft = jax.jit(jax.vmap(features.expected))(jnp.asarray(weights, jnp.float32))
    return soft, jnp.asarray(hard.reshape(_POOL, _HARD, -1))


@functools.partial(jax.jit, static_argnames=["steps", "loss"])
def _train(
    model, key, features, target, samples, pool, *, learning_rate, weight_decay, steps, loss
):
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    size, start = features.shape[0], model.parameters

    def member(parameters, x):
        return model.member(parameters, x, model.features)

    def on_networks(parameters, sample, key):
        keys = jax.random.split(key)
        if size > _BATCH:
            sample = jax.random.choice(keys[0], sample, (_BATCH,))
        logs = jnp.log(member(parameters, features[sample]))
        return _network_loss(logs, target[sample], keys[1], loss)

    def on_gates(parameters, key):
        rows = jax.random.randint(key, (_SOFT_BATCH,), 0, _POOL)
        soft, hard = pool[0][rows], pool[1][rows]
        predicted = member(parameters, soft)
        # What the linear base costs is known in expectation, so only the rest is estimated.
        rest = member(parameters, hard) - model.base(parameters, hard)
        expected = jax.lax.stop_gradient(model.base(parameters, soft) + rest.mean(axis=1))
        error = (predicted - expected) / expected
        return (optax.huber_loss(error, delta=_SOFT_OUTLIER) / _SOFT_OUTLIER).mean()

    def train_member(key, base, sample):
        parts = jax.random.split(key)
        drawn = model.draw(parts[0], model.features, target.shape[1], model.hidden)
        adjust = {name: jnp.zeros_like(array) for name, array in base.items()}
        # One flat vector: Adam over ten leaves takes longer to compile than to train.
        flat, unravel = ravel_pytree((adjust, drawn))

        def merge(flat):
            adjust, drawn = unravel(flat)
            return {**drawn, **{name: base[name] + adjust[name] for name in base}}

        def total(flat, key):
            keys = jax.random.split(key)
            value = on_networks(merge(flat), sample, keys[0])
            if pool is not None:
                value = value + on_gates(merge(flat), keys[1])
            return value + weight_decay * _penalty(*unravel(flat))

        def step(carry, number):
            flat, state = carry
            gradient = jax.grad(total)(flat, jax.random.fold_in(parts[1], number))
            update, state = optimiser.update(gradient, state, flat)
            return (optax.apply_updates(flat, update), state), None

        (flat, _), _ = jax.lax.scan(step, (flat, optimiser.init(flat)), jnp.arange(steps))
        parameters = merge(flat)
        if loss == "rank":
            # Differences say nothing of the level.
            logs = jnp.log(member(parameters, features[sample]))
            level = jnp.exp(jnp.median(target[sample] - logs, axis=0))
            parameters["bias"] *= level
            parameters["table"] *= level[:, None]
        return parameters

    keys = jax.random.split(key, len(samples))
    return jax.vmap(train_member)(keys, start, samples)


def _penalty(adjust, drawn):
    """Returns the sum of squares that keeps the base near the ridge and the correction small."""
    kernels = [array for name, array in drawn.items() if not name.endswith("bias")]
    return sum(((array**2).sum() for array in [adjust["table"], *kernels]), jnp.zeros(()))


def _network_loss(logs, target, key, loss):
    """Returns the loss of predicted against observed logs, both `float32[R, Q]`."""
    total = jnp.zeros(())
    if loss != "rank":
        total += (optax.huber_loss(logs, target, delta=_OUTLIER) / _OUTLIER).mean()
    if loss != "log":
        turns = jax.random.randint(key, (_PAIRINGS,), 1, len(logs))
        total += jax.vmap(lambda turn: ranking_loss(logs, target, turn))(turns).mean()
    return total


def ranking_loss(logs: jax.Array, target: jax.Array, turn: jax.Array) -> jax.Array:
    """Returns the cross-entropy of which of two networks costs more, `float32[]`.

    Each network is paired with the one `turn` places on. The order of two networks is as certain
    as their difference is large against timing noise, so that ties and near ties teach little and
    the scale of the differences is learned too.

    Args:
      logs: `float32[R, Q]`, predicted log costs.
      target: `float32[R, Q]`, observed ones.
      turn: `int32[]`.

    References: Burges et al., "Learning to Rank using Gradient Descent", 2005.
    """
    chex.assert_equal_shape([logs, target])
    predicted = (logs - jnp.roll(logs, turn, axis=0)) / _TIE
    certain = jax.nn.sigmoid((target - jnp.roll(target, turn, axis=0)) / _TIE)
    return optax.sigmoid_binary_cross_entropy(predicted, certain).mean()
