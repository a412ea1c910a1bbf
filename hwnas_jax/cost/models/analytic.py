"""Costs that follow from the architecture alone: operations, parameters, bits, memory.

Legend: `D` decisions, `K` options of the widest decision.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions
from hwnas_jax.cost.models.bits import BIT_METRICS, bit_terms, has_bits
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import expectation, probabilities
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.cost.simulate.memory import peak_table
from hwnas_jax.errors import choose
from hwnas_jax.spaces.base import Forms, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

_OPTIONAL = ("line_ms", "peak_table_mib")


@COST_MODELS.add
@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["counts", *_OPTIONAL], meta_fields=["shape"]
)
@dataclasses.dataclass(frozen=True)
class AnalyticModel(ExactModel, FittedModel):
    """Counts, summed over the operations, and a latency on a line over multiply-accumulates.

    Exact on architectures up to the 24 bits of float32.

    Attributes:
      counts: sums over the gates, by metric: `macs` for one image, trainable `params`, and in a
        space of few bits what `hwnas_jax.cost.models.bits` counts.
      shape: `(D, K)`.
      line_ms: `float32[2]`, milliseconds at zero and per multiply-accumulate; None without
        measured networks.
      peak_table_mib: `float32[K, ..., K]`, one axis per decision: mebibytes of activations at the
        peak of each architecture, for one image, as `hwnas_jax.cost.simulate.memory` counts them;
        None where they were not counted.
    """

    counts: dict[str, Terms]
    shape: tuple[int, int]
    line_ms: jax.Array | None = None
    peak_table_mib: jax.Array | None = None

    name: ClassVar[str] = "analytic"
    summary: ClassVar[str] = "operations, parameters, memory; latency on a line over operations"
    label: ClassVar[str] = "FLOPs (scaled)"
    needs_space: ClassVar[bool] = True

    @staticmethod
    def counted_metrics(space: Space) -> tuple[str, ...]:
        """Returns what can be counted of the networks of a space, peak memory left out."""
        return ("macs", "flops", "params", *(BIT_METRICS if has_bits(space) else ()))

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What `predict` returns: `latency_ms` only where networks were measured."""
        known = (("latency_ms", self.line_ms), ("peak_memory_mib", self.peak_table_mib))
        optional = tuple(metric for metric, array in known if array is not None)
        return ("macs", "flops", *(name for name in self.counts if name != "macs"), *optional)

    @classmethod
    def count(cls, space: Space, *, memory: bool = False) -> "AnalyticModel":
        """Counts a space's operations.

        What the paper of NAS-Bench-201 calls FLOPs is `macs` here; `flops` are two per
        multiply-add.

        Args:
          space: the search space.
          memory: whether the peak memory of all its architectures is counted too, which takes
            seconds. It cannot be for a space that has no `graph` or is too large to list.
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
        options: NoOptions | None = None,
        *,
        seed: int = 0,
    ) -> "AnalyticModel":
        """Counts, and fits latency = a + b * macs to the measured networks by least squares.

        Raises:
          UserError: with fewer than two networks, or without latencies.
        """
        del options, seed
        counted = cls.count(space, memory=True)
        observations.require(2, "a line over multiply-accumulates")
        choose("latency_ms", observations.metrics, "observed metric")
        weights = jax.nn.one_hot(observations.architectures, space.num_options)
        macs = np.asarray(jax.vmap(counted.counts["macs"].total)(weights), float)
        # Scaled to order one, or the design matrix is too ill-conditioned to solve.
        scale = max(macs.max(), 1.0)
        design = np.stack([np.ones(len(macs)), macs / scale], axis=1)
        line = np.linalg.lstsq(design, observations.values["latency_ms"], rcond=None)[0]
        return dataclasses.replace(counted, line_ms=jnp.asarray(line / [1.0, scale], jnp.float32))

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        chex.assert_shape(weight, self.shape)
        totals = {
            metric: terms.values @ probabilities(terms.index, forms, self.shape)
            for metric, terms in self.counts.items()
        }
        macs = totals.pop("macs")
        costs = {"macs": macs, "flops": 2 * macs, **totals}
        if self.line_ms is not None:
            costs["latency_ms"] = self.line_ms[0] + self.line_ms[1] * macs
        if self.peak_table_mib is not None:
            costs["peak_memory_mib"] = expectation(self.peak_table_mib, forms)
        return costs

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        # Operations are counted again when the file is read.
        arrays = {name: getattr(self, name) for name in _OPTIONAL}
        return {}, {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "AnalyticModel":
        cube = (space.num_options,) * space.num_decisions
        shapes: dict[str, tuple[int, ...]] = {"line_ms": (2,), "peak_table_mib": cube}
        known: dict[str, Any] = {
            name: jnp.asarray(check_array(arrays, name, shape))
            for name, shape in shapes.items()
            if name in arrays
        }
        return dataclasses.replace(cls.count(space), **known)
