"""What a search space is: a tuple of decisions plus the code that builds what was decided.

Legend: `B` batch, `H, W, C` image height, width, channels, `D` decisions, `K` options of the
widest decision.
"""

import abc
import copy
import dataclasses
import fnmatch
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError, choose

_DRAWS = 1000
_LISTED = 2**20


@dataclasses.dataclass(frozen=True)
class Decision:
    """One choice: a name and the names of its options."""

    name: str
    options: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Operation:
    """A piece of a network that can be built, counted and timed on its own.

    Attributes:
      name: unique within a space, with its shape ("nor_conv_3x3 16x16x32").
      build: `nnx.Rngs -> nnx.Module` for inference; called on `float32[B, *input_shape]`.
      input_shape: of one example, channels last: `(H, W, C)`, `(L, C)`, or `(C,)` after pooling.
      macs: multiply-accumulates for one image.
      params: trainable parameters.
      bit_operations: products of single bits for one image; None at full precision.
      size_bits: bits of what is stored; None at full precision.
    """

    name: str
    build: Callable[[nnx.Rngs], nnx.Module]
    input_shape: tuple[int, ...]
    macs: int
    params: int
    bit_operations: int | None = None
    size_bits: int | None = None


class Forms(NamedTuple):
    """The distribution of the canonical form of some of the decisions.

    For any function `f` of their gates that is linear in every row, the expectation of `f` at the
    canonical form is `sum(coefficient[p] * f(rows[p]))`.

    Attributes:
      decisions: `int[G]`, which ones.
      coefficient: `float32[P]`, of each form.
      rows: `float32[P, G, K]`; a row may sum to less than one.
    """

    decisions: np.ndarray
    coefficient: jax.Array
    rows: jax.Array


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
    """One step of a network's graph; step `n`, from zero, computes value `n + 1`.

    Attributes:
      kind: "operation", "sum" of the inputs in their order, or "zeros" of the input's shape.
      inputs: numbers of the values it reads; zero is the images. Zeros read nothing.
      operation: the `Operation.name`, where it is one.
    """

    kind: str
    inputs: tuple[int, ...]
    operation: str = ""


