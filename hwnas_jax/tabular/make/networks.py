"""Which networks of a space a table has.

Legend: `N` networks, `D` decisions.
"""

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Space

_LISTED = 2**20
_DRAWS = 50


def networks_of(space: Space, sample: int | None, seed: int) -> np.ndarray:
    """Returns different networks of a space, `int32[N, D]`, ordered by their options.

    Architectures that build one network count once, by their canonical form. Where an option of
    that form is switched off, the first architecture that builds the network stands for it.

    Args:
      space: the search space.
      sample: how many, drawn at random and each network as likely as any other, if the space can
        be listed; None takes all.
      seed: of the draw.

    Raises:
      UserError: when there are fewer, or all are asked for and they are too many to list.
    """
    if can_be_listed(space):
        found = _different(space, space.enumerate())
        if sample is None:
            return found
        if sample > len(found):
            raise UserError(
                f"a sample of {sample:,} networks was asked for; {space.name} has {len(found):,}"
            )
        rows = np.random.default_rng(seed).permutation(len(found))[:sample]
        return found[np.sort(rows)]
    if sample is None:
        raise UserError(
            f"{space.name} has {space.size:,} architectures, too many to train: name a sample"
        )
    rng = np.random.default_rng(seed)
    drawn = _different(space, space.random(rng, sample))
    for _ in range(_DRAWS):
        if len(drawn) >= sample:
            break
        drawn = _different(space, np.concatenate([drawn, space.random(rng, sample)]))
    if len(drawn) < sample:
        raise UserError(
            f"a sample of {sample:,} networks was asked for; {_DRAWS * sample:,} draws from "
            f"{space.name} held {len(drawn):,} different ones"
        )
    rows = np.sort(rng.permutation(len(drawn))[:sample])
    return drawn[rows]


def can_be_listed(space: Choices) -> bool:
    """Returns whether a space has few enough architectures to go through all of them."""
    return np.prod(space.mask.sum(axis=1), dtype=float) <= _LISTED


def _different(space: Space, architectures: np.ndarray) -> np.ndarray:
    forms, first = np.unique(space.canonical(architectures), axis=0, return_index=True)
    inside = space.mask[np.arange(space.num_decisions), forms].all(axis=1)
    return np.where(inside[:, None], forms, architectures[first]).astype(np.int32)
