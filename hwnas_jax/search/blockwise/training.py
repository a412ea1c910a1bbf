"""Trains all blocks of a supernet at once, each by a path drawn at random in every step.

Legend: `G` blocks, `B` batch, `P` weights.

No block reads what another returns: each is given the teacher's feature map. So they may train on
devices of their own (`Members` of `hwnas_jax.parallel`). Blocks that share a device run one after
another in one program and share the teacher's pass. A block's state is the same wherever it runs.

All blocks follow Adam, whose rate falls to zero along a cosine. Li et al. let it fall by a tenth
with every epoch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hwnas_jax.data.batches import Batches
from hwnas_jax.search.blockwise.imitation import (
    Student,
    block_output,
    make_student,
    single_path,
)
from hwnas_jax.search.blockwise.rating import Loss
from hwnas_jax.search.blockwise.teacher import Teacher
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import Supernet

PART = "weight"
"""The half of the training examples that the blocks learn from."""


class BlocksState(NamedTuple):
    """What is carried and checkpointed; every leaf has a leading axis of `G`.

    Attributes:
      step: `int32[G]`, steps done, the same for all.
      key: `key[G]`, of the run, likewise.
      number: `int32[G]`, which block each is.
      student: each block's own copy, in which only its own part is learned.
      optimizer: Adam's state.
    """

    step: jax.Array
    key: jax.Array
    number: jax.Array
    student: Student
    optimizer: Any


class BlocksInfo(NamedTuple):
    """What is reported of a step; every leaf is `float32[G, length]`."""

    loss: jax.Array


class _Shared(NamedTuple):
    step: jax.Array
    key: jax.Array
    blocks: BlocksState


class Training(NamedTuple):
    """The training of the blocks as functions.

    Attributes:
      init: `key[] -> BlocksState`, of all blocks.
      dispatch: `(state, data) -> (state, info)` of some blocks; the data are those of the batches,
        and `teacher`, the teacher's state.
    """

    init: Callable[[jax.Array], BlocksState]
    dispatch: Callable[[BlocksState, Any], tuple[BlocksState, BlocksInfo]]


def make_training(
    space: Space, supernet: Supernet, teacher: Teacher, loss: Loss, batches: Batches,
    *, learning_rate: float, steps: int,
) -> Training:  # fmt: skip
    """Returns the training of the blocks of a supernet.

    Args:
      space: what is searched.
      supernet: its supernet.
      teacher: what is imitated.
      loss: how far a block is from the teacher.
      batches: with a part "weight".
      learning_rate: at the first step.
      steps: in all.
    """
    count, mask, features = len(space.cut_blocks), jnp.asarray(space.mask), teacher.features
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def init(key: jax.Array) -> BlocksState:
        student = make_student(space, supernet, teacher.shapes, jax.random.fold_in(key, steps))
        one = student, adam.init(student)
        student, optimizer = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one
        )
        return BlocksState(
            jnp.zeros(count, jnp.int32), jnp.broadcast_to(key, (count,)),
            jnp.arange(count, dtype=jnp.int32), student, optimizer,
        )  # fmt: skip

    def imitates(number: int) -> Callable[..., tuple[jax.Array, Student]]:
        def value(student, inputs, taught, gates):
            found = block_output(supernet, student, number, inputs, taught, gates)
            return loss(found, taught[number])

        return jax.value_and_grad(value)

    branches = [imitates(number) for number in range(count)]

    def step(shared: _Shared, drawn: Any, data: Any) -> tuple[_Shared, jax.Array]:
        inputs = drawn[PART].inputs
        taught = features(data["teacher"], inputs)
        key = jax.random.fold_in(shared.key, shared.step)

        def advance(block: BlocksState) -> tuple[BlocksState, jax.Array]:
            gates = single_path(jax.random.fold_in(key, block.number), mask)
            value, gradient = jax.lax.switch(
                block.number, branches, block.student, inputs, taught, gates
            )
            change, optimizer = adam.update(gradient, block.optimizer)
            student = optax.apply_updates(block.student, change)
            done = block._replace(step=block.step + 1, student=student, optimizer=optimizer)
            return done, value

        blocks, value = jax.lax.map(advance, shared.blocks)
        return _Shared(shared.step + 1, shared.key, blocks), value

    run = batches.scan(step, None)

    def dispatch(state: BlocksState, data: Any) -> tuple[BlocksState, BlocksInfo]:
        shared, value = run(_Shared(state.step[0], state.key[0], state), data)
        return shared.blocks, BlocksInfo(value.T)

    return Training(init, dispatch)
