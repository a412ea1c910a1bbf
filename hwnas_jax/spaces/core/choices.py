"""Decisions and their options: what a search space is before anything is built.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision, `G` decisions of a
group, `P` forms of a group, `S` statistics.
"""

import copy
import dataclasses
import fnmatch
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError, choose, shortened, shown
from hwnas_jax.spaces.core.spellings import option_called

_DRAWS = 1000
_LISTED = 2**20
_AROUND, _ALONE = 16, 512
"""Characters around the option of a decision, and those of a string that belong to no decision."""

_Read = TypeVar("_Read", bound=Callable[..., np.ndarray])


def of_fitting_length(read: _Read) -> _Read:
    """Returns a `from_string` that refuses texts longer than any architecture's string."""

    @functools.wraps(read)
    def bounded(space: "Choices", text: str) -> np.ndarray:
        if len(text) > space.longest_string:
            raise UserError(
                f"{shown(text)} has {len(text)} characters, more than any architecture of "
                f"{space.name}"
            )
        return read(space, text)

    return bounded  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class Decision:
    """One choice: a name and the names of its options."""

    name: str
    options: tuple[str, ...]


class Forms(NamedTuple):
    """How the canonical form of some decisions is distributed when the options are drawn.

    Take any function `f` of the gates of these decisions that is linear in every row. Its
    expectation over the canonical forms is `sum(coefficient[p] * f(rows[p]))`.

    Attributes:
      decisions: `int[G]`, the decisions that this describes.
      coefficient: `float32[P]`, the coefficient of each form.
      rows: `float32[P, G, K]`; a row may sum to less than one.
    """

    decisions: np.ndarray
    coefficient: jax.Array
    rows: jax.Array


