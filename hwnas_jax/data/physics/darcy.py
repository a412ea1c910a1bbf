"""Darcy flow: from where a porous medium lets water through to the pressure in it.

Legend: `N` examples, `S` points along a side of the grid.
"""

import dataclasses
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.physics.diffusion import solve_diffusion
from hwnas_jax.data.physics.random_fields import random_fields
from hwnas_jax.data.pipeline import divided
from hwnas_jax.errors import UserError

_POINTS = 2**22
"""Points of all grids that are solved at once."""


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Darcy(Source):
    """Permeabilities `float32[N, S, S, 1 or 3]` with pressures `float32[N, S, S, 1]`.

    The pressure `u` solves `-div(a grad u) = 1` on the unit square and is zero on its boundary. The
    permeability `a` is `high` where a Gaussian random field is positive, and `low` elsewhere. It is
    given at every point of the grid, boundary included, and with `coordinates` the place of the
    point beside it, as in NAS-Bench-360.

    The published set is solved on 421 points along a side, of which every fifth is kept. Here the
    grid is `refine` times as fine as what is kept, and the random field has the `modes` longest
    waves of either direction. With the other options at their defaults, the pressures are .006 away
    from those on a grid eight times finer (relative L2; .014 with refine 1, .002 with refine 4).

    References: Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations",
    ICLR 2021; Tu et al., "NAS-Bench-360", NeurIPS 2022.
    """

    name = "darcy"
    summary = "pressure of Darcy flow from the permeability, 33x33; solved here, dense regression"

    examples: Annotated[int, Ge(10), Le(20_000)] = 1100
    """how many, train and test together"""
    size: Annotated[int, Ge(8), Le(421)] = 33
    """points along a side"""
    refine: Annotated[int, Ge(1), Le(16)] = 2
    """how many times finer the grid is on which the equation is solved"""
    coordinates: bool = False
    """whether inputs have the two coordinates of every point as further channels"""
    low: Annotated[float, Gt(0)] = 3.0
    """permeability where the random field is negative"""
    high: Annotated[float, Gt(0)] = 12.0
    """permeability where it is positive"""
    modes: Annotated[int, Ge(2), Le(421)] = 64
    """waves of the random field along a side"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the test set"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw and of the split"""

    def load(self) -> Dataset:
        """Returns the data set.

        Raises:
          UserError: when `low` and `high` are so far apart that the solver does not converge.
        """
        rng = np.random.default_rng(self.seed)
        fine = (self.size - 1) * self.refine + 1
        once = max(1, min(self.examples, _POINTS // fine**2))
        inputs = np.empty((self.examples, self.size, self.size, 1), np.float32)
        targets = np.empty_like(inputs)
        for start in range(0, self.examples, once):
            # The last chunk is as large as the others, so that one program solves them all.
            kept = min(once, self.examples - start)
            field = random_fields(rng, once, fine, modes=self.modes, tau=3.0, alpha=2.0)
            medium = np.where(field >= 0, self.high, self.low).astype(np.float32)
            inputs[start : start + kept, ..., 0] = self._thinned(medium)[:kept]
            targets[start : start + kept, ..., 0] = self._thinned(self._solved(medium))[:kept]
        if self.coordinates:
            line = np.linspace(0, 1, self.size, dtype=np.float32)
            places = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
            inputs = np.concatenate(
                [inputs, np.broadcast_to(places, (self.examples, *places.shape))], axis=-1
            )
        return divided(
            inputs, targets, self.test_fraction, self.seed,
            name=self.name, output_names=("pressure",), task="dense_regression",
        )  # fmt: skip

    def _solved(self, medium: np.ndarray) -> np.ndarray:
        found = solve_diffusion(jnp.asarray(medium), jnp.ones_like(medium))
        worst = float(found.error.max())
        if not worst < 1e-3:
            raise UserError(
                f"data set darcy: with low = {self.low} and high = {self.high} the solver ends "
                f"{worst:.1e} from the solution; permeabilities that differ by a factor of up to "
                "1000 are solved"
            )
        return np.asarray(found.values)

    def _thinned(self, grids: np.ndarray) -> np.ndarray:
        return grids[:, :: self.refine, :: self.refine]