class Choices:
    """Decisions and their options: what cost models and tables know of a search space.

    Published tables cover spaces that need not be buildable here; those are plain `Choices`.

    Attributes:
      name: as in the registry, or what the table calls the space.
      decisions: what is decided.
      off: options switched off, by decision; see `restricted`.
      spec: what tells this space from others; plain JSON values.
    """

    name: str
    decisions: tuple[Decision, ...]
    off: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})
    adds_options: bool = False

    def __init__(self, name: str, decisions: tuple[Decision, ...]):
        self.name, self.decisions = name, decisions

    @property
    def num_decisions(self) -> int:
        """`D`."""
        return len(self.decisions)

    @property
    def num_options(self) -> int:
        """`K`."""
        return max(len(decision.options) for decision in self.decisions)

    @property
    def size(self) -> int:
        """How many architectures there are; those of all decisions where they are beyond listing.

        Only where some are infeasible are they listed to be counted.
        """
        every = math.prod(self.mask.sum(axis=1).tolist())
        unconstrained = type(self).feasible is Choices.feasible
        return every if unconstrained or every > _LISTED else len(self.enumerate())

    @property
    def mask(self) -> np.ndarray:
        """`bool[D, K]`, true where an option exists and is not switched off."""
        mask = np.zeros((self.num_decisions, self.num_options), bool)
        for row, decision in zip(mask, self.decisions, strict=True):
            off = self.off.get(decision.name, ())
            row[: len(decision.options)] = [option not in off for option in decision.options]
        return mask

    def restricted(self, off: Mapping[str, Sequence[str]]) -> Self:
        """Returns the space without some options, which a device may not run well or at all.

        Args:
          off: options by decision; a decision may be a pattern (`"*"`, `"1<-*"`), an option too
            (`"*se*"`), as in `fnmatch`.

        Raises:
          UserError: for a pattern that fits nothing, or a decision left without options.
        """
        names = [decision.name for decision in self.decisions]
        removed = {name: set(options) for name, options in self.off.items()}
        for pattern, options in off.items():
            fitting = [d for d in self.decisions if fnmatch.fnmatchcase(d.name, pattern)]
            if not fitting:
                choose(pattern, names, f"decision of {self.name} to restrict")
            for wanted in options:
                found = {d.name: fnmatch.filter(d.options, wanted) for d in fitting}
                if not any(found.values()):
                    known = sorted({option for d in fitting for option in d.options})
                    choose(wanted, known, f"option of {pattern} to switch off")
                for name, matches in found.items():
                    removed.setdefault(name, set()).update(matches)
        for decision in self.decisions:
            if removed.get(decision.name, set()) >= set(decision.options):
                raise UserError(
                    f"space.off leaves the decision {decision.name!r} of {self.name} without "
                    f"options; it has {', '.join(decision.options)}"
                )
        space = copy.copy(self)
        space.off = {
            d.name: tuple(option for option in d.options if option in removed[d.name])
            for d in self.decisions
            if removed.get(d.name)
        }
        return space

    @property
    def spec(self) -> dict[str, Any]:
        """What tells this space from others; plain JSON values."""
        return {
            "name": self.name,
            "decisions": {decision.name: list(decision.options) for decision in self.decisions},
            **self._off_spec,
        }

    @property
    def _off_spec(self) -> dict[str, Any]:
        off = {name: list(options) for name, options in self.off.items()}
        return {"off": off} if off else {}

    def feasible(self, architectures: np.ndarray) -> np.ndarray:
        """Returns which of `architectures` (`int32[N, D]`) are members of the space, `bool[N]`.

        By default all are. Where decisions exclude one another, a relaxation, which draws them
        independently, may still draw what is none; the supernet and the operation table then
        stand for the nearest network. Only members are drawn here, listed, measured and derived.
        """
        return np.ones(len(architectures), bool)

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns the architectures (`int32[N, D]`) in the form that equal networks share.

        Two architectures that build the same function, for instance because they differ where
        nothing reaches the output, must have one form. By default every architecture is its own.
        """
        return architectures

    def used(self, architectures: np.ndarray) -> np.ndarray:
        """Returns the architectures (`int32[N, D]`) without what nothing reads.

        What reads nothing, and so could be left out too, stays: some runtimes drop the one and
        compute the other on zeros. By default nothing is known to be unread.
        """
        return architectures

    def relations(self, architectures: np.ndarray) -> np.ndarray | None:
        """Returns counts of what a compiler leaves of the networks, `float64[N, S]`, or None.

        Of operations and of pairs that follow one another, read the same, or are added up, once
        identities are followed through and equal operations are done once. Networks that are
        equal after that have the same counts. By default nothing is known.

        Args:
          architectures: `int32[N, D]`.
        """
        del architectures
        return None

    @property
    def mixes_canonical(self) -> bool:
        """Whether there are canonical forms and `canonical_mixture` is of them."""
        return type(self).canonical_mixture is not Choices.canonical_mixture

    def canonical_mixture(self, weight: jax.Array) -> tuple[Forms, ...]:
        """Returns how the canonical form of an architecture drawn from `weight` is distributed.

        Decisions are drawn independently, but their canonical forms are not all independent:
        those of one mixture may depend on one another, those of different ones do not.

        Args:
          weight: `float32[D, K]`.

        Returns:
          Mixtures that hold every decision once.
        """
        return (Forms(np.arange(len(weight)), jnp.ones(1, weight.dtype), weight[None]),)

    def random(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Returns `int32[count, D]` feasible architectures drawn uniformly, with repetition.

        Raises:
          UserError: when a thousand draws for each that is asked for hold too few.
        """
        found = np.zeros((0, self.num_decisions), np.int32)
        for _ in range(_DRAWS):
            columns = [rng.choice(np.flatnonzero(row), size=count) for row in self.mask]
            drawn = np.stack(columns, axis=1).astype(np.int32)
            found = np.concatenate([found, drawn[self.feasible(drawn)]])
            if len(found) >= count:
                return found[:count]
        raise UserError(
            f"hardly any architecture of {self.name} is feasible: {len(found)} of "
            f"{_DRAWS * count} drawn; switch fewer options off"
        )

    def enumerate(self) -> np.ndarray:
        """Returns all feasible architectures, `int32[N, D]`, the last decision running fastest."""
        allowed = [np.flatnonzero(row).astype(np.int32) for row in self.mask]
        grid = np.meshgrid(*allowed, indexing="ij")
        every = np.stack([column.reshape(-1) for column in grid], axis=1)
        return every[self.feasible(every)]

    def to_names(self, architecture: np.ndarray) -> dict[str, str]:
        """Returns `{decision name: option name}`."""
        architecture = self.check(architecture)
        return {d.name: d.options[i] for d, i in zip(self.decisions, architecture, strict=True)}

    def from_names(self, names: dict[str, str]) -> np.ndarray:
        """Returns the architecture `int32[D]` of `{decision name: option name}`.

        Raises:
          UserError: for an unknown or missing decision, or an unknown option.
        """
        known = [decision.name for decision in self.decisions]
        for name in names:
            choose(name, known, f"decision of {self.name}")
        missing = [name for name in known if name not in names]
        if missing:
            raise UserError(f"the architecture leaves open: {', '.join(missing)}")
        columns = []
        for decision in self.decisions:
            option = choose(names[decision.name], decision.options, f"option of {decision.name}")
            if option in self.off.get(decision.name, ()):
                raise UserError(f"{option!r} of {decision.name} is switched off by space.off")
            columns.append(decision.options.index(option))
        return np.array(columns, np.int32)

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the architecture in the space's customary notation; options between slashes."""
        return "/".join(self.to_names(architecture).values())

    def from_string(self, text: str) -> np.ndarray:
        """Returns the architecture `int32[D]` of a string; raises UserError when malformed."""
        options = text.strip().split("/")
        if len(options) != self.num_decisions:
            raise UserError(
                f"{text!r} names {len(options)} options, an architecture of {self.name} has "
                f"{self.num_decisions}: {'/'.join(decision.name for decision in self.decisions)}"
            )
        names = [decision.name for decision in self.decisions]
        return self.from_names(dict(zip(names, options, strict=True)))

    def check(self, architecture: np.ndarray) -> np.ndarray:
        """Returns `architecture` as `int32[D]`; raises ValueError when it is none of this space."""
        array = np.asarray(architecture, np.int32)
        if array.shape != (self.num_decisions,):
            raise ValueError(
                f"an architecture of {self.name} has shape ({self.num_decisions},), "
                f"got {array.shape}"
            )
        widths = [len(decision.options) for decision in self.decisions]
        if (array < 0).any() or (array >= widths).any():
            raise ValueError(f"option indices must be in [0, {widths}), got {array.tolist()}")
        return array


