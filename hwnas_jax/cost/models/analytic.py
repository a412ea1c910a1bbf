"""Costs that follow from the architecture alone: operations, parameters, bits, memory.

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
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.bits import bit_terms
from hwnas_jax.cost.models.model_file import check_array, write_model
from hwnas_jax.cost.simulate.memory import peak_table
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

_OPTIONAL = ("line_ms", "peak_table_mib")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["counts", *_OPTIONAL], meta_fields=["shape"]
)
@dataclasses.dataclass(frozen=True)
class AnalyticModel:
    """Counts, summed over the operations, and a latency on a line over multiply-accumulates.

    Exact on architectures up to the 24 bits of float32. Between them the counts and the peak of
    memory are expectations over independent choices.

    Attributes:
      counts: sums over the gates, by metric: `macs` per image, trainable `params`, and where the
        space has few bits what `hwnas_jax.cost.models.bits` counts.
      shape: `(D, K)`.
      line_ms: `float32[2]`, milliseconds at zero and per multiply-accumulate; None without
        measured networks.
      peak_table_mib: `float32[K, ..., K]`, one axis per decision: mebibytes of activations at the
        peak of each architecture, for one image, as
        `hwnas_jax.cost.simulate.memory` counts them; None where they were not counted.
    """

    counts: dict[str, Terms]
    shape: tuple[int, int]
    line_ms: jax.Array | None = None
    peak_table_mib: jax.Array | None = None

    name = "analytic"
    exact_expectation = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `predict` returns: `latency_ms` only where networks were measured."""
        known = (("latency_ms", self.line_ms), ("peak_memory_mib", self.peak_table_mib))
        optional = tuple(metric for metric, array in known if array is not None)
        return ("macs", "flops", *(name for name in self.counts if name != "macs"), *optional)

    @classmethod
    def count(cls, space: Space, *, memory: bool = False) -> "AnalyticModel":
        """Counts a space's operations.

        What a paper calls FLOPs of NAS-Bench-201 is `macs`; `flops` are two per multiply-add.

        Args:
          space: the search space.
          memory: whether the peak memory of all its architectures is counted too, which takes
            seconds; left out all the same for a space that has no `graph` or is too large to list.
        """
        operations = space.operations()[0].items()
        counts = {
            "macs": sum_terms(space, {name: operation.macs for name, operation in operations}),
            "params": sum_terms(space, {name: operation.params for name, operation in operations}),
        }
        counted = cls(counts | bit_terms(space), space.mask.shape)
        peaks = peak_table(space) if memory else None
        if peaks is None:
            return counted
        return dataclasses.replace(counted, peak_table_mib=jnp.asarray(peaks / 2**20, jnp.float32))

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
        if not isinstance(space, Space):
            raise UserError("the analytic cost model needs a space whose operations can be built")
        counted = cls.count(space, memory=True)
        architectures = observations.architectures
        observations.require(2, "a line over multiply-accumulates")
        choose("latency_ms", observations.metrics, "observed metric")
        weights = jax.nn.one_hot(architectures, space.num_options)
        macs = np.asarray(jax.vmap(counted.counts["macs"].total)(weights), float)
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
        chex.assert_shape(weight, self.shape)
        macs = self.counts["macs"].total(weight)
        costs = {"macs": macs, "flops": 2 * macs}
        costs |= {m: terms.total(weight) for m, terms in self.counts.items() if m != "macs"}
        if self.line_ms is not None:
            costs["latency_ms"] = self.line_ms[0] + self.line_ms[1] * macs
        if self.peak_table_mib is not None:
            costs["peak_memory_mib"] = functools.reduce(
                lambda table, row: table @ row, reversed(weight), self.peak_table_mib
            )
        return costs

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns zeros: counts are certain, and the line does not know its own error."""
        chex.assert_shape(weight, self.shape)
        return {metric: jnp.zeros((), jnp.float32) for metric in self.metrics}

    def save(self, path: Path, space: Space) -> None:
        """Writes the model to an `.npz` file; what is counted is counted again when it is read."""
        arrays = {name: getattr(self, name) for name in _OPTIONAL}
        present = {name: array for name, array in arrays.items() if array is not None}
        write_model(path, self.name, space, {}, present)

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "AnalyticModel":
        """Builds the model from what `read_model` returned."""
        del header
        cube = (space.num_options,) * space.num_decisions
        shapes: dict[str, tuple[int, ...]] = {"line_ms": (2,), "peak_table_mib": cube}
        known: dict[str, Any] = {
            name: jnp.asarray(check_array(arrays, name, shape))
            for name, shape in shapes.items()
            if name in arrays
        }
        return dataclasses.replace(cls.count(space), **known)
