"""Gathers the operations of a space and the places where they stand."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.quantised import FewBits
from hwnas_jax.spaces.base import Operation, Place
from hwnas_jax.spaces.core.bounds import MOST_OPERATIONS, MOST_PLACES, too_much


class OperationTable:
    """The result of `Space.operations`, filled place by place; equal operations are built once.

    Attributes:
      operations: the operations by name.
      places: the places where they stand.
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
          label: the operation's name, to which the shape is added.
          shape: of one example at the operation's input.
          build: builds the operation. The module says `macs(shape)`; if it has few bits, it is a
            `FewBits` and counts these too.
          when: the `Place.when`.
          count: the `Place.count`.

        Raises:
          UserError: when a space has too many places or operations to be listed.
        """
        if len(self.places) >= MOST_PLACES:
            raise too_much(len(self.places) + 1, MOST_PLACES, "places of operations")
        name = f"{label} {'x'.join(map(str, shape))}"
        if name not in self.operations:
            if len(self.operations) >= MOST_OPERATIONS:
                count = len(self.operations) + 1
                raise too_much(count, MOST_OPERATIONS, "different operations")
            module: Any = abstract(build)
            params = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
            few = isinstance(module, FewBits)
            self.operations[name] = Operation(
                name, build, shape, module.macs(shape), params,
                bit_operations=module.bit_operations(shape) if few else None,
                size_bits=module.size_bits() if few else None,
            )  # fmt: skip
        self.places.append(Place(name, count, when))

    def result(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        """Returns the operations by name, and the places."""
        return self.operations, tuple(self.places)
