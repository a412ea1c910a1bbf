"""Real images cut into tiles that are laid in another order: which order was it?

Legend: `T` tiles of an image, `P` permutations.
"""

import dataclasses
import functools
import itertools
import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.remade import Pretext
from hwnas_jax.errors import UserError

_LISTED = 9
"""Most tiles of which all permutations are candidates."""
_DRAWN = 50_000
"""Candidates where there are more tiles."""


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Jigsaw(Pretext):
    """The images of another source, cut into `grid` times `grid` tiles that are laid anew.

    The order is one of `permutations`, which differ from each other in as many places as can be;
    its number is the class. Place `k` of the new image, counted row by row, has what was the tile
    `order[k]`. Images are not mirrored at random, since that would change the order of their tiles.

    References: Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving
    Jigsaw Puzzles", ECCV 2016.
    """

    name = "jigsaw"
    summary = "the images of another source (option of), cut and laid anew; in which order: classes"

    grid: Annotated[int, Interval(ge=2, le=8)] = 2
    """tiles along a side"""
    permutations: Annotated[int, Ge(2)] = 24
    """how many orders there are; four tiles have 24"""

    def names(self) -> tuple[str, ...]:
        """Returns the orders, as the numbers of the tiles."""
        return tuple("-".join(map(str, order)) for order in self.orders)

    def check(self, real: Dataset) -> None:
        """Refuses images that the grid does not divide."""
        height, width, _ = real.input_shape
        if height % self.grid or width % self.grid:
            fit = [n for n in range(2, 9) if height % n == 0 and width % n == 0]
            raise UserError(
                f"{self.name}: grid = {self.grid} does not divide the {height}x{width} pixels of "
                f"{real.name} into equal tiles; "
                + (f"allowed are {', '.join(map(str, fit))}" if fit else "no grid up to 8 does")
            )

    @functools.cached_property
    def orders(self) -> np.ndarray:
        """The permutations, `int[P, T]`.

        Raises:
          UserError: when there are not so many.
        """
        tiles = self.grid**2
        if (most := math.factorial(tiles)) < self.permutations:
            raise UserError(
                f"{self.name}: permutations = {self.permutations} must be at most {most}, which is "
                f"all that {tiles} tiles have"
            )
        if self.permutations > _DRAWN:
            raise UserError(
                f"{self.name}: permutations = {self.permutations} must be at most {_DRAWN}"
            )
        return far_permutations(tiles, self.permutations, np.random.default_rng(self.seed))

    def change(self, images: np.ndarray, number: int) -> np.ndarray:
        """Returns images whose tiles are in the order `number`."""
        return laid(images, self.grid, self.orders[number])


def laid(images: np.ndarray, grid: int, order: np.ndarray) -> np.ndarray:
    """Returns images `[N, H, W, C]` whose place `k` has what was the tile `order[k]`."""
    count, height, width, channels = images.shape
    cut = (count, grid, height // grid, grid, width // grid, channels)
    tiles = images.reshape(cut).swapaxes(2, 3)
    tiles = tiles.reshape(count, grid * grid, *tiles.shape[3:])[:, order]
    rows = tiles.reshape(count, grid, grid, *tiles.shape[2:]).swapaxes(2, 3)
    return rows.reshape(images.shape)


def far_permutations(tiles: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns different permutations that differ from each other in many places, `int[P, T]`.

    The first is drawn. Every further one is that whose distance to the nearest of those chosen is
    largest, and of equals that whose sum of distances is; the distance of two permutations is the
    number of places in which they differ. Noroozi and Favaro choose by the sum alone, which may
    choose some that are close to each other. The candidates are all permutations of up to nine
    tiles, and 50,000 that are drawn of more.

    Args:
      tiles: `T`.
      count: `P`, at most as many as there are candidates.
      rng: of the draws.
    """
    if tiles <= _LISTED:
        candidates = _all_permutations(tiles)
    else:
        rows = np.broadcast_to(np.arange(tiles, dtype=np.int8), (_DRAWN, tiles))
        candidates = np.unique(rng.permuted(rows, axis=1), axis=0)
    if count == len(candidates):
        return rng.permutation(candidates).astype(int)
    chosen = [int(rng.integers(len(candidates)))]
    nearest = np.full(len(candidates), tiles, np.int64)
    total = np.zeros(len(candidates), np.int64)
    while len(chosen) < count:
        distance = (candidates != candidates[chosen[-1]]).sum(axis=1)
        nearest, total = np.minimum(nearest, distance), total + distance
        # The sum is below T * P, so that it decides among equals alone; those chosen are at zero.
        chosen.append(int(np.argmax(nearest * (tiles * count + 1) + total * (nearest > 0))))
    return candidates[chosen].astype(int)


@functools.cache
def _all_permutations(tiles: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(tiles))), np.int8)
