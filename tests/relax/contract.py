"""What every relaxation must keep, shown on a small search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.relax import check_relaxation

# A full row, two with gaps, and one without a choice.
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1]], bool)
# What does not exist looks best by far, so that a leak is followed.
COST = np.where(MASK, np.array([[3, 2, 0, 1], [0, 2, 9, 1], [9, 1, 9, 9], [2, 9, 9, 0]]), -100.0)
STEPS = 300


def loss(relaxation, params, key, temperature, cost):
    """The cost of the drawn gates; of the options that do not run, nothing is known."""
    gates = relaxation.sample(key, params, MASK, temperature)
    cost = jnp.asarray(cost, jnp.float32)
    if gates.index is None:
        return (gates.weight * cost).sum(), gates
    rows = jnp.arange(len(MASK))
    return (gates.weight[rows, gates.index] * cost[rows, gates.index]).sum(), gates


@functools.partial(jax.jit, static_argnums=0)
def search(relaxation, key):
    """Follows the cost for some steps; returns everything that was seen at each."""
    optimizer = relaxation.optimizer()
    params = relaxation.init(key, MASK)

    def step(carry, number):
        params, state = carry
        progress = number / STEPS
        temperature = 5.0 * 0.01**progress
        draw = jax.random.fold_in(key, number)
        by_cost, gates = jax.grad(loss, 1, has_aux=True)(
            relaxation, params, draw, temperature, COST
        )
        harmless, _ = jax.grad(loss, 1, has_aux=True)(
            relaxation, params, draw, temperature, np.where(MASK, COST, 0.0)
        )
        share, pull_back = jax.vjp(lambda p: relaxation.probabilities(p, MASK), params)
        by_share = pull_back(jnp.asarray(COST, jnp.float32))[0]
        penalty, by_penalty = jax.value_and_grad(relaxation.penalty)(params, MASK, progress)
        seen = {
            "gates": gates, "share": share, "penalty": penalty, "harmless": harmless,
            "gradients": {"sample": by_cost, "probabilities": by_share, "penalty": by_penalty},
        }  # fmt: skip
        gradient = jax.tree.map(jnp.add, by_cost, by_penalty)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), seen

    (params, _), seen = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(STEPS))
    return seen | {"final": relaxation.probabilities(params, MASK)}


def must(condition, what):
    """Fails with a sentence when a part of the contract is broken."""
    assert np.all(condition), what


def check(relaxation):
    """Fails when a relaxation breaks its contract."""
    check_relaxation(relaxation, MASK)
    seen = jax.tree.map(np.asarray, search(relaxation, jax.random.key(0)))
    gates, share = seen["gates"], seen["share"]

    must(np.isfinite(gates.weight), "gates must be finite")
    must(gates.weight >= -1e-6, "gates must not be negative")
    must(gates.weight[:, ~MASK] == 0, "gates of masked options must be zero")
    if not relaxation.chooses_several:
        must(np.abs(gates.weight.sum(-1) - 1) < 1e-5, "rows of gates must sum to one")
    if gates.index is not None:
        rows = np.arange(len(MASK))
        must(MASK[rows, gates.index], "a masked option must never be drawn")
        chosen = np.take_along_axis(gates.weight, gates.index[..., None], -1)
        must(np.abs(chosen - 1) < 1e-6, "the gate of a drawn option must be one")

    must(np.isfinite(share) & (share >= 0), "probabilities must be finite and not negative")
    must(share[:, ~MASK] == 0, "probabilities of masked options must be zero")
    must(np.abs(share.sum(-1) - 1) < 1e-5, "rows of probabilities must sum to one")
    even = MASK / MASK.sum(-1, keepdims=True)
    must(np.abs(share[0] - even) < 1e-6, "nothing must be favoured at the start")

    must(np.isfinite(seen["penalty"]), "the penalty must be finite")
    for source, gradient in seen["gradients"].items():
        for leaf in jax.tree.leaves(gradient):
            must(np.isfinite(leaf), f"the gradient of {source} must be finite")
            if leaf.shape[1:] == MASK.shape:
                must(leaf[:, ~MASK] == 0, f"the gradient of {source} leaks to masked options")
    for one, other in zip(
        jax.tree.leaves(seen["gradients"]["sample"]), jax.tree.leaves(seen["harmless"]), strict=True
    ):
        must(one == other, "what masked options cost must not reach the gradient")
    moving = [np.abs(leaf).max() for leaf in jax.tree.leaves(seen["gradients"]["sample"])]
    must(max(moving) > 0, "gates must have a gradient")
    best = np.where(MASK, COST, np.inf).argmin(-1)
    must(seen["final"].argmax(-1) == best, "the cheapest options must become the most probable")
