"""What a block learns: the teacher's next feature map from the one before.

Legend: `B` batch, `C_t` channels of the teacher, `C_s` channels of the student, `P` weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.relax.base import Gates
from hwnas_jax.search.blockwise.teacher import block_shapes
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import Supernet

_EPSILON = 1e-9


def relative_l1(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """Returns mean|y - t| / std(t), `float32[]`: it compares across blocks of different scales."""
    return jnp.abs(found - wanted).mean() / (wanted.std() + _EPSILON)


def squared(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """Returns mean (y - t)^2 / var(t), `float32[]`, the squared error on the teacher's scale."""
    return jnp.square(found - wanted).mean() / (wanted.var() + _EPSILON)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "relative_l1": relative_l1,
    "mse": squared,
}
"""How far a block is from the teacher, by the name of the option."""


class Student(NamedTuple):
    """What is learned, for all blocks; a block reads its own part alone.

    Attributes:
      weights: `float32[P]`, of the supernet.
      before: for each block `float32[1, 1, C_t, C_s]`, the projection of what it is given; None
        where the numbers of channels agree.
      after: for each block `float32[1, 1, C_s, C_t]`, the projection of what it returns, likewise.
    """

    weights: jax.Array
    before: tuple[jax.Array | None, ...]
    after: tuple[jax.Array | None, ...]


def make_student(
    space: Space, supernet: Supernet, taught: tuple[tuple[int, ...], ...], key: jax.Array
) -> Student:
    """Returns the initial weights, and projections where they are needed.

    Args:
      space: what is searched.
      supernet: its supernet.
      taught: the shapes of the teacher's feature maps.
      key: random key.
    """
    own = [shape[-1] for shape in block_shapes(space)]
    theirs = [shape[-1] for shape in taught]
    keys = jax.random.split(key, 2 * len(own) + 1)

    def projection(key: jax.Array, given: int, wanted: int) -> jax.Array | None:
        if given == wanted:
            return None
        return jax.random.normal(key, (1, 1, given, wanted)) / jnp.sqrt(float(given))

    before = [
        None,
        *(projection(keys[2 * k + 2], theirs[k], own[k]) for k in range(len(own) - 1)),
    ]
    after = [projection(keys[2 * k + 1], own[k], theirs[k]) for k in range(len(own))]
    return Student(supernet.init(keys[-1]), tuple(before), tuple(after))


def project(x: jax.Array, kernel: jax.Array | None) -> jax.Array:
    """Returns `[B, H, W, C]` with other channels; unchanged without a kernel."""
    return x if kernel is None else conv2d(x, kernel.astype(x.dtype))


def block_output(
    supernet: Supernet, student: Student, number: int, inputs: jax.Array,
    taught: tuple[jax.Array, ...], gates: Gates,
) -> jax.Array:  # fmt: skip
    """Returns what a block makes of the teacher's feature map before it, on the teacher's channels.

    Args:
      supernet: of the space.
      student: what was learned.
      number: of the block.
      inputs: the examples, which the first block is given.
      taught: the teacher's feature maps.
      gates: which candidate.
    """
    assert supernet.block is not None
    given = inputs if number == 0 else project(taught[number - 1], student.before[number])
    found = supernet.block(student.weights, number, given, gates)
    return project(found.astype(jnp.float32), student.after[number])


def single_path(key: jax.Array, mask: Any) -> Gates:
    """Returns the gates of one architecture whose options are drawn evenly.

    Args:
      key: random key.
      mask: `bool[D, K]`, true where an option exists.
    """
    index = jax.random.categorical(key, jnp.where(jnp.asarray(mask), 0.0, -1e9))
    index = index.astype(jnp.int32)
    return Gates(jax.nn.one_hot(index, mask.shape[1]), index)
