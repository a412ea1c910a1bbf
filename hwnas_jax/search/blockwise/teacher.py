"""The teacher: a trained network whose feature maps at its stages the blocks imitate.

Legend: `B` batch, `G` blocks, `H, W` height and width, `C` channels.

The teacher may be any network of this package whose supernet hands on the features of its stages.
Its weights never change. It needs as many stages as the student has blocks, and feature maps of the
same height and width. Where the numbers of channels differ, a 1x1 projection stands before the
block, or after it, and is learned with it. Li et al. need none, because they choose the channels of
the student's blocks like the teacher's.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Space
from hwnas_jax.spaces.core.supernet import make_supernet

Features = Callable[[Any, jax.Array], tuple[jax.Array, ...]]
"""`(state, float32[B, H, W, C]) -> tuple of arrays [B, H_g, W_g, C_g]`, one for each block."""


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network as a function.

    Attributes:
      name: what messages call it.
      state: its weights and running statistics, a pytree of arrays.
      features: of the network in evaluation mode, by its state; no gradient passes.
      shapes: `(H_g, W_g, C_g)` of the feature map of each stage.
    """

    name: str
    state: Any
    features: Features
    shapes: tuple[tuple[int, ...], ...]


def teacher_of(network: nnx.Module, input_shape: tuple[int, ...], name: str) -> Teacher:
    """Returns a trained network as a teacher.

    Args:
      network: with its weights.
      input_shape: of one example, `(H, W, C)`.
      name: for messages.

    Raises:
      UserError: when the network does not hand on the features of its stages.
    """
    if not hasattr(network, "features"):
        able = [known for known in SPACES if SPACES[known].has_features]
        raise UserError(
            f"the teacher {name} does not tell the features of its stages, which the blocks "
            f"imitate; networks of these spaces do: {', '.join(able)}"
        )
    network.eval()
    graph, state = nnx.split(network)

    def features(state: Any, inputs: jax.Array) -> tuple[jax.Array, ...]:
        found = nnx.merge(graph, state).features(inputs)
        return tuple(jax.lax.stop_gradient(one.astype(jnp.float32)) for one in found)

    example = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    shapes = tuple(one.shape[1:] for one in jax.eval_shape(features, state, example))
    return Teacher(name, state, features, shapes)


def block_shapes(space: Space) -> tuple[tuple[int, ...], ...]:
    """Returns the shape `(H_g, W_g, C_g)` of what each block of a space returns.

    Raises:
      UserError: for a space whose supernet cannot be cut into blocks; names those that can.
    """
    if not space.cut_blocks:
        raise UserError(
            f"search.strategy = 'blockwise': the supernet of {space.name} cannot be cut into "
            f"blocks; those of these spaces can: {', '.join(spaces_with_blocks())}"
        )
    supernet = make_supernet(space)
    run = supernet.features
    assert run is not None
    gates = Gates(
        jnp.zeros((space.num_decisions, space.num_options)),
        jnp.zeros(space.num_decisions, jnp.int32),
    )
    weights = jax.ShapeDtypeStruct((supernet.num_weights,), jnp.float32)
    inputs = jax.ShapeDtypeStruct((1, *space.input_shape), jnp.float32)
    found = jax.eval_shape(lambda w, x: run(w, x, gates), weights, inputs)
    return tuple(one.shape[1:] for one in found)


def spaces_with_blocks() -> list[str]:
    """Returns the names of the spaces whose supernets can be cut."""
    return [name for name in SPACES if SPACES[name].cut_blocks is not Space.cut_blocks]


def check_teacher(space: Space, teacher: Teacher) -> None:
    """Refuses a teacher whose stages the blocks of a space cannot imitate.

    Raises:
      UserError: names the block and both shapes, or how many stages are wanted.
    """
    ours = block_shapes(space)
    if len(ours) != len(teacher.shapes):
        raise UserError(
            f"the teacher {teacher.name} has {len(teacher.shapes)} stages, and {space.name} has "
            f"{len(ours)} blocks: each block needs a stage of its own to imitate"
        )
    for number, (own, its) in enumerate(zip(ours, teacher.shapes, strict=True), 1):
        if own[:-1] != its[:-1]:
            size = ["x".join(map(str, shape)) for shape in (own, its)]
            raise UserError(
                f"block {number} of {space.name} returns {size[0]}, and stage {number} of the "
                f"teacher {teacher.name} {size[1]}: height and width must be the same; only the "
                "channels may differ"
            )
