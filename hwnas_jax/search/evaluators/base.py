"""How good an architecture is: by a table, by shared weights, by training.

Legend: `n` architectures, `D` decisions, `K` options of the widest decision, `N` examples, `P`
weights of the supernet.

An `Evaluator` is a pure function of architectures and of arrays that it names itself (a table's
columns, a supernet's weights, images), so that it runs inside a compiled search and its arrays stay
inputs of the program. What there is to judge with is a `Bench`.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.pipeline import Augmentation
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Registry
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task


class Data(NamedTuple):
    """Training examples in two halves; a pytree of arrays.

    Attributes:
      inputs: `[N, ...]`, as the data set holds them.
      targets: `[N, ...]`.
      weight_half: `int32[...]`, numbers of the examples that weights learn from.
      arch_half: `int32[...]`, of those that architectures are judged by.
      mean: of the inputs by channel, as `hwnas_jax.data.pipeline.normalise` takes it.
      std: their standard deviation, likewise.
    """

    inputs: np.ndarray | jax.Array
    targets: np.ndarray | jax.Array
    weight_half: np.ndarray | jax.Array
    arch_half: np.ndarray | jax.Array
    mean: np.ndarray | jax.Array
    std: np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """What there is to judge with; an evaluator says what it needs of it.

    Attributes:
      space: what the architectures are of.
      task: what networks learn.
      data: the examples, or None.
      supernet: the space's supernet as functions, or None.
      weights: `float32[P]`, of a trained supernet, or None.
      batch_size: examples of a batch, in training and in judging.
      augmentation: of the images in training.
      seed: of the order in which the examples are dealt into batches for judging.
    """

    space: Choices
    task: Task
    data: Data | None = None
    supernet: Supernet | None = None
    weights: np.ndarray | jax.Array | None = None
    batch_size: int = 64
    augmentation: Augmentation = Augmentation()
    seed: int = 0


class Score(NamedTuple):
    """Which metric ranks architectures.

    Attributes:
      metric: one of those that `Evaluator.evaluate` returns.
      higher_is_better: whether more of it is better.
    """

    metric: str
    higher_is_better: bool


@dataclasses.dataclass(frozen=True)
class Evaluator(abc.ABC):
    """A way to judge architectures. The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      needs_weights: whether it judges by the weights of a trained supernet.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs_weights: ClassVar[bool] = False

    def score(self, bench: Bench) -> Score:
        """Returns which metric ranks; by default the task's primary metric."""
        return Score(bench.task.metric, bench.task.higher_is_better)

    def fidelities(self, bench: Bench) -> tuple[float, ...]:
        """Returns what an evaluation takes at each fidelity, as a share of the highest.

        The highest comes first, so that this begins with one; by default there is no other.
        """
        del bench
        return (1.0,)

    @abc.abstractmethod
    def arrays(self, bench: Bench) -> Any:
        """Returns the arrays that `evaluate` reads, a pytree; runs once, on the host.

        Raises:
          UserError: when the space, the data or the supernet do not fit.
        """

    @abc.abstractmethod
    def evaluate(
        self, bench: Bench, arrays: Any, architectures: jax.Array, fidelity: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:  # fmt: skip
        """Returns `{metric: float32[n]}` of architectures `int32[n, D]`; pure.

        The fidelity, `int32[]`, is a place in `fidelities`; zero is the highest.

        Of `bench` only what holds no arrays is read here: the arrays are those of `arrays`, so
        that they are inputs of the compiled program and no constants of it. A metric that is not a
        number says that the architecture cannot be judged. `seconds`, where it is there, is what
        the evaluation would have cost.
        """

    def require(self, bench: Bench, *parts: str) -> None:
        """Raises UserError when the bench lacks one of `parts`, names of its attributes."""
        said = {
            "data": "training data", "supernet": "a supernet",
            "weights": "the weights of a trained supernet",
        }  # fmt: skip
        missing = [said[part] for part in parts if getattr(bench, part) is None]
        if missing:
            raise UserError(
                f"the evaluator {self.name} needs {' and '.join(missing)}, which are not there"
            )


EVALUATORS: Registry[Evaluator] = Registry("evaluator", Evaluator, "hwnas_jax.evaluators")  # type: ignore[type-abstract]


def check_evaluator(evaluator: Evaluator, bench: Bench) -> Any:
    """Checks an evaluator on a bench, without evaluating anything.

    Returns:
      What `Evaluator.arrays` returned.

    Raises:
      UserError: when the bench does not fit the evaluator, or `evaluate` returns what the contract
        does not say.
    """
    arrays = evaluator.arrays(bench)
    shares = evaluator.fidelities(bench)
    if shares[:1] != (1.0,) or not all(0 < share <= 1 for share in shares):
        raise UserError(
            f"evaluator {evaluator.name}: fidelities must begin with 1 and name shares of it, got "
            f"{shares}"
        )
    where, count = f"evaluator {evaluator.name}", 2
    asked = jax.ShapeDtypeStruct((count, bench.space.num_decisions), jnp.int32)
    fidelity = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        found = jax.eval_shape(
            lambda *given: evaluator.evaluate(bench, *given), arrays, asked, fidelity, key
        )  # fmt: skip
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails on {asked.shape} architectures: {reason}") from error
    if not isinstance(found, dict):
        raise UserError(f"{where}: evaluate must return a dict of metrics, got {type(found)}")
    for metric, leaf in found.items():
        if leaf.shape != (count,) or leaf.dtype != jnp.float32:
            raise UserError(
                f"{where}: {metric} must be float32[{count}], got {leaf.dtype}{list(leaf.shape)}"
            )
    metric = evaluator.score(bench).metric
    if metric not in found:
        raise UserError(
            f"{where}: it ranks by {metric!r}, which evaluate does not return; it returns "
            f"{', '.join(found) or 'nothing'}"
        )
    return arrays
