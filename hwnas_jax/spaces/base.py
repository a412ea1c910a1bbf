"""What a search space is: decisions, and the code that builds what was decided.

Legend: `B` batch, `H, W, C` image height, width, channels, `D` decisions, `K` options of the
widest decision.

`Choices` (in `core/choices.py`) holds the decisions alone, and is all that cost models and tables
need. `Space` adds the supernet, the stand-alone network, and the table of operations. A space
knows no relaxation: it is given `Gates`.

A gate is a factor on the output of an option. Most relaxations make the gates of a decision sum to
one. Some let several options be chosen at once, and their gates sum to more. What that means
depends on how the supernet uses gates. A space with `adds_options` adds the options' outputs, each
times its gate, so two chosen options stand for the sum of both. Other spaces mix kernels or masks
or have a decision that is not an operation, and there such gates have no meaning. An architecture
always names one option of each decision: derivation keeps the strongest.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx

from hwnas_jax.nn.outputs import Output, output_shape
from hwnas_jax.registry import Registry
from hwnas_jax.spaces.core.checked import GIVEN, Checked
from hwnas_jax.spaces.core.choices import Choices, Decision, Forms

__all__ = ["SPACES", "Block", "Choices", "Decision", "Forms", "Operation", "Place", "Space", "Step"]


@dataclasses.dataclass(frozen=True)
class Operation:
    """A piece of a network that can be built, counted and timed on its own.

    Attributes:
      name: unique within a space; includes the shape ("nor_conv_3x3 16x16x32").
      build: `nnx.Rngs -> nnx.Module`; the module is called on `float32[B, *input_shape]`.
      input_shape: of one example, channels last: `(H, W, C)`, `(L, C)`, or `(C,)` after pooling.
      macs: multiply-accumulates for one image.
      params: trainable parameters.
      bit_operations: products of single bits for one image; None at full precision.
      size_bits: bits that are stored; None at full precision.
    """

    name: str
    build: Callable[[nnx.Rngs], nnx.Module]
    input_shape: tuple[int, ...]
    macs: int
    params: int
    bit_operations: int | None = None
    size_bits: int | None = None


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an operation stands in the networks of a space.

    Attributes:
      operation: the `Operation.name`.
      count: how many times it stands there.
      when: `(decision, option)` pairs, row and column of the gates, that must all be chosen;
        empty for a part that every network has.
    """

    operation: str
    count: int
    when: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a network's graph; step `n`, counted from zero, computes value `n + 1`.

    Attributes:
      kind: "operation", "sum" of the inputs in their order, "zeros" of the input's shape, or "join"
        of the inputs side by side in one vector.
      inputs: the numbers of the values that it reads; zero is the images. A step of zeros names an
        input for its shape and does not read it.
      operation: the `Operation.name` if the step is an operation.
    """

    kind: str
    inputs: tuple[int, ...]
    operation: str = ""


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of a supernet that runs on the output of the piece before it.

    Attributes:
      parts: the decisions that each part of the block reads, in the order in which the parts run;
        a part that reads none is the same in all candidates of the block.
    """

    parts: tuple[tuple[int, ...], ...]

    @property
    def decisions(self) -> tuple[int, ...]:
        """The decisions that the block reads, in rising order."""
        return tuple(sorted(set().union(*self.parts)))


