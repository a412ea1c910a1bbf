"""Gathers the operations of a space and the places where they stand."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.quantised import FewBits
from hwnas_jax.spaces.base import Operation, Place
from hwnas_jax.spaces.core.bounds import MOST_OPERATIONS, MOST_PLACES, too_much

_Space = TypeVar("_Space")
_Table = tuple[dict[str, Operation], tuple[Place, ...]]


def made_once(operations: Callable[[_Space], _Table]) -> Callable[[_Space], _Table]:
    """Decorates `Space.operations`, so that a space makes its table once.

    For the largest spaces this takes seconds, and a search asks for the table many times. A
    restricted space has a table of its own. Whoever asks gets a dictionary of their own.
    """

    @functools.wraps(operations)
    def table(space: Any) -> _Table:
        off, made = vars(space).get("_kept_table", (None, None))
        if made is None or off is not space.off:
            made = operations(space)
            space._kept_table = space.off, made
        return dict(made[0]), made[1]

    return table


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
            module: Any = abstract(build, counts_only=True)
            params = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
            few = isinstance(module, FewBits)
            self.operations[name] = Operation(
                name, build, shape, module.macs(shape), params,
                bit_operations=module.bit_operations(shape) if few else None,
                size_bits=module.size_bits() if few else None,
            )  # fmt: skip
        self.places.append(Place(name, count, when))

    def result(self) -> _Table:
        """Returns the operations by name, and the places."""
        return self.operations, tuple(self.places)
