"""How well every candidate of a block imitates the teacher.

Legend: `B` examples of a batch, `R` batches, `N` candidates of a block, `D` decisions.

The candidates of a block are a tree. Each of its parts chooses its options, and candidates that
begin alike share what their first parts compute. A block of four layers with six options each takes
6 + 36 + 216 + 1296 layers in place of 4 x 1296. The tree is walked in depth, so that only one
feature map for each part is kept. Every candidate is normalised by the statistics of its own batch,
so that sharing changes nothing.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.relax.base import Gates
from hwnas_jax.search.blockwise.imitation import Student, project
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import Supernet

MOST = 50_000
"""Candidates that a block may have."""

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def part_choices(space: Space, number: int) -> list[np.ndarray]:
    """Returns what each part of a block can choose, `int32[n, d]` for its `d` decisions.

    Where a part reads all decisions of the space, choices that build the same network are one.

    Raises:
      UserError: when the block has more candidates than can be rated.
    """
    choices, size = [], 1
    for decisions in space.cut_blocks[number].parts:
        options = [np.flatnonzero(space.mask[decision]) for decision in decisions]
        size *= int(np.prod([len(own) for own in options], dtype=np.float64))
        if size > MOST:
            raise UserError(
                f"block {number + 1} of {space.name} has more than {MOST:,} candidates, which are "
                "too many to rate one by one: lower the depth, or switch options off"
            )
        every = list(itertools.product(*options))
        rows = np.array(every, np.int32).reshape(len(every), len(decisions))
        if decisions == tuple(range(space.num_decisions)):
            rows = np.unique(space.canonical(rows[space.feasible(rows)]), axis=0)
        choices.append(rows)
    return choices


def candidates_of(space: Space, number: int) -> np.ndarray:
    """Returns all candidates of a block, `int32[N, d]` for the `d` decisions in rising order."""
    block, choices = space.cut_blocks[number], part_choices(space, number)
    rows = [np.concatenate(some) for some in itertools.product(*choices)]
    order = np.argsort([d for part in block.parts for d in part], kind="stable")
    return np.array(rows, np.int32)[:, order]


def make_rating(
    space: Space, supernet: Supernet, features: Any, loss: Loss, number: int,
    choices: list[np.ndarray] | None = None,
) -> Callable[[Student, Any, jax.Array], jax.Array]:  # fmt: skip
    """Returns `(student, teacher's state, float32[R, B, ...]) -> float32[N]`, the mean losses.

    Args:
      space: what is searched.
      supernet: its supernet.
      features: of the teacher.
      loss: how far a block is from the teacher.
      number: of the block.
      choices: what each part chooses from; `part_choices` when left out.
    """
    block = space.cut_blocks[number]
    choices = part_choices(space, number) if choices is None else choices
    shape = (space.num_decisions, space.num_options)
    assert supernet.part is not None
    run = supernet.part

    def gates_of(decisions: tuple[int, ...], row: jax.Array) -> Gates:
        index = jnp.zeros(shape[0], jnp.int32)
        if decisions:
            index = index.at[np.array(decisions)].set(row)
        return Gates(jax.nn.one_hot(index, shape[1]), index)

    def walk(student: Student, x: jax.Array, place: int, wanted: jax.Array) -> jax.Array:
        """Returns the losses of all candidates that begin as `x` was made, in their order."""
        if place == len(block.parts):
            return loss(project(x.astype(jnp.float32), student.after[number]), wanted)[None]

        def one(row: jax.Array) -> jax.Array:
            gates = gates_of(block.parts[place], row)
            made = run(student.weights, number, place, x, gates)
            return walk(student, made, place + 1, wanted)

        rows = choices[place]
        if len(rows) == 1:
            return one(jnp.asarray(rows[0]))
        return jax.lax.map(one, jnp.asarray(rows)).reshape(-1)

    def rate(student: Student, state: Any, batches: jax.Array) -> jax.Array:
        def of_batch(inputs: jax.Array) -> jax.Array:
            taught = features(state, inputs)
            given = inputs
            if number:
                given = project(taught[number - 1], student.before[number])
            return walk(student, given, 0, taught[number])

        return jax.lax.map(of_batch, batches).mean(axis=0)

    return jax.jit(rate)
