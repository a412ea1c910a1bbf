"""A look-up table: the latency of a network is the sum of the latencies of its operations.

Legend: `D` decisions, `K` options of the widest decision.

References: Wu et al., "FBNet", 2019 (section 3.3).
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


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["table_ms", "constant_ms"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class TableModel:
    """Latency as a constant plus the table entries of the chosen options.

    On a relaxed architecture it is the expected latency under independent choices.

    Attributes:
      table_ms: `float32[D, K]`, milliseconds that each option adds.
      constant_ms: `float32[]`, milliseconds of the parts that every network has.
    """

    table_ms: jax.Array
    constant_ms: jax.Array

    name = "table"
    metrics = ("latency_ms",)

    @classmethod
    def fit(
        cls,
        space: Space,
        observations: Observations,
        config: CostConfig | None = None,
        *,
        seed: int = 0,
    ) -> "TableModel":
        """Builds the table from the timed operations; nothing is fitted to the networks.

        Raises:
          UserError: when an operation was not observed.
        """
        del config, seed
        latencies = {name: costs["latency_ms"] for name, costs in observations.operations.items()}
        table, constant = sum_places(space, latencies)
        return cls(jnp.asarray(table, jnp.float32), jnp.float32(constant))

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{"latency_ms": float32[]}` of gate weights `float32[D, K]`."""
        chex.assert_equal_shape([weight, self.table_ms])
        return {"latency_ms": self.constant_ms + (weight * self.table_ms).sum()}

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns zero: a table does not know its own error."""
        chex.assert_equal_shape([weight, self.table_ms])
        return {"latency_ms": jnp.zeros((), jnp.float32)}

    def save(self, path: Path, space: Space) -> None:
        """Writes the model to an `.npz` file."""
        arrays = {"table_ms": self.table_ms, "constant_ms": self.constant_ms}
        write_model(path, self.name, space, {}, arrays)

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "TableModel":
        """Builds the model from what `read_model` returned."""
        del header
        shape = (space.num_decisions, space.num_options)
        return cls(
            jnp.asarray(check_array(arrays, "table_ms", shape)),
            jnp.asarray(check_array(arrays, "constant_ms", ())),
        )
