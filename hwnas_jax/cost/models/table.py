"""A look-up table: the latency of a network is the sum of the latencies of its operations.

Legend: `D` decisions, `K` options of the widest decision, `T` entries.

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
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.model_file import check_array, write_model
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["entries_ms"], meta_fields=["shape"]
)
@dataclasses.dataclass(frozen=True)
class TableModel:
    """Latency as the sum of the entries whose choices were made.

    On a relaxed architecture it is the expected latency under independent choices.

    Attributes:
      entries_ms: milliseconds of the operations, by the choices that bring them.
      shape: `(D, K)`.
    """

    entries_ms: Terms
    shape: tuple[int, int]

    name = "table"
    metrics = ("latency_ms",)
    exact_expectation = True

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
        if not isinstance(space, Space):
            raise UserError("the look-up table needs a space whose operations can be built")
        latencies = {
            name: costs["latency_ms"]
            for name, costs in observations.operations.items()
            if "latency_ms" in costs
        }
        return cls(sum_terms(space, latencies), space.mask.shape)

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{"latency_ms": float32[]}` of gate weights `float32[D, K]`."""
        chex.assert_shape(weight, self.shape)
        return {"latency_ms": self.entries_ms.total(weight)}

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns zero: a table does not know its own error."""
        chex.assert_shape(weight, self.shape)
        return {"latency_ms": jnp.zeros((), jnp.float32)}

    def save(self, path: Path, space: Space) -> None:
        """Writes the model to an `.npz` file."""
        write_model(path, self.name, space, {}, {"entries_ms": self.entries_ms.values})

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "TableModel":
        """Builds the model from what `read_model` returned."""
        del header
        entries = sum_terms(space, dict.fromkeys(space.operations()[0], 0.0))
        values = check_array(arrays, "entries_ms", entries.values.shape)
        return cls(dataclasses.replace(entries, values=jnp.asarray(values)), space.mask.shape)
