"""How the supernet judges one path: the task's metrics on batches of the held-out half.

Legend: `R` batches, `B` examples of a batch, `P` weights of the supernet.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.pipeline import normalise
from hwnas_jax.errors import UserError
from hwnas_jax.relax.base import Gates
from hwnas_jax.search.evaluators.base import Bench, Data


def judging_rows(bench: Bench, batches: int | None) -> np.ndarray:
    """Returns which examples are judged by, `int32[R, B]`: the same for every architecture.

    They are dealt at random, since the statistics of a batch that holds one class only would mean
    little. Examples that fill no batch are left out.

    Args:
      bench: its `data`, `batch_size` and `seed` are read.
      batches: how many at most; None takes all that the half fills.

    Raises:
      UserError: when the half has less than two examples.
    """
    assert bench.data is not None
    return deal(np.asarray(bench.data.arch_half), bench.batch_size, bench.seed, batches)


def deal(half: np.ndarray, batch_size: int, seed: int, batches: int | None) -> np.ndarray:
    """Returns the examples of a half dealt into batches at random, `int32[R, B]`.

    Args:
      half: `int32[N]`, numbers of the examples.
      batch_size: `B`; all of a half that is smaller make one batch.
      seed: of the order.
      batches: how many at most; None takes all that the half fills.

    Raises:
      UserError: when the half has less than two examples.
    """
    if len(half) < 2:
        raise UserError(f"architectures are judged by at least 2 examples, there are {len(half)}")
    size = min(batch_size, len(half))
    count = len(half) // size
    if batches is not None:
        count = min(count, batches)
    order = np.random.default_rng(seed).permutation(half)
    return order[: count * size].reshape(count, size).astype(np.int32)


def judge_path(
    bench: Bench, weights: jax.Array, data: Data, rows: jax.Array, gates: Gates
) -> dict[str, jax.Array]:
    """Returns the task's metrics and its mean loss, `float32[]` each.

    Every batch is normalised by its own statistics, as in the search: running averages would be of
    other paths.

    Args:
      bench: its `task` and `supernet` are read.
      weights: `float32[P]`.
      data: the examples.
      rows: `int32[R, B]`, numbers of examples.
      gates: of one architecture.
    """
    task, supernet = bench.task, bench.supernet
    assert supernet is not None

    def sums_of(rows):
        inputs = normalise(jnp.asarray(data.inputs)[rows], data.mean, data.std)
        outputs = supernet.apply(weights, inputs, gates)
        targets = jnp.asarray(data.targets)[rows]
        loss = task.loss(outputs, targets)
        return {**task.sums(outputs, targets), "loss": (loss, jnp.ones(()))}

    sums = jax.lax.map(sums_of, rows)
    return task.metrics(jax.tree.map(lambda leaf: leaf.sum(axis=0), sums))