class Space(Choices, abc.ABC):
    """A search space for images of one shape and a number of classes.

    A subclass sets `name`, `decisions` and its own arguments (as attributes named like the
    constructor's keywords, listed in `args`) and builds networks.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      decisions: what is decided.
      input_shape: of one example, channels last: `(H, W, C)` or `(L, C)`.
      num_outputs: number of classes.
      args: the space's own arguments by name.
      registered_as: what the config calls it, where that is a Python path.
    """

    name: str
    summary: str
    decisions: tuple[Decision, ...]
    input_shape: tuple[int, ...]
    num_outputs: int
    args: dict[str, Any]
    registered_as: str | None = None

    @abc.abstractmethod
    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        """Returns the stateless supernet: `(float32[B, H, W, C], Gates) -> logits[B, classes]`.

        Args:
          rngs: for the initial weights.
          axis_name: replica axis over which batch statistics are averaged, if any.
          rematerialise: keep less for the backward pass and compute it again instead.
        """

    @abc.abstractmethod
    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        """Returns the stand-alone network: `float32[B, H, W, C] -> logits[B, classes]`.

        A network that is trained by more than its own loss, or with chance, has a method
        `in_training(images, keys, progress)`, which training calls in place of the network: `keys`
        are random, one for each image, and `progress` (`float32[]`) is the share of the training
        that is done. It returns pairs of a factor and logits, the network's own first, whose
        losses are added.

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

    def scores(self, supernet: nnx.Module) -> jax.Array | None:
        """Returns what the weights themselves say for each option, `float32[D, K]`, if anything.

        A search then learns thresholds: an option's logit is its score less its threshold.

        Args:
          supernet: as `supernet` returns it.
        """
        del supernet
        return None

    @abc.abstractmethod
    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the architecture in the space's customary notation."""

    @abc.abstractmethod
    def from_string(self, text: str) -> np.ndarray:
        """Returns the architecture `int32[D]` of a string; raises UserError when malformed."""

    @property
    def spec(self) -> dict[str, Any]:
        """What `hwnas_jax.spaces.from_spec` needs to rebuild the space; plain JSON values."""
        return {
            "name": self.registered_as or self.name,
            "args": dict(self.args),
            "input_shape": list(self.input_shape),
            "num_outputs": self.num_outputs,
            **self._off_spec,
        }
