"""Latency as no operation can beat it: by the machine's arithmetic, or by its memory.

Legend: `D` decisions, `K` options of the widest decision.

References: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model
for Multicore Architectures", 2009.
"""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.model_file import check_array, write_model
from hwnas_jax.cost.simulate.shape_programs import operation_program
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Operation, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

_ITEM_BYTES = 4
_REPEATS = 5


class Machine(NamedTuple):
    """What a machine can do at most.

    Attributes:
      macs_per_s: float32 multiply-accumulates.
      bytes_per_s: read and written together.
    """

    macs_per_s: float
    bytes_per_s: float


def measure_machine(size: int = 1536, mib: int = 256) -> Machine:
    """Measures the default device: the best of several large products and of large copies.

    Args:
      size: rows and columns of the square matrices multiplied.
      mib: of the array that is copied; several times what the caches hold.
    """
    square = jnp.ones((size, size), jnp.float32)
    product = _best_s(jax.jit(lambda x: x @ x), square)
    array = jnp.ones(mib * 2**20 // _ITEM_BYTES, jnp.float32)
    copy = _best_s(jax.jit(lambda x: x + 1), array)  # a bare copy may be answered without one
    return Machine(size**3 / product, 2 * array.nbytes / copy)


def _best_s(call: Any, argument: jax.Array) -> float:
    jax.block_until_ready(call(argument))
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(call(argument))
        times.append(time.perf_counter() - started)
    return min(times)


def operation_bytes(operation: Operation, batch_size: int) -> int:
    """Returns what an operation moves at least in float32: its input, its output, its weights."""
    program = operation_program(operation, batch_size)
    output = jax.eval_shape(program.call, program.weights, program.images)
    arrays = [*program.weights, program.images, output]
    return _ITEM_BYTES * sum(math.prod(array.shape) for array in arrays)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["bounds_ms", "machine"],
    meta_fields=["shape", "mixture"],
)
@dataclasses.dataclass(frozen=True)
class RooflineModel:
    """The sum of the operations' lower bounds: `max(macs / peak, bytes / bandwidth)` of each.

    An operation that does not reach the output costs nothing. On a relaxed architecture it is the
    expectation over independent choices. Sums at the nodes of a cell are not operations.

    Attributes:
      bounds_ms: milliseconds per call, by the choices that bring an operation.
      machine: `float32[2]`, `Machine.macs_per_s` and `.bytes_per_s`.
      shape: `(D, K)`.
      mixture: `Choices.canonical_mixture` of the space.
    """

    bounds_ms: Terms
    machine: jax.Array
    shape: tuple[int, int]
    mixture: Any

    name = "roofline"
    exact_expectation = True
    metrics = ("latency_ms",)

    @classmethod
    def build(cls, space: Space, machine: Machine, batch_size: int) -> "RooflineModel":
        """Builds the model of a machine.

        Args:
          space: the search space.
          machine: what it can do.
          batch_size: images per call.
        """
        bounds = {
            name: 1e3
            * max(
                batch_size * operation.macs / machine.macs_per_s,
                operation_bytes(operation, batch_size) / machine.bytes_per_s,
            )
            for name, operation in space.operations()[0].items()
        }
        return cls(
            sum_terms(space, bounds), jnp.asarray(machine, jnp.float32), space.mask.shape,
            space.canonical_mixture,
        )  # fmt: skip

    @classmethod
    def fit(
        cls,
        space: Space,
        observations: Observations,
        config: CostConfig | None = None,
        *,
        seed: int = 0,
    ) -> "RooflineModel":
        """Measures this machine, and scales the bounds so that the median network fits.

        Raises:
          UserError: without networks.
        """
        del config, seed
        observations.require(1, "the roofline")
        model = cls.build(space, measure_machine(), 1)
        weights = jax.nn.one_hot(observations.architectures, space.num_options)
        bounds = np.asarray(jax.jit(jax.vmap(model.predict))(weights)["latency_ms"])
        factor = float(np.median(observations.values["latency_ms"] / bounds))
        scaled = dataclasses.replace(model.bounds_ms, values=factor * model.bounds_ms.values)
        return dataclasses.replace(model, bounds_ms=scaled)

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{"latency_ms": float32[]}` of gate weights `float32[D, K]`."""
        chex.assert_shape(weight, self.shape)
        index, costs = self.bounds_ms.index, self.bounds_ms.values
        asked = (index[:, :, None] // self.shape[1] == np.arange(self.shape[0])).any(axis=1)
        for decisions, coefficient, rows in self.mixture(weight):
            # How probable it is that these decisions bring each term; all others count as one.
            whole = jnp.ones((len(rows), *self.shape)).at[:, decisions].set(rows)
            flat = jnp.append(whole.reshape(len(rows), -1), jnp.ones((len(rows), 1)), axis=1)
            # A row of a form sums to one where its decision is drawn; what it has is its mass.
            mass = jnp.ones((len(rows), self.shape[0])).at[:, decisions].set(rows.sum(axis=2))
            others = jnp.where(asked, 1.0, mass[:, None]).prod(axis=2)
            costs = costs * (coefficient @ (flat[:, index].prod(axis=2) * others))
        return {"latency_ms": costs.sum()}

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns zero: a bound does not know its own error."""
        chex.assert_shape(weight, self.shape)
        return {"latency_ms": jnp.zeros((), jnp.float32)}

    def save(self, path: Path, space: Choices) -> None:
        """Writes the model to an `.npz` file."""
        arrays = {"bounds_ms": self.bounds_ms.values, "machine": self.machine}
        write_model(path, self.name, space, {}, arrays)

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "RooflineModel":
        """Builds the model from what `read_model` returned."""
        del header
        bounds = sum_terms(space, dict.fromkeys(space.operations()[0], 0.0))
        values = check_array(arrays, "bounds_ms", bounds.values.shape)
        machine = jnp.asarray(check_array(arrays, "machine", (2,)))
        if not (machine > 0).all():
            raise UserError("machine must hold positive rates")
        bounds = dataclasses.replace(bounds, values=jnp.asarray(values))
        return cls(bounds, machine, space.mask.shape, space.canonical_mixture)
