"""A look-up table: the latency of a network is the sum of the latencies of its operations.

Legend: `D` decisions, `K` options of the widest decision, `T` entries.

References: Wu et al., "FBNet", 2019 (section 3.3).
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
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import probabilities
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.spaces.base import Choices, Forms, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms


@COST_MODELS.add
@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["entries_ms"], meta_fields=["shape"]
)
@dataclasses.dataclass(frozen=True)
class TableModel(ExactModel, FittedModel):
    """Latency as the sum of the operations that the chosen options bring.

    Attributes:
      entries_ms: milliseconds of the operations, by the choices that bring them.
      shape: `(D, K)`.
    """

    entries_ms: Terms
    shape: tuple[int, int]

    name: ClassVar[str] = "table"
    summary: ClassVar[str] = "sum of the timed operations of a network"
    label: ClassVar[str] = "look-up table"
    needs_space: ClassVar[bool] = True
    metrics = ("latency_ms",)

    @classmethod
    def fit(
        cls,
        space: Space,
        observations: Observations,
        options: NoOptions | None = None,
        *,
        seed: int = 0,
    ) -> "TableModel":
        """Builds the table from the timed operations. The networks are not read.

        Raises:
          UserError: when an operation of the space was not timed.
        """
        del options, seed
        latencies = {
            name: costs["latency_ms"]
            for name, costs in observations.operations.items()
            if "latency_ms" in costs
        }
        return cls(sum_terms(space, latencies), space.mask.shape)

    @classmethod
    def reads_operations(cls, space: Choices) -> bool:
        return True

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        chex.assert_shape(weight, self.shape)
        share = probabilities(self.entries_ms.index, forms, self.shape)
        return {"latency_ms": self.entries_ms.values @ share}

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"entries_ms": self.entries_ms.values}

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "TableModel":
        entries = sum_terms(space, dict.fromkeys(space.operations()[0], 0.0))
        latencies = check_array(arrays, "entries_ms", entries.values.shape)
        return cls(dataclasses.replace(entries, values=jnp.asarray(latencies)), space.mask.shape)
