"""What searches by Optuna's samplers have in common.

Legend: `M` architectures of a strategy's state, `n` architectures a round, `T` suggestions for
each, `D` decisions.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from jax.experimental import io_callback

from hwnas_jax.search.strategies.base import Ahead, Strategy, Told
from hwnas_jax.search.strategies.optuna_storage import SharedStudy
from hwnas_jax.search.strategies.optuna_study import (
    Decisions,
    Records,
    first_suggestions,
    further_suggestions,
    load_optuna,
    number_of_further,
    records_of,
    study_of,
)

if TYPE_CHECKING:
    import optuna


class Known(NamedTuple):
    """What a strategy's state remembers, in the order in which it was told.

    Attributes:
      architectures: `int32[M, D]`.
      told: what was told of each, leaves `float32[M]`.
      filled: `bool[M]`, which rows there are.
      learned: `bool[M]`, of which of them a sampler is told.
      seen: `int32[]`, architectures told so far.
    """

    architectures: jax.Array
    told: Told
    filled: jax.Array
    learned: jax.Array
    seen: jax.Array


@dataclasses.dataclass(frozen=True)
class OptunaSearch(Strategy):
    """Asks for what a sampler of Optuna suggests.

    The compiled program calls the host in every round. There a study in memory is made of what the
    state remembers, and a sampler that the random key has seeded is asked. The search is therefore
    decided by its key alone, and continues to the bit after a stop. A suggestion that was told
    before, or is predicted to be over the budget, is replaced by the first of several others that
    is neither.

    With a `storage` many processes, on one machine or on several, search together: whatever one was
    told is written there, and all ask a sampler that knows all of it, what others are evaluating at
    that time among it. Such a search depends on who was first, so that no seed repeats it.

    A subclass says which sampler it is, and what its state remembers.

    References: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework",
    KDD 2019.
    """

    objectives: ClassVar[int] = 1
    """one for the score alone, two for the score and the cost"""

    tries: Annotated[int, Ge(1)] = 8
    """suggestions for each; the first that is new and predicted to keep the budget is asked for.
    Where there is none, changes of them are tried"""
    storage: str = ""
    """where processes share what they were told: the URL of a database, or the path of a journal
    file; by default nothing is shared. With it, no seed repeats a search"""
    study: str = ""
    """names what is shared in the storage; by default the name of the search's space, data,
    evaluator and budget"""

    @property
    def reproducible(self) -> bool:
        """Whether nothing is shared."""
        return not self.storage

    def named(self, search: str) -> Self:
        """Returns the same with the name of a search for its study, where it has none."""
        given = self.study or not self.storage
        return self if given else dataclasses.replace(self, study=f"{self.name} {search}")

    @abc.abstractmethod
    def sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        """Returns a new sampler."""

    def needs(self) -> None:
        """Raises UserError when a package is missing; a subclass adds its own."""
        load_optuna()

    def learned_from(self, records: Records, decisions: Decisions) -> Records:
        """Returns what the sampler is told of everything in the storage; all of it by default."""
        del decisions
        return records

    @functools.cached_property
    def shared(self) -> SharedStudy:
        """The study in the storage."""
        return SharedStudy(self.storage, self.study or self.name, self.objectives)

    def check(self, mask: np.ndarray) -> None:
        """Checks the packages and the storage.

        Raises:
          UserError: when a package is missing, or the storage or the study cannot be used.
        """
        self.needs()
        if self.storage:
            self.shared.check(Decisions.of(mask))

    def suggest(self, key: jax.Array, mask: jax.Array, known: Known, ahead: Ahead) -> jax.Array:
        """Returns new architectures within the budget, as the sampler suggests them.

        Args:
          key: random key.
          mask: `bool[D, K]`.
          known: what was told; where there is a storage, its own records take the place of it.
          ahead: says which architectures keep the budget.

        Returns:
          `int32[each, D]`.
        """
        self.needs()
        first_seed, other_seed = jax.random.bits(key, (2,), jnp.uint32)
        further = number_of_further(self.tries)
        own, more = (self.each, len(mask)), (self.each, further, len(mask))
        first, is_new = self._host(self._first, _shapes(own), first_seed, mask, known)
        fits = is_new & (ahead(first).excess <= 0)
        others, others_new = self._host(
            self._others, _shapes(more), other_seed, mask, known, first, fits
        )
        candidates = jnp.concatenate([first[:, None], others], axis=1)
        is_new = jnp.concatenate([is_new[:, None], others_new], axis=1)
        excess = ahead(candidates.reshape(-1, len(mask))).excess.reshape(is_new.shape)
        chosen = _first_that_fits(candidates, jnp.where(is_new, excess, jnp.inf))
        return self._claimed(mask, chosen) if self.storage else chosen

    def _host(self, function: Callable, shapes: Any, *inputs: Any) -> Any:
        def call(*inputs):
            return function(*jax.tree.map(np.asarray, inputs))

        if self.storage:
            return io_callback(call, shapes, *inputs)
        return jax.pure_callback(call, shapes, *inputs, vmap_method="sequential")

    def _records(self, decisions: Decisions, known: Known) -> Records:
        """Returns what is known, on the host: by the storage, or by the state."""
        if self.storage:
            return self.learned_from(self.shared.records(decisions), decisions)
        rows, told, filled, learned, _ = jax.tree.map(np.asarray, known)
        return records_of(rows, told.score, told.excess, told.cost, filled, learned)

    def _first(self, seed, mask, known):
        decisions = Decisions.of(mask)
        records = self._records(decisions, known)
        study = self._study(decisions, records, seed)
        return first_suggestions(study, decisions, records, self.each)

    def _others(self, seed, mask, known, first, fits):
        decisions = Decisions.of(mask)
        rows = np.repeat(first[:, None], number_of_further(self.tries), axis=1)
        new = np.zeros(rows.shape[:2], bool)
        if fits.all():
            return rows, new
        records = self._records(decisions, known)
        records = records._replace(running=np.concatenate([records.running, first[fits]]))
        study = self._study(decisions, records, seed)
        rng = np.random.default_rng(None if self.storage else int(seed))
        for place in np.flatnonzero(~fits):
            rows[place], new[place] = further_suggestions(
                study, decisions, records, first[place], self.tries, rng
            )
        return rows, new

    def _study(self, decisions, records, seed):
        # Two processes with one seed must not ask for the same.
        seed = np.random.SeedSequence().generate_state(1)[0] if self.storage else seed
        return study_of(decisions, records, self.sampler(int(seed)), self.objectives)

    def _claimed(self, mask, chosen):
        def claim(mask, rows):
            self.shared.claim(Decisions.of(mask), rows)
            return rows

        return self._host(claim, jax.ShapeDtypeStruct(chosen.shape, jnp.int32), mask, chosen)

    def recorded(
        self, mask: jax.Array, seen: jax.Array, architectures: jax.Array, told: Told
    ) -> jax.Array:
        """Writes what was told to the storage, where there is one.

        Args:
          mask: `bool[D, K]`.
          seen: `int32[]`, architectures told before.
          architectures: `int32[n, D]`.
          told: what was told of them.

        Returns:
          `int32[]`, architectures told so far. The next round depends on it, so that it cannot
          begin before this has been written.
        """
        seen = seen + len(architectures)
        if not self.storage:
            return seen

        def write(mask, seen, rows, told):
            every = np.ones(len(rows), bool)
            self.shared.record(Decisions.of(mask), records_of(rows, *told, every, every))
            return seen

        shape = jax.ShapeDtypeStruct((), jnp.int32)
        return self._host(write, shape, mask, seen, architectures, told)


def _shapes(shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Returns the shapes of architectures, and of whether each is new."""
    return jax.ShapeDtypeStruct(shape, jnp.int32), jax.ShapeDtypeStruct(shape[:-1], jnp.bool_)


def _first_that_fits(candidates: jax.Array, excess: jax.Array) -> jax.Array:
    """Returns one candidate of each row, `int32[n, D]`: the first that keeps the budget.

    Where none does, the one that exceeds it least is taken. No two rows take equal candidates while
    there are others.

    Args:
      candidates: `int32[n, T, D]`.
      excess: `float32[n, T]`, infinite for what is not new.
    """

    def take(taken, row):
        number, own, over = row
        double = (own[:, None] == taken).all(axis=-1).any(axis=1)
        choice = own[jnp.argmin(jnp.where(double, jnp.inf, jnp.maximum(over, 0)))]
        return taken.at[number].set(choice), choice

    none = jnp.full((candidates.shape[0], candidates.shape[2]), -1, jnp.int32)
    return jax.lax.scan(take, none, (jnp.arange(len(candidates)), candidates, excess))[1]
