"""Gathers the operations of a space and the places where they stand."""

from collections.abc import Callable
from typing import Any, cast

import jax
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.spaces.base import Operation, Place


class OperationTable:
    """What `Space.operations` returns, filled place by place; equal operations are built once.

    Attributes:
      operations: by name.
      places: where they stand.
    """

    def __init__(self):
        self.operations: dict[str, Operation] = {}
        self.places: list[Place] = []

    def stands(
        self,
        label: str,
        shape: tuple[int, ...],
        build: Callable[[nnx.Rngs], nnx.Module],
        when: tuple[tuple[int, int], ...] = (),
        *,
        count: int = 1,
    ) -> None:
        """Adds a place.

        Args:
          label: with `shape` the operation's name.
          shape: of one example at its input.
          build: builds it; the module says `macs(shape)`, and where it has few bits
            `bit_operations(shape)` and `size_bits()` too.
          when: as of `Place`.
          count: likewise.
        """
        name = f"{label} {'x'.join(map(str, shape))}"
        if name not in self.operations:
            module = cast(Any, abstract(build))
            params = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
            few = hasattr(module, "bit_operations")
            self.operations[name] = Operation(
                name, build, shape, module.macs(shape), params,
                bit_operations=module.bit_operations(shape) if few else None,
                size_bits=module.size_bits() if few else None,
            )  # fmt: skip
        self.places.append(Place(name, count, when))

    def result(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        """Returns the operations by name, and the places."""
        return self.operations, tuple(self.places)
