"""How good an architecture is: by a table, by shared weights, by training.

Legend: `n` architectures, `D` decisions.

An `Evaluator` is a pure function of architectures and of arrays that it names itself (a table's
columns, a supernet's weights, images), so that it runs inside a compiled search and its arrays stay
inputs of the program.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import jax

from hwnas_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Evaluator(abc.ABC):
    """A way to judge architectures. The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      needs_supernet: whether it judges by the weights of a trained supernet.
      metric: the metric that is the score.
      higher_is_better: whether more of it is better.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs_supernet: ClassVar[bool] = False

    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    @abc.abstractmethod
    def arrays(self, bench: Any) -> Any:
        """Returns the arrays that `evaluate` reads, a pytree.

        Args:
          bench: a `hwnas_jax.search.evaluators.Bench`: what there is to judge with.

        Raises:
          UserError: when the space, the data or the supernet do not fit.
        """

    @abc.abstractmethod
    def evaluate(
        self, bench: Any, arrays: Any, architectures: jax.Array, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Returns `{metric: float32[n]}` of architectures `int32[n, D]`; pure.

        `seconds`, where it is there, is what the evaluation would have cost.
        """


EVALUATORS: Registry[Evaluator] = Registry("evaluator", Evaluator, "hwnas_jax.evaluators")  # type: ignore[type-abstract]
