"""The supernet of a space as functions: everything that needs a forward pass starts here.

Legend: `B` batch, `D` decisions, `K` options of the widest decision, `P` weights of the supernet,
`O` outputs of the network.

All weights are one vector, so that gradients, optimiser states and checkpoints have few leaves and
an average over replicas is one collective. The functions are pure; the search, the evaluators and
the derivation share them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.nn.initialisation import abstract, flat_form, weight_rngs
from hwnas_jax.nn.precision import cast
from hwnas_jax.nn.weight_norms import norms_by_layer
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import Space


@dataclasses.dataclass(frozen=True, eq=False)
class Supernet:
    """A space's supernet as pure functions of one weight vector.

    Attributes:
      num_weights: `P`.
      init: `key[] -> float32[P]`, the initial weights; compiled.
      apply: `(weights, inputs, gates) -> float32[B, O]`; `weights` are `float32[P]`, `inputs`
        `float32[B, *input_shape]`.
      features: `(weights, inputs, gates) -> tuple of arrays [B, ...]`, what each block of the
        network hands on, in the type that the network computes in; None where the space does not
        declare `has_features`.
      block: `(weights, number, inputs, gates) -> array [B, ...]`, what one block of the network
        makes of the output of the block before it; None where the space has no `cut_blocks`.
      part: `(weights, number, place, inputs, gates) -> array [B, ...]`, likewise for one part of a
        block.
      scored: whether the space scores its options by their weights (Single-Path).
      scores: `float32[P] -> float32[D, K]`, those scores; returns None when not `scored`.
      unravel: `float32[P] -> nnx.State` of the supernet's parameters.
      norms: `float32[P] -> float32[T]`, the norm of each of the `T` arrays of weights, or of what
        stands in their places, such as a gradient.
    """

    num_weights: int
    init: Callable[[jax.Array], jax.Array]
    apply: Callable[[jax.Array, jax.Array, Gates], jax.Array]
    features: Callable[[jax.Array, jax.Array, Gates], tuple[jax.Array, ...]] | None
    block: Callable[[jax.Array, int, jax.Array, Gates], jax.Array] | None
    part: Callable[[jax.Array, int, int, jax.Array, Gates], jax.Array] | None
    scored: bool
    scores: Callable[[jax.Array], jax.Array | None]
    unravel: Callable[[jax.Array], Any]
    norms: Callable[[jax.Array], jax.Array]


def make_supernet(
    space: Space,
    *,
    sync_axis: str | None = None,
    dtype: Any = jnp.float32,
    rematerialise: bool = False,
) -> Supernet:
    """Returns the supernet of `space`; nothing is computed yet.

    Args:
      space: what is searched.
      sync_axis: replica axis over which batch statistics are averaged; None leaves every replica
        its own.
      dtype: the type that activations and products are computed in; weights, outputs and scores
        stay float32.
      rematerialise: keep less for the backward pass, and compute it again there.
    """
    module = abstract(
        lambda rngs: space.supernet(rngs, axis_name=sync_axis, rematerialise=rematerialise)
    )
    graph, shapes = nnx.split(module)
    flat, unravel = flat_form(shapes)
    norms = norms_by_layer(module)

    @jax.jit
    def init(key: jax.Array) -> jax.Array:
        return ravel_pytree(nnx.state(space.supernet(weight_rngs(key)), nnx.Param))[0]

    def merged(weights: jax.Array) -> Any:
        chex.assert_shape(weights, flat.shape)
        return nnx.merge(graph, cast(unravel(weights), dtype))

    def apply(weights: jax.Array, inputs: jax.Array, gates: Gates) -> jax.Array:
        outputs = merged(weights)(inputs.astype(dtype), cast(gates, dtype))
        return outputs.astype(jnp.float32)

    def features(weights: jax.Array, inputs: jax.Array, gates: Gates) -> tuple[jax.Array, ...]:
        return tuple(merged(weights).features(inputs.astype(dtype), cast(gates, dtype)))

    def block(weights: jax.Array, number: int, inputs: jax.Array, gates: Gates) -> jax.Array:
        return merged(weights).block(number, inputs.astype(dtype), cast(gates, dtype))

    def part(weights: jax.Array, number: int, place: int, inputs: jax.Array, gates: Gates):
        return merged(weights).part(number, place, inputs.astype(dtype), cast(gates, dtype))

    def scores(weights: jax.Array) -> jax.Array | None:
        return space.scores(nnx.merge(graph, unravel(weights)))

    return Supernet(
        num_weights=flat.shape[0],
        init=init,
        apply=apply,
        features=features if space.has_features else None,
        block=block if space.cut_blocks else None,
        part=part if space.cut_blocks else None,
        scored=jax.eval_shape(scores, flat) is not None,
        scores=scores,
        unravel=unravel,
        norms=lambda weights: norms(unravel(weights)),
    )
