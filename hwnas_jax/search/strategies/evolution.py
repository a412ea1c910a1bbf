"""Regularised evolution: a queue of architectures in which the oldest dies.

Legend: `n` architectures a round, `Q` places of the queue, `D` decisions, `K` options.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge

from hwnas_jax.errors import UserError
from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Strategy, Told, fitness
from hwnas_jax.search.strategies.moves import (
    Options,
    mutated,
    options_of,
    random_architectures,
    within_budget,
)


class Queue(NamedTuple):
    """The population, with what is needed to go on.

    Attributes:
      options: of every decision.
      architectures: `int32[Q, D]`; the one told as number `i` stands in row `i` modulo `Q` until
        it is overwritten, so that every one stays for just `Q` evaluations.
      fitness: `float32[Q]`, what each is ranked by.
      seen: `int32[]`, architectures told so far.
    """

    options: Options
    architectures: jax.Array
    fitness: jax.Array
    seen: jax.Array


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class RegularisedEvolution(Strategy):
    """Changes one decision of the best of a few, drawn from a queue whose oldest member dies.

    The first `population` architectures are random. Then each round draws `sample` members of the
    queue, with repetition, and the fittest of them becomes a parent. The child differs from it in
    one decision and takes the place of the oldest member, however good that one is: what was told
    once by luck is forgotten, and only what its children confirm stays. An architecture that is
    predicted to be over the budget is drawn again before it is evaluated, up to `tries` times.

    References: Real et al., "Regularized Evolution for Image Classifier Architecture Search",
    AAAI 2019. The defaults are those of Dong and Yang, "NAS-Bench-201", ICLR 2020.
    """

    name = "evolution"
    summary = "regularised evolution: mutates the best of a sample, the oldest dies"

    population: Annotated[int, Ge(1)] = 10
    """places of the queue; as many architectures are drawn at random to begin with"""
    sample: Annotated[int, Ge(1)] = 3
    """members drawn from the queue for each child; the fittest is its parent"""
    each: Annotated[int, Ge(1)] = 1
    """children a round asks for, all with parents from the queue as it is before the round"""
    tries: Annotated[int, Ge(1)] = 8
    """draws for each; the first that is predicted to keep the budget is asked for"""

    def __post_init__(self):
        if self.each > self.population:
            raise UserError(
                f"strategy evolution: each = {self.each} children a round do not fit into a "
                f"population of {self.population}; each may be at most that"
            )

    @property
    def initial(self) -> int:
        """As many as the queue has places."""
        return self.population

    def init(self, key: jax.Array, mask: jax.Array) -> Queue:
        """Returns an empty queue."""
        del key
        return Queue(
            options=options_of(mask),
            architectures=jnp.zeros((self.population, len(mask)), jnp.int32),
            fitness=jnp.full(self.population, -jnp.inf, jnp.float32),
            seen=jnp.zeros((), jnp.int32),
        )

    def ask(self, state: Queue, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`: random ones until the queue has been filled, then children."""

        def start(key):
            return random_architectures(key, state.options, 1)[0]

        def starts(key):
            return within_budget(key, ahead, start, self.each, self.tries)

        def children(key):
            return within_budget(
                key, ahead, lambda key: self._child(state, key), self.each, self.tries
            )

        def both(key):
            start_key, child_key = jax.random.split(key)
            is_first = state.seen + jnp.arange(self.each) < self.population
            return jnp.where(is_first[:, None], starts(start_key), children(child_key))

        first = starts if self.population % self.each == 0 else both
        return jax.lax.cond(state.seen < self.population, first, children, key)

    def _child(self, state: Queue, key: jax.Array) -> jax.Array:
        sample_key, mutation_key = jax.random.split(key)
        held = jnp.clip(state.seen, 1, self.population)
        members = jnp.floor(jax.random.uniform(sample_key, (self.sample,)) * held).astype(jnp.int32)
        parent = members[jnp.argmax(state.fitness[members])]
        return mutated(mutation_key, state.architectures[parent], state.options)

    def tell(self, state: Queue, architectures: jax.Array, told: Told) -> Queue:
        """Returns the queue with the new architectures in the places of the oldest."""
        places = (state.seen + jnp.arange(self.each)) % self.population
        return state._replace(
            architectures=state.architectures.at[places].set(architectures),
            fitness=state.fitness.at[places].set(fitness(told)),
            seen=state.seen + self.each,
        )
