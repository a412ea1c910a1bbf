"""Trains the corrections of an ensemble: all members at once, on networks and on relaxed gates.

Legend: `N` networks, `M` members, `Q` metrics, `F` features, `S` soft gates, `H` architectures
drawn from each, `R` networks of a batch.
"""

import dataclasses
import functools
from typing import Annotated, Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt
from jax.flatten_util import ravel_pytree

from hwnas_jax.cost.models.additive import Features

# Relative error beyond which a network counts as an outlier: several times the timing noise.
_OUTLIER = 0.1
# The same for relaxed gates. Their targets are means, which have no timing noise.
_SOFT_OUTLIER = 0.02
# The error of gates is relative down to this cost, in medians, and absolute below it.
_SMALL = 0.2
_BATCH = 128
_FILL = 64
_POOL, _SOFT_BATCH, _HARD = 4096, 16, 8
_COLDEST, _HOTTEST = 0.1, 5.0
# Two networks whose log costs differ by less than this count as tied rather than ordered.
_TIE = 0.05
_PAIRINGS = 8


@dataclasses.dataclass(frozen=True)
class Training:
    """How a correction is trained."""

    loss: Literal["log", "rank", "both"] = "log"
    """what training minimises: errors of log cost, errors of order between pairs, or both"""
    relaxed: bool = True
    """train on relaxed architectures too, so that their cost is that of a random draw"""
    steps: Annotated[int, Gt(0)] = 1500
    """Adam steps"""
    learning_rate: Annotated[float, Gt(0)] = 3e-3
    weight_decay: Annotated[float, Ge(0)] = 1e-3