class Space(Choices, metaclass=Checked):
    """A search space for images of one shape and a number of outputs.

    A subclass sets `name`, `summary` and `decisions`, takes its own options as keywords of its
    constructor, repeats them in `args`, and builds networks. Types and ranges of the options are
    annotations (`Annotated[int, Ge(1)]`), which are checked whenever a space is made.

    Attributes:
      name: the name in the registry.
      summary: one line for `hwnas list`.
      decisions: the decisions of an architecture, in order.
      input_shape: of one example, channels last: `(H, W, C)` or `(L, C)`.
      num_outputs: outputs of the network, the number of classes in classification; with dense or
        several outputs their channels together.
      args: the space's own options by name.
      registered_as: what the config calls the space if that is a Python path.
      adds_options: whether the supernet adds the options' outputs, each times its gate, so that
        gates which do not sum to one mean a sum of several options.
      outputs: what networks put out; empty for one vector of `num_outputs`. A space with
        `takes_outputs` has `outputs: Sequence[Output] = ()` among the keywords of its constructor.
      takes_outputs: whether networks can also have dense outputs, or several of them.
      takes_sequences: whether networks can also read sequences, which are images one pixel high.
      nested: the decisions on sizes whose smaller options are parts of the larger ones, as patterns
        of their names, kind by kind in the order in which an elastic supernet opens them; empty
        where options are not parts of one another. In a space that has it, the options of every
        decision rise in size. Those of a decision that no pattern fits are all open from the start.
      has_features: whether the supernet has a method `features(x, gates)`, which returns the
        output of each stage as a tuple; the last is what the head is given.
      cut_blocks: the blocks that the supernet can be cut into, a property. Where there are any,
        the supernet has the methods `block(number, x, gates)`, which runs one block on the output
        of the block before it, and `part(number, place, x, gates)`, which runs one part of a block.
        The outputs of the blocks are the `features`.
    """

    name: str
    summary: str
    decisions: tuple[Decision, ...]
    input_shape: tuple[int, ...]
    num_outputs: int
    args: dict[str, Any]
    registered_as: str | None = None
    adds_options: ClassVar[bool] = False
    has_features: ClassVar[bool] = False
    nested: ClassVar[tuple[tuple[str, ...], ...]] = ()
    outputs: tuple[Output, ...] = ()
    takes_outputs: ClassVar[bool] = False
    takes_sequences: ClassVar[bool] = False

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of a network's output for one example: `(O,)`, or `(H, W, O)` where it is dense."""
        return output_shape(self.outputs or (Output(self.num_outputs),), self.input_shape)

    @property
    def num_layers(self) -> int:
        """How many operations the largest network has; a space with very many is refused.

        By default one for each decision.
        """
        return self.num_decisions

    @property
    def cut_blocks(self) -> tuple[Block, ...]:
        """The blocks of the supernet, in order; by default it cannot be cut."""
        return ()

    @abc.abstractmethod
    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        """Returns the stateless supernet: `(float32[B, H, W, C], Gates) -> [B, *output_shape]`.

        Args:
          rngs: for the initial weights.
          axis_name: replica axis over which batch statistics are averaged, if any.
          rematerialise: keep less for the backward pass and compute it again instead. A supernet
            that has nothing to gain from it may ignore this.
        """

    @abc.abstractmethod
    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        """Returns the stand-alone network: `float32[B, H, W, C] -> [B, *output_shape]`.

        A network that is trained by more than its own loss, or with chance, is a
        `hwnas_jax.nn.in_training.InTraining`.

        Args:
          architecture: `int32[D]`.
          rngs: for the initial weights.
          axis_name: as in `supernet`.
        """

    @abc.abstractmethod
    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        """Copies the supernet's weights into `network`, which was built for `architecture`."""

    @abc.abstractmethod
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        """Returns the distinct operations by name, and where they stand."""

    def graph(self, architecture: np.ndarray) -> tuple[Step, ...] | None:
        """Returns what the network of `architecture` (`int32[D]`) computes, step by step.

        By default None: the space does not describe its networks in this way, and a peak of memory
        cannot be computed from them.
        """
        del architecture
        return None

    def scores(self, supernet: nnx.Module) -> jax.Array | None:
        """Returns what the weights themselves say for each option, `float32[D, K]`.

        A search then learns thresholds: the logit of an option is its score minus its threshold.
        By default None: weights say nothing, and logits are learned.

        Args:
          supernet: as `supernet` returns it.
        """
        del supernet
        return None

    @property
    def spec(self) -> dict[str, Any]:
        """What `hwnas_jax.spaces.from_spec` needs to rebuild the space; plain JSON values."""
        return {
            "name": self.registered_as or self.name,
            "args": dict(self.args),
            "input_shape": list(self.input_shape),
            "num_outputs": self.num_outputs,
            **(
                {"outputs": [dataclasses.asdict(one) for one in self.outputs]}
                if self.outputs
                else {}
            ),
            **self._off_spec,
        }


SPACES: Registry[Space] = Registry(
    "search space",
    Space,  # type: ignore[type-abstract]
    "hwnas_jax.spaces",
    given=GIVEN,
)
