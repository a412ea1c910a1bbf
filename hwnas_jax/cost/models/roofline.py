"""The least latency that is possible, by the machine's arithmetic and by its memory.

Legend: `D` decisions, `K` options of the widest decision.

References: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model
for Multicore Architectures", 2009.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import probabilities
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.cost.simulate.shape_programs import operation_program
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Forms, Operation, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

_ITEM_BYTES = 4
_REPEATS = 5


class Machine(NamedTuple):
    """What a machine can do at most.

    Attributes:
      macs_per_s: float32 multiply-accumulates.
      bytes_per_s: bytes read plus bytes written.
    """

    macs_per_s: float
    bytes_per_s: float


def measure_machine(size: int = 1536, mib: int = 256) -> Machine:
    """Measures the default device with large matrix products and large copies.

    The best of several repetitions counts.

    Args:
      size: rows and columns of the square matrices.
      mib: size of the array that is copied, which must be several times what the caches hold.
    """
    square = jnp.ones((size, size), jnp.float32)
    product = _best_s(jax.jit(lambda x: x @ x), square)
    array = jnp.ones(mib * 2**20 // _ITEM_BYTES, jnp.float32)
    copy = _best_s(jax.jit(lambda x: x + 1), array)  # XLA may answer a bare copy without copying
    return Machine(size**3 / product, 2 * array.nbytes / copy)


def _best_s(call: Callable[[jax.Array], jax.Array], argument: jax.Array) -> float:
    jax.block_until_ready(call(argument))
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(call(argument))
        times.append(time.perf_counter() - started)
    return min(times)


def operation_bytes(operation: Operation, batch_size: int) -> int:
    """Returns the least bytes that an operation moves in float32: input, output and weights."""
    program = operation_program(operation, batch_size)
    output = jax.eval_shape(program.call, program.weights, program.images)
    arrays = [*program.weights, program.images, output]
    return _ITEM_BYTES * sum(math.prod(array.shape) for array in arrays)


@COST_MODELS.add
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["bounds_ms", "machine"],
    meta_fields=["space"],
)
@dataclasses.dataclass(frozen=True)
class RooflineModel(ExactModel, FittedModel):
    """The sum of the operations' lower bounds: `max(macs / peak, bytes / bandwidth)` of each.

    An operation that does not reach the output costs nothing. Sums at the nodes of a cell are not
    operations.

    Attributes:
      bounds_ms: milliseconds per call, by the choices that bring an operation.
      machine: `float32[2]`, `Machine.macs_per_s` and `.bytes_per_s`.
      space: the search space.
    """

    bounds_ms: Terms
    machine: jax.Array
    space: Space

    name: ClassVar[str] = "roofline"
    summary: ClassVar[str] = "sum of lower bounds by this machine's arithmetic and bandwidth"
    needs_space: ClassVar[bool] = True
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
        return cls(sum_terms(space, bounds), jnp.asarray(machine, jnp.float32), space)

    @classmethod
    def fit(
        cls,
        space: Space,
        observations: Observations,
        options: NoOptions | None = None,
        *,
        seed: int = 0,
    ) -> "RooflineModel":
        """Measures this machine, and scales the bounds so that the median network fits.

        Raises:
          UserError: without networks.
        """
        del options, seed
        observations.require(1, "the roofline")
        model = cls.build(space, measure_machine(), 1)
        weights = jax.nn.one_hot(observations.architectures, space.num_options)
        bounds = np.asarray(jax.jit(jax.vmap(model.predict))(weights)["latency_ms"])
        factor = float(np.median(observations.values["latency_ms"] / bounds))
        scaled = dataclasses.replace(model.bounds_ms, values=factor * model.bounds_ms.values)
        return dataclasses.replace(model, bounds_ms=scaled)

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        del forms  # both of them say the same of what reaches the output
        shape = self.space.mask.shape
        chex.assert_shape(weight, shape)
        index = self.bounds_ms.index
        share = probabilities(index, self.space.canonical_mixture(weight), shape)
        return {"latency_ms": self.bounds_ms.values @ share}

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"bounds_ms": self.bounds_ms.values, "machine": self.machine}

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "RooflineModel":
        bounds = sum_terms(space, dict.fromkeys(space.operations()[0], 0.0))
        bounds_ms = check_array(arrays, "bounds_ms", bounds.values.shape)
        machine = jnp.asarray(check_array(arrays, "machine", (2,)))
        if not (machine > 0).all():
            raise UserError("machine must hold positive rates")
        return cls(dataclasses.replace(bounds, values=jnp.asarray(bounds_ms)), machine, space)
