"""Successive halving in rounds of one: what strategies of several fidelities share.

Legend: `D` decisions, `K` options of the widest decision, `W` architectures of the widest rung.
"""

import abc
import dataclasses
import functools
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from hwnas_jax.search.strategies.base import Ahead, Strategy, Told, fitness
from hwnas_jax.search.strategies.moves import away_from, random_architectures, within_budget


class Rung(NamedTuple):
    """Architectures that are evaluated at one fidelity.

    Attributes:
      level: how many fidelities below the highest.
      size: how many architectures.
    """

    level: int
    size: int


Bracket = tuple[Rung, ...]
"""Rungs of rising fidelity; each takes the best of the one before."""


def bracket(start: int, eta: int, level: int) -> Bracket:
    """Returns the rungs from `level` up to the highest fidelity.

    Args:
      start: architectures of the first rung.
      eta: the best 1/eta of a rung, rounded down but at least one, go on to the next.
      level: how many fidelities below the highest the first rung is.

    >>> [tuple(rung) for rung in bracket(9, 3, 2)]
    [(2, 9), (1, 3), (0, 1)]
    """
    return tuple(Rung(level - step, max(1, start // eta**step)) for step in range(level + 1))


class Schedule(NamedTuple):
    """What every evaluation of all brackets is, in order; one row for each.

    Attributes:
      level: `int32[T]`, of its rung.
      place: `int32[T]`, in its rung.
      is_new: `bool[T]`, whether its architecture is drawn at random.
      is_last: `bool[T]`, whether it is the last of its rung.
    """

    level: np.ndarray
    place: np.ndarray
    is_new: np.ndarray
    is_last: np.ndarray


class Climbing(NamedTuple):
    """Where the brackets stand.

    Attributes:
      mask: `bool[D, K]`, true where an option exists.
      number: `int32[]`, evaluations told since the brackets began anew.
      architectures: `int32[W, D]`, what this rung has evaluated; negative where nothing yet.
      fitness: `float32[W]`, what each is ranked by.
      promoted: `int32[W, D]`, what the rung before has evaluated, the best first.
    """

    mask: jax.Array
    number: jax.Array
    architectures: jax.Array
    fitness: jax.Array
    promoted: jax.Array


@dataclasses.dataclass(frozen=True)
class Brackets(Strategy):
    """Evaluates many architectures at a low fidelity, and the best of them at higher ones.

    A round asks for one architecture, so that rungs of any size are filled without evaluating an
    architecture twice at one fidelity. After the last bracket the first begins again with new
    random architectures.
    """

    each = 1

    fidelities: Annotated[int, Ge(1)] = 2
    """how many fidelities it uses, the evaluator's highest ones"""
    eta: Annotated[int, Ge(2)] = 3
    """one of so many goes on to the next higher fidelity; best near the ratio of what evaluations
    at neighbouring fidelities take"""
    tries: Annotated[int, Ge(1)] = 16
    """draws for each new architecture; the first that is not in the rung yet and is predicted to
    keep the budget is asked for"""

    @property
    @abc.abstractmethod
    def brackets(self) -> tuple[Bracket, ...]:
        """What is evaluated, in order."""

    @property
    def initial(self) -> int:
        """As many as the first rung has."""
        return self.brackets[0][0].size

    @functools.cached_property
    def schedule(self) -> Schedule:
        """The brackets as one list of evaluations."""
        rows = [
            (rung.level, place, step == 0, place == rung.size - 1)
            for rungs in self.brackets
            for step, rung in enumerate(rungs)
            for place in range(rung.size)
        ]
        level, place, is_new, is_last = (np.array(column) for column in zip(*rows, strict=True))
        return Schedule(level.astype(np.int32), place.astype(np.int32), is_new, is_last)

    def init(self, key: jax.Array, mask: jax.Array) -> Climbing:
        """Returns the brackets before the first evaluation."""
        del key
        widest = max(rung.size for rungs in self.brackets for rung in rungs)
        none = jnp.full((widest, len(mask)), -1, jnp.int32)
        return Climbing(
            mask=mask,
            number=jnp.zeros((), jnp.int32),
            architectures=none,
            fitness=jnp.full(widest, -jnp.inf, jnp.float32),
            promoted=none,
        )

    def ask(self, state: Climbing, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[1, D]`: a random architecture, or the next best of the rung before."""

        def new(key):
            def draw(key):
                return random_architectures(key, state.mask, 1)[0]

            return within_budget(key, away_from(ahead, state.architectures), draw, 1, self.tries)

        def promoted(key):
            del key
            place = jnp.asarray(self.schedule.place)[state.number]
            return jax.lax.dynamic_slice_in_dim(state.promoted, place, 1)

        return jax.lax.cond(jnp.asarray(self.schedule.is_new)[state.number], new, promoted, key)

    def fidelity(self, state: Climbing) -> jax.Array:
        """Returns the level of the rung."""
        return jnp.asarray(self.schedule.level)[state.number]

    def tell(self, state: Climbing, architectures: jax.Array, told: Told) -> Climbing:
        """Returns the rung with one more architecture, or the next rung when it is full."""
        place = jnp.asarray(self.schedule.place)[state.number]
        rows = jax.lax.dynamic_update_slice_in_dim(state.architectures, architectures, place, 0)
        rank = jax.lax.dynamic_update_slice_in_dim(state.fitness, fitness(told), place, 0)
        state = state._replace(architectures=rows, fitness=rank)

        def next_rung(full):
            return full._replace(
                architectures=jnp.full_like(full.architectures, -1),
                fitness=jnp.full_like(full.fitness, -jnp.inf),
                promoted=full.architectures[jnp.argsort(-full.fitness)],
            )

        is_last = jnp.asarray(self.schedule.is_last)[state.number]
        number = (state.number + 1) % len(self.schedule.level)
        state = jax.lax.cond(is_last, next_rung, lambda same: same, state)
        return state._replace(number=number)
