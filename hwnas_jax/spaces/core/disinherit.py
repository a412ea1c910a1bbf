"""The inverse of `Space.inherit`: a supernet's path takes the weights of a trained network.

`inherit` is asked where each weight of a network comes from: it is run on a supernet whose weights
are their own numbers. This holds in every space, a user's own included. A weight of the network
that is no copy stays behind. Normalisation in a supernet has no parameters, and in Once-for-All a
learned matrix stands between a kernel and the larger one that contains it.

Legend: `D` decisions, `P` weights of the supernet, `W` weights of the network.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.nn.initialisation import abstract, flat_form
from hwnas_jax.spaces.base import Space

_BASE = 4096
"""Numbers are told as two digits to this base, since float32 holds whole numbers to 2^24 only."""


def disinherit(
    space: Space, architecture: np.ndarray, network: nnx.Module, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of a supernet of which `inherit` makes those of a network.

    Args:
      space: of both.
      architecture: the path, `int32[D]`.
      network: built for it.
      weights: of the supernet, `float32[P]`; those off the path stay as they are.

    Returns:
      `float32[P]`, and `bool[P]`: which were set.

    Raises:
      UserError: when the space refuses to inherit.
    """
    graph, shapes = nnx.split(abstract(space.supernet))
    unravel = flat_form(shapes)[1]
    form, own, *rest = nnx.split(network, nnx.Param, ...)

    def inherited(given: np.ndarray) -> np.ndarray:
        """Returns the weights `float32[W]` of a network; NaN where it inherits nothing."""
        nothing = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), own)
        target = nnx.merge(form, nothing, *jax.tree.map(jnp.array, rest))
        supernet = nnx.merge(graph, unravel(jnp.asarray(given, jnp.float32)))
        space.inherit(target, architecture, supernet)
        return np.asarray(ravel_pytree(nnx.state(target, nnx.Param))[0])

    numbers = np.arange(len(weights))
    tops, rests = inherited(numbers // _BASE), inherited(numbers % _BASE)
    with np.errstate(invalid="ignore"):
        origin = np.nan_to_num(tops.astype(np.float64) * _BASE + rests, nan=-1.0)
    proof = np.random.default_rng(0).normal(size=len(weights)).astype(np.float32)
    whole = (origin == np.round(origin)) & (origin >= 0) & (origin < len(weights))
    origin = np.where(whole, origin, 0).astype(np.int64)
    copied = whole & (inherited(proof) == proof[origin])
    new, there = np.array(weights, np.float32), np.zeros(len(weights), bool)
    new[origin[copied]] = np.asarray(ravel_pytree(own)[0])[copied]
    there[origin[copied]] = True
    return new, there
