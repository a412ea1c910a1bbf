"""Costs that follow from the architecture alone: multiply-accumulates and parameters.

Legend: `D` decisions, `K` options of the widest decision.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.observations import Observations
from hwnas_jax.cost.store import check_array, write_model
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.terms import sum_places

_FIELDS = ["macs_table", "macs_constant", "params_table", "params_constant", "line_ms"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=_FIELDS, meta_fields=[])
@dataclasses.dataclass(frozen=True)
class AnalyticModel:
    """Counts, linear in the gates, and a latency on a straight line over multiply-accumulates.

    Exact on architectures up to the 24 bits of float32.

    Attributes:
      macs_table: `float32[D, K]`, multiply-accumulates per image that each option adds.
      macs_constant: `float32[]`, those of the parts that every network has.
      params_table: `float32[D, K]`, trainable parameters likewise.
      params_constant: `float32[]`.
      line_ms: `float32[2]`, milliseconds at zero and per multiply-accumulate; None without
        measured networks.
    """

    macs_table: jax.Array
    macs_constant: jax.Array
    params_table: jax.Array
    params_constant: jax.Array
    line_ms: jax.Array | None = None

    name = "analytic"

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `predict` returns: `latency_ms` only where networks were measured."""
        return ("macs", "params") + (() if self.line_ms is None else ("latency_ms",))

    @classmethod
    def count(cls, space: Space) -> "AnalyticModel":
        """Counts a space's operations.

        What a paper calls FLOPs of NAS-Bench-201 is `macs`.
        """
        operations = space.operations()[0].items()
        macs = sum_places(space, {name: operation.macs for name, operation in operations})
        params = sum_places(space, {name: operation.params for name, operation in operations})
        return cls(*(jnp.asarray(array, jnp.float32) for array in (*macs, *params)))

    @classmethod
    def fit(
        cls,
        space: Space,
        observations: Observations,
        config: CostConfig | None = None,
        *,
        seed: int = 0,
    ) -> "AnalyticModel":
        """Counts, and fits latency = a + b * macs to the measured networks by least squares.

        Raises:
          UserError: with fewer than two networks.
        """
        del config, seed
        counted = cls.count(space)
        architectures = observations.architectures
        observations.require(2, "a line over multiply-accumulates")
        table = np.asarray(counted.macs_table, float)
        macs = table[np.arange(space.num_decisions), architectures].sum(axis=1)
        macs += float(counted.macs_constant)
        # Scaled to order one, or the design matrix is too ill-conditioned to solve.
        scale = max(macs.max(), 1.0)
        design = np.stack([np.ones(len(macs)), macs / scale], axis=1)
        line = np.linalg.lstsq(design, observations.values["latency_ms"], rcond=None)[0] / [
            1.0,
            scale,
        ]
        return dataclasses.replace(counted, line_ms=jnp.asarray(line, jnp.float32))

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{metric: float32[]}` of gate weights `float32[D, K]`."""
        chex.assert_equal_shape([weight, self.macs_table])
        macs = self.macs_constant + (weight * self.macs_table).sum()
        costs = {
            "macs": macs,
            "params": self.params_constant + (weight * self.params_table).sum(),
        }
        if self.line_ms is not None:
            costs["latency_ms"] = self.line_ms[0] + self.line_ms[1] * macs
        return costs

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns zeros: counts are certain, and the line does not know its own error."""
        chex.assert_equal_shape([weight, self.macs_table])
        return {metric: jnp.zeros((), jnp.float32) for metric in self.metrics}

    def save(self, path: Path, space: Space) -> None:
        """Writes the model to an `.npz` file."""
        arrays = {name: getattr(self, name) for name in _FIELDS}
        if self.line_ms is None:
            del arrays["line_ms"]
        write_model(path, self.name, space, {}, arrays)

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "AnalyticModel":
        """Builds the model from what `read_model` returned."""
        del header
        wide = (space.num_decisions, space.num_options)
        shapes = dict(zip(_FIELDS, [wide, (), wide, (), (2,)], strict=True))
        if "line_ms" not in arrays:
            del shapes["line_ms"]
        return cls(**{name: jnp.asarray(check_array(arrays, name, shape))
                      for name, shape in shapes.items()})  # fmt: skip