def train(
    model: Any,
    features: np.ndarray,
    values: np.ndarray,
    draws: np.ndarray,
    options: Training,
    *,
    seed: int,
) -> dict[str, jax.Array]:
    """Returns the trained parameters of all members.

    Args:
      model: an ensemble with `bias` and `table` only.
      features: `float[N, F]`.
      values: `float[N, Q]`, positive, in medians.
      draws: `int[M, N]`, how often each network is in each member's sample.
      options: the loss, whether relaxed gates are trained on, and the optimiser.
      seed: of the initial weights and the order.
    """
    chex.assert_rank([features, values, draws], 2)
    rng = np.random.default_rng(seed)
    members = len(draws)
    drawn = [model.draw(rng, model.features, values.shape[1], model.hidden) for _ in range(members)]
    # Padded to a multiple, so that a fit to a few more networks need not compile again.
    length = -(-len(values) // _FILL) * _FILL
    samples = np.stack([np.resize(np.repeat(np.arange(len(row)), row), length) for row in draws])
    fill = ((0, length - len(values)), (0, 0))
    batch = (members, options.steps, min(length, _BATCH))
    # Random numbers are drawn here: drawing them inside takes longer to compile than all the rest.
    order = Order(
        rng.integers(length, size=batch, dtype=np.int32) if length > _BATCH else None,
        rng.integers(1, batch[2], (options.steps, _PAIRINGS), dtype=np.int32),
        rng.integers(_POOL, size=(options.steps, _SOFT_BATCH), dtype=np.int32),
    )
    return _train(
        model,
        {name: np.stack([one[name] for one in drawn], dtype=np.float32) for name in drawn[0]},
        np.pad(features, fill).astype(np.float32),
        np.pad(np.log(values), fill).astype(np.float32),
        samples.astype(np.int32),
        order,
        relaxed_pool(model.features, seed) if options.relaxed else None,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        steps=options.steps,
        loss=options.loss,
    )


class Order(NamedTuple):
    """Which examples each step sees.

    Attributes:
      rows: `int32[M, steps, R]`, entries of each member's sample; None where every step sees all.
      turns: `int32[steps, pairings]`, how many places apart the compared networks stand.
      gates: `int32[steps, gates of a batch]`, entries of the pool.
    """

    rows: np.ndarray | None
    turns: np.ndarray
    gates: np.ndarray


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
    model, drawn, features, target, samples, order, pool, *, learning_rate, weight_decay, steps,
    loss,
):  # fmt: skip
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def member(parameters, x):
        return model.member(parameters, x, model.features)

    def objective(parameters, sample, turns, gates):
        if pool is None:
            logs = jnp.log(member(parameters, features[sample]))
            return _network_loss(logs, target[sample], turns, loss)
        soft, hard = pool[0][gates], pool[1][gates]
        # Networks and gates share one pass; a second backward pass would double the compile time.
        predicted = member(parameters, jnp.concatenate([features[sample], soft]))
        logs, relaxed = jnp.log(predicted[: len(sample)]), predicted[len(sample) :]
        # The expected cost of the linear base is known exactly, so only the rest is estimated.
        known = jax.lax.stop_gradient(parameters)
        rest = member(known, hard) - model.base(known, hard)
        expected = model.base(known, soft) + rest.mean(axis=1)
        # Gates that cost next to nothing must not outweigh all others by their relative error.
        error = (relaxed - expected) / jnp.maximum(expected, _SMALL)
        on_gates = (optax.huber_loss(error, delta=_SOFT_OUTLIER) / _SOFT_OUTLIER).mean()
        return _network_loss(logs, target[sample], turns, loss) + on_gates

    def train_member(drawn, base, sample, rows):
        adjust = {name: jnp.zeros_like(array) for name, array in base.items()}
        # One flat vector, because Adam over ten leaves takes longer to compile than to train.
        flat, unravel = ravel_pytree((adjust, drawn))

        def merge(flat):
            adjust, drawn = unravel(flat)
            return {**drawn, **{name: base[name] + adjust[name] for name in base}}

        def step(carry, now):
            flat, state = carry
            seen = sample if now.rows is None else sample[now.rows]

            def total(flat):
                value = objective(merge(flat), seen, now.turns, now.gates)
                return value + weight_decay * _penalty(*unravel(flat))

            update, state = optimiser.update(jax.grad(total)(flat), state, flat)
            return (optax.apply_updates(flat, update), state), None

        carry, _ = jax.lax.scan(step, (flat, optimiser.init(flat)), order._replace(rows=rows))
        parameters = merge(carry[0])
        if loss == "rank":
            # The loss fixed the mean of the level; its median is what is wanted.
            logs = jnp.log(member(parameters, features[sample]))
            level = jnp.exp(jnp.median(target[sample] - logs, axis=0))
            parameters["bias"] *= level
            parameters["table"] *= level[:, None]
        return parameters

    return jax.vmap(train_member)(drawn, model.parameters, samples, order.rows)


def _penalty(adjust, drawn):
    """Returns the sum of squares that keeps the base near the ridge and the correction small."""
    kernels = [array for name, array in drawn.items() if not name.endswith("bias")]
    return sum(((array**2).sum() for array in [adjust["table"], *kernels]), jnp.zeros(()))


def _network_loss(logs, target, turns, loss):
    """Returns the loss of predicted against observed logs, both `float32[R, Q]`."""
    total = jnp.zeros(())
    if loss != "rank":
        total += (optax.huber_loss(logs, target, delta=_OUTLIER) / _OUTLIER).mean()
    if loss == "rank":
        # Differences say nothing about the level, which would drift until it overflows.
        total += ((logs - target).mean(axis=0) ** 2).mean()
    if loss != "log":
        total += jax.vmap(lambda turn: ranking_loss(logs, target, turn))(turns).mean()
    return total


def ranking_loss(logs: jax.Array, target: jax.Array, turn: jax.Array) -> jax.Array:
    """Returns the cross-entropy of which of two networks costs more, `float32[]`.

    Each network is paired with the one `turn` places on. How certain their order is depends on how
    large their difference is against the timing noise. Ties and near ties therefore teach little,
    and the scale of the differences is learned too.

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
