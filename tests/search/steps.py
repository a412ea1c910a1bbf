"""Halves of a search step by themselves, and what they are compared with.

The reference loss is written down here a second time, from the supernet and the relaxation alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.data.batches import Batch
from hwnas_jax.relax.base import RELAXATIONS
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.helpers import small_search
from tests.tiny import TinyCost, TinySpace

SPACE = TinySpace()
MASK = jnp.asarray(SPACE.mask)
KEY = jax.random.key(2)
LIMITS = {"latency_ms": 1.0}
UNCLIPPED = {"search__weights__clip_norm": 1e6, "search__weights__decay": 0.0}


def make(relaxation="softmax", **changes):
    """Returns a search whose budget adds nothing, so that Adam's first moment is the task's."""
    own = {
        "search__relaxation__name": relaxation, "search__steps": 10, "search__warmup_steps": 0,
        "budget__name": "fixed_weight", "budget__args": {"weight": 0.0}, "target__samples": 2,
    }  # fmt: skip
    return small_search(SPACE, **{**own, **changes})[1]


@functools.cache
def start():
    """Returns a state of small weights.

    Before a normalisation they make a step change much, so that the second order matters.
    """
    state = make().init(jax.random.key(0), LIMITS)
    params = jax.random.normal(jax.random.key(1), MASK.shape)
    return state._replace(weights=0.5 * state.weights, params=params)


def batches(size=8, space=SPACE):
    """Returns a batch for each half."""
    keys = jax.random.split(jax.random.key(7), 2)
    inputs = [jax.random.normal(key, (size, *space.input_shape)) for key in keys]
    targets = jnp.arange(size) % 3, (jnp.arange(size) * 2 + 1) % 3
    examples = jax.random.split(KEY, size)
    return {
        half: Batch(own, classes, examples)
        for half, own, classes in zip(("weight", "arch"), inputs, targets, strict=True)
    }


def weight_step(search, state=None, data=None):
    """Runs the jitted weight half of a step."""
    step = jax.jit(functools.partial(search.weight_step, axis_name=None))
    return step(start() if state is None else state, data or batches(), KEY, 1.0)


def arch_step(search, state=None, data=None, model=None):
    """Runs the jitted architecture half of a step."""
    step = jax.jit(functools.partial(search.arch_step, axis_name=None))
    state, model = start() if state is None else state, model or TinyCost()
    return step(state, data or batches(), KEY, 1.0, cost_model=model)


def arch_gradient(state):
    """Returns the gradient behind Adam's first moment after one step from zero."""
    return np.asarray(optax.tree.get(state.arch_optimizer, "mu")) / 0.5


def weight_gradient(state):
    """Returns the gradient behind SGD's momentum after one step from zero."""
    return np.asarray(optax.tree.get(state.weight_optimizer, "trace"))


def slopes_of(relaxation):
    """Returns `(weights, params, batch, key) -> loss, (gradients by weights and params)`."""
    supernet, method = make_supernet(SPACE), RELAXATIONS[relaxation]()

    def loss(weights, params, batch, key):
        gates = method.sample(key, params, MASK, 1.0)
        logged = jax.nn.log_softmax(supernet.apply(weights, batch.inputs, gates))
        return -jnp.take_along_axis(logged, batch.targets[:, None], 1).mean()

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


slopes = functools.cache(slopes_of)
