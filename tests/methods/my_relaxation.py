"""A relaxation of one's own: paths drawn by the softmax, now and then at random.

hwnas search --search.relaxation.name my_relaxation.py:Exploring
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt

from hwnas_jax.relax import Gates, Relaxation, softmax_probabilities, straight_through


@dataclasses.dataclass(frozen=True)
class Exploring(Relaxation):
    """Draws every option with at least its share of `explore`, so that none starves.

    Only the drawn option runs. The gradient is that of the probabilities it was drawn with.
    """

    name = "exploring"
    summary = "one path drawn, a share of the time uniformly"
    draws_paths = True

    explore: Annotated[float, Ge(0), Lt(1)] = 0.2
    """share of the draws that are uniform"""

    def sample(self, key, params, mask, temperature):
        share = self.probabilities(params, mask)
        index = jax.random.categorical(key, jnp.log(share), axis=-1).astype(jnp.int32)
        return Gates(straight_through(share, index), index)

    def probabilities(self, params, mask):
        even = mask / mask.sum(-1, keepdims=True)
        return (1 - self.explore) * softmax_probabilities(params, mask) + self.explore * even
