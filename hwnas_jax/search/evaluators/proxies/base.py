"""Scores of untrained networks: one file for each kind.

Legend: `P` weights of the supernet, `B` examples of a batch.

A `Proxy` looks at one path through a supernet whose weights were just drawn. It says what it needs,
and returns a number that is higher for better networks. The evaluator `zero_cost` draws the weights
and the examples and asks it.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import jax

from hwnas_jax.relax.base import Gates
from hwnas_jax.search.evaluators.base import Bench


class Trial(NamedTuple):
    """One network before it is trained.

    Attributes:
      gates: of its path.
      key: for what a proxy draws itself; all architectures of a call are given the same.
      weights: `float32[P]`, just drawn; None where the proxy needs no supernet.
      inputs: `float32[B, *input_shape]`, scaled as in training; None where it needs no data.
      targets: `[B, ...]`, likewise.
    """

    gates: Gates
    key: jax.Array
    weights: Any = None
    inputs: Any = None
    targets: Any = None


class Proxy(abc.ABC):
    """A score of an untrained network.

    Attributes:
      name: what the option calls it.
      needs: which parts of the bench it looks at: "supernet", "data".
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("supernet", "data")

    def arrays(self, bench: Bench, batch_size: int) -> Any:
        """Returns arrays that `score` reads, a pytree; by default there are none.

        Raises:
          UserError: when the space does not fit.
        """
        del bench, batch_size
        return ()

    @abc.abstractmethod
    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns the score, `float32[]`; pure. Of `bench` only what holds no arrays is read."""
