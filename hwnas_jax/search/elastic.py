"""Training one supernet for networks of all sizes, where small ones are parts of large ones.

Legend: `B` batch, `D` decisions, `K` options of the widest decision, `S` stages, `n` networks of a
step, `P` weights of the supernet.

The largest network is trained first. Then smaller options are opened: those of one kind after
another (kernels, depths, widths), and of a kind one size after another, the largest first. A step
trains the largest network that is open, the smallest, and random ones between. The largest network
learns from the targets, and teaches the others.

References: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient
Deployment", ICLR 2020 (progressive shrinking); Yu and Huang, "Universally Slimmable Networks and
Improved Training Techniques", ICCV 2019 (sandwich rule, in-place distillation); Yu et al., "BigNAS:
Scaling Up Neural Architecture Search with Big Single-Stage Models", ECCV 2020.
"""

from fnmatch import fnmatchcase
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import SearchConfig
from hwnas_jax.data.batches import Batch
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.strategies.moves import random_architectures
from hwnas_jax.spaces.base import SPACES, Space
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task


def stages_of(space: Space) -> np.ndarray:
    """Returns the options that are open in each stage, `bool[S, D, K]`, all of them in the last.

    In the first stage the decisions that shrink have their largest option alone. A stage opens the
    next smaller option of every decision of a kind that has one.

    Raises:
      UserError: for a space whose options are not nested; names those that are.
    """
    names, mask = [decision.name for decision in space.decisions], space.mask
    if not space.nested:
        nested = [name for name in SPACES if SPACES[name].nested]
        raise UserError(
            f"search.elastic.networks trains small networks as parts of large ones, and the "
            f"options of the space {space.name} are not parts of one another. Allowed are "
            f"{', '.join(nested)}"
        )
    # How many options of a decision are at least as large as each of them.
    at_least = mask[:, ::-1].cumsum(axis=1)[:, ::-1]
    kinds = [
        [row for row, name in enumerate(names) if any(fnmatchcase(name, one) for one in patterns)]
        for patterns in space.nested
    ]
    opened = mask.copy()
    for rows in kinds:
        opened[rows] &= at_least[rows] == 1
    stages = [opened.copy()]
    for rows in kinds:
        for count in range(2, int(mask[rows].sum(axis=1).max()) + 1):
            opened[rows] = mask[rows] & (at_least[rows] <= count)
            stages.append(opened.copy())
    return np.stack(stages)


def open_options(
    stages: np.ndarray, step: jax.Array, warmup_steps: int, shrinking: float
) -> jax.Array:
    """Returns the options that are open at a step, `bool[D, K]`.

    All stages but the last take equally long, the last begins when they are over.

    Args:
      stages: `bool[S, D, K]`.
      step: `int32[]`.
      warmup_steps: of the search.
      shrinking: share of them that the stages before the last take.
    """
    last = len(stages) - 1
    span = round(shrinking * warmup_steps)
    number = jnp.minimum(step * last // span, last) if span else last
    return jnp.asarray(stages)[number]


def sandwich(key: jax.Array, opened: jax.Array, count: int) -> jax.Array:
    """Returns the networks of a step, `int32[n, D]`: the largest, the smallest, then random ones.

    Args:
      key: of the random ones.
      opened: `bool[D, K]`, the options that are open; they rise in size.
      count: `n`, at least two.
    """
    chex.assert_rank(opened, 2)
    largest = opened.shape[1] - 1 - jnp.argmax(opened[:, ::-1], axis=1)
    ends = jnp.stack([largest, jnp.argmax(opened, axis=1)]).astype(jnp.int32)
    return jnp.concatenate([ends, random_architectures(key, opened, count - 2)])


def mean_over_sizes(
    supernet: Supernet,
    task: Task,
    stages: np.ndarray,
    settings: SearchConfig,
    weights: jax.Array,
    batch: Batch,
    *,
    step: jax.Array,
    key: jax.Array,
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Returns loss, metric and gradient of the weights, each the mean over the networks of a step.

    The largest network learns from the targets. Its outputs are constants for the others. While it
    is the only one that is open, it runs once.

    Args:
      supernet: runs the networks.
      task: what is learned.
      stages: `bool[S, D, K]`.
      settings: of the search.
      weights: `float32[P]`.
      batch: every network runs on all of it.
      step: `int32[]`.
      key: of the networks; replicas that are given the same train the same ones.

    Returns:
      `((float32[], float32[]), float32[P])`.
    """
    elastic, num_options = settings.elastic, stages.shape[2]
    assert elastic.networks is not None
    opened = open_options(stages, step, settings.warmup_steps, elastic.shrinking)
    paths = sandwich(key, opened, elastic.networks)
    count = jnp.where((paths == paths[0]).all(), 1, len(paths))

    def mean(inputs: jax.Array, targets: jax.Array) -> Any:
        def outputs_of(weights, path):
            gates = one_hot_gates(path, num_options, sampled=True)
            return supernet.apply(weights, inputs, gates)

        def loss_of(weights, path, taught, share):
            outputs = outputs_of(weights, path)
            loss, metric = task.loss(outputs, targets), task.value(outputs, targets)
            if elastic.distil:
                loss = (1.0 - share) * loss + share * task.distillation(outputs, taught, 1.0)
            return loss, (metric, outputs)

        def add(number, carry):
            total, taught = carry
            share = jnp.where(number == 0, 0.0, elastic.distil)
            (loss, (metric, outputs)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
                weights, paths[number], taught, share
            )
            total = jax.tree.map(jnp.add, total, ((loss, metric), gradient))
            return total, jnp.where(number == 0, outputs, taught)

        zero, outputs = jnp.zeros(()), jax.eval_shape(outputs_of, weights, paths[0])
        begun = ((zero, zero), jnp.zeros_like(weights)), jnp.zeros(outputs.shape, outputs.dtype)
        # One loop, in which the teacher comes first, compiles the supernet once.
        total, _ = jax.lax.fori_loop(0, count, add, begun)
        return jax.tree.map(lambda leaf: leaf / count, total)

    return mean_over_micro_batches(mean, settings.accumulate, batch.inputs, batch.targets)
