"""Real data whose pixels are in another order: same values and labels, no neighbourhoods."""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.unreal.remade import PARTS, Remade


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class ShuffledPixels(Remade):
    """The inputs of another source, their positions permuted; targets stay real.

    Position `k` of an input holds what was at position `order[k]`; the channels of a position stay
    together. By default all inputs have one order, so that a network without convolutions could
    learn as much as before, and images are not shifted or mirrored at random. Targets that have a
    value for each position are permuted alike.

    References: Zhang et al., "Understanding Deep Learning Requires Rethinking Generalization", ICLR
    2017, which trains on both kinds of shuffled pixels.
    """

    name = "shuffled_pixels"
    summary = "the images of another source (option of), their pixels in another order"

    per_image: bool = False
    """give every image an order of its own, which leaves only the distribution of its values"""

    def remake(self, real: Dataset) -> Dataset:
        """Returns the data with their pixels in other places."""
        places = real.input_shape[:-1]
        made: dict[str, Any] = {}
        for part in PARTS:
            inputs, targets = getattr(real, f"{part}_inputs"), getattr(real, f"{part}_targets")
            orders = self.orders(part, len(inputs), int(np.prod(places)))
            made[f"{part}_inputs"] = permuted(inputs, places, orders)
            if targets.shape[1 : 1 + len(places)] == places:
                made[f"{part}_targets"] = permuted(targets, places, orders)
        each = "each image has an order of its own" if self.per_image else "all in the same order"
        note = f"{self.name}: the images are those of {real.name}, their pixels shuffled, {each}"
        return dataclasses.replace(
            real, name=self.name, notes=(*real.notes, note),
            movable=real.movable and self.per_image, **made,
        )  # fmt: skip

    def orders(self, part: str, count: int, positions: int) -> np.ndarray:
        """Returns the order of each input of a part, `int[N or 1, positions]`."""
        if not self.per_image:
            return np.random.default_rng(self.seed).permutation(positions)[None]
        rows = np.broadcast_to(np.arange(positions), (count, positions))
        return self.draws(part).permuted(rows, axis=1)


def permuted(values: np.ndarray, places: tuple[int, ...], orders: np.ndarray) -> np.ndarray:
    """Returns values `[N, *places, ...]` whose position `k` is what was at `orders[n, k]`."""
    flat = values.reshape(len(values), orders.shape[1], -1)
    return np.take_along_axis(flat, orders[..., None], axis=1).reshape(values.shape)