class Choices:
    """Decisions and their options: what cost models and tables know of a search space.

    Published tables cover spaces that this package does not build. Those are plain `Choices`.
    What a space can do beyond this is declared by attributes and methods that have a default here.

    Attributes:
      name: the name in the registry, or what the table calls the space.
      decisions: the decisions of an architecture, in order.
      off: the options that are switched off, by decision; see `restricted`.
      spec: a description from which the space can be rebuilt; plain JSON values.
      constrained: whether some combinations of options are not members of the space, so that
        `feasible` is overridden.
      mixes_canonical: whether architectures have canonical forms whose distribution
        `canonical_mixture` knows, so that it is overridden.
    """

    name: str
    decisions: tuple[Decision, ...]
    off: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})
    constrained: ClassVar[bool] = False
    mixes_canonical: bool = False

    def __init_subclass__(cls, **more: Any):
        """Gives the `from_string` of a subclass only texts that are not too long for the space."""
        super().__init_subclass__(**more)
        if "from_string" in cls.__dict__:
            cls.from_string = of_fitting_length(cls.from_string)  # type: ignore[method-assign]

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
        """The number of architectures.

        In a constrained space the members are listed and counted. If there are too many
        combinations to list, this is the number of combinations.
        """
        every = math.prod(self.mask.sum(axis=1).tolist())
        return len(self.enumerate()) if self.constrained and every <= _LISTED else every

    @property
    def mask(self) -> np.ndarray:
        """`bool[D, K]`, true where an option exists and is not switched off."""
        mask = np.zeros((self.num_decisions, self.num_options), bool)
        for row, decision in zip(mask, self.decisions, strict=True):
            off = self.off.get(decision.name, ())
            row[: len(decision.options)] = [option not in off for option in decision.options]
        return mask

    def restricted(self, off: Mapping[str, Sequence[str]]) -> Self:
        """Returns the space without some options, for a device that runs them badly or not at all.

        Args:
          off: the options to switch off, by decision. Decisions and options may be patterns as in
            `fnmatch`: `"*"`, `"1<-*"`, `"*se*"`.

        Raises:
          UserError: for a pattern that fits nothing, or a decision left without options.
        """
        _check_off(off)
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
        """A description from which the space can be rebuilt; plain JSON values."""
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
        """Returns which architectures (`int32[N, D]`) are members of the space, `bool[N]`.

        By default all are. A relaxation draws decisions independently, so in a `constrained` space
        it may draw a combination that is not a member. The supernet and the operation table then
        stand for the nearest network. Only members are drawn here, listed, measured and derived.
        """
        return np.ones(len(architectures), bool)

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns the architectures (`int32[N, D]`) in a form that equal networks share.

        Two architectures that build the same function have the same form: they may differ in an
        operation whose output reaches nothing. By default every architecture is its own form.
        """
        return architectures

    def used(self, architectures: np.ndarray) -> np.ndarray:
        """Returns the architectures (`int32[N, D]`) without operations whose output nobody reads.

        An operation that only reads zeros stays, unlike in `canonical`: some runtimes leave out
        what nobody reads and still compute on zeros. By default nothing is known to be unread.
        """
        return architectures

    def relations(self, architectures: np.ndarray) -> np.ndarray | None:
        """Returns counts that describe the networks after a compiler has simplified them.

        Counted are operations and pairs of operations that follow one another, that read the same
        value, or whose outputs are added. Before that, identities are skipped and equal operations
        on the same value are merged. Two networks that become equal in this way have equal counts.

        Args:
          architectures: `int32[N, D]`.

        Returns:
          `float64[N, S]`, or None where nothing is known, the default.
        """
        del architectures
        return None

    def describe(self, architectures: jax.Array) -> jax.Array:
        """Returns numbers that a predictor of accuracy can learn from, `float32[N, F]`; pure.

        By default these are the options one-hot. A space that knows more adds it behind the
        options, for instance which paths lead through a cell. Architectures with equal numbers
        count as one for a search that learns from them, so they must build the same network.

        Args:
          architectures: `int32[N, D]`.
        """
        rows = jax.nn.one_hot(architectures, self.num_options, dtype=jnp.float32)
        return rows.reshape(len(architectures), -1)

    def active(self, weight: jax.Array) -> jax.Array:
        """Returns how much of each decision's output reaches the output, `float32[D]`.

        By default all of it does.

        Args:
          weight: `float32[D, K]`.
        """
        return jnp.ones(len(weight))

    def canonical_mixture(self, weight: jax.Array) -> tuple[Forms, ...]:
        """Returns how the canonical form of an architecture drawn from `weight` is distributed.

        Decisions are drawn independently, but the canonical forms of some depend on one another.
        Those share a `Forms`; different `Forms` are independent.

        Args:
          weight: `float32[D, K]`.

        Returns:
          Mixtures in which every decision occurs once.
        """
        return (Forms(np.arange(len(weight)), jnp.ones(1, weight.dtype), weight[None]),)

    def random(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Returns `int32[count, D]` feasible architectures drawn uniformly, with repetition.

        Raises:
          UserError: when a thousand draws for each that is asked for hold too few members.
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
            option = option_called(
                names[decision.name], decision.options, f"option of {decision.name}"
            )
            if option in self.off.get(decision.name, ()):
                raise UserError(f"{option!r} of {decision.name} is switched off by space.off")
            columns.append(decision.options.index(option))
        return np.array(columns, np.int32)

    @property
    def longest_string(self) -> int:
        """How many characters `from_string` reads: more than any architecture's string has."""
        words = sum(
            len(decision.name) + max(map(len, decision.options)) + _AROUND
            for decision in self.decisions
        )
        return words + _ALONE

    def from_numbers(self, numbers: Sequence[int]) -> np.ndarray:
        """Returns the architecture `int32[D]` of the numbers of its options, counted from 0.

        Raises:
          UserError: for too few or too many numbers, or one that no option has.
        """
        if len(numbers) != self.num_decisions:
            raise UserError(
                f"{len(numbers)} numbers of options, an architecture of {self.name} has "
                f"{self.num_decisions} decisions"
            )
        names = {}
        for decision, number in zip(self.decisions, numbers, strict=True):
            if not 0 <= number < len(decision.options):
                raise UserError(
                    f"{decision.name} has the options 0 to {len(decision.options) - 1}, "
                    f"got {shortened(number)}"
                )
            names[decision.name] = decision.options[number]
        return self.from_names(names)

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the architecture in the space's customary notation; options between slashes."""
        return "/".join(self.to_names(architecture).values())

    @of_fitting_length
    def from_string(self, text: str) -> np.ndarray:
        """Returns the architecture `int32[D]` of a string; raises UserError when malformed."""
        options = text.strip().split("/")
        if len(options) != self.num_decisions:
            raise UserError(
                f"{shortened(text)!r} names {len(options)} options, an architecture of "
                f"{self.name} has {self.num_decisions}: "
                f"{'/'.join(decision.name for decision in self.decisions)}"
            )
        names = [decision.name for decision in self.decisions]
        return self.from_names(dict(zip(names, options, strict=True)))

    def check(self, architecture: np.ndarray) -> np.ndarray:
        """Returns `architecture` as `int32[D]`.

        Raises:
          ValueError: when its shape or one of its options does not fit this space.
        """
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


def _check_off(off: Any) -> None:
    fine = isinstance(off, Mapping) and all(
        isinstance(name, str)
        and isinstance(options, list | tuple)
        and all(isinstance(option, str) for option in options)
        for name, options in off.items()
    )
    if not fine:
        raise UserError(
            "space.off gives lists of names by decision, as in "
            f"{{'*': ['avg_pool_3x3']}}; got {shown(off)}"
        )
