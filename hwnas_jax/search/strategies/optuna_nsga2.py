"""The genetic algorithm NSGA-II of Optuna.

Legend: `P` architectures of the population, `n` architectures a round, `D` decisions.
"""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Told
from hwnas_jax.search.strategies.nsga2 import NSGA2, Generation
from hwnas_jax.search.strategies.optuna_search import Known, OptunaSearch
from hwnas_jax.search.strategies.optuna_study import (
    Decisions,
    Records,
    load_optuna,
    records_of,
    study_of,
)

if TYPE_CHECKING:
    import optuna


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class OptunaNSGA2(OptunaSearch, NSGA2):
    """Keeps the best fronts of score and cost, and crosses and changes their members.

    The first `population` architectures are random. Optuna's selection then takes the next parents
    from the parents and as many children, and its crossover and mutation make new children. The
    state holds one generation, whose parents are all that Optuna is told. With a storage, the
    generations are counted over all processes, in the order in which evaluations were finished.

    References: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
    Transactions on Evolutionary Computation 2002. The sampler is Optuna's `NSGAIISampler`, whose
    population is 50; it is smaller here because the evaluations of a search are few.
    """

    name = "optuna_nsga2"
    summary = "Optuna's NSGA-II: keeps the front of score and cost, crosses and changes its members"
    objectives = 2

    swapping: Annotated[float, Ge(0), Le(1)] = 0.5
    """probability that a mixed child takes a decision from its second parent"""

    def sampler(self, seed: int) -> "optuna.samplers.NSGAIISampler":
        """Returns Optuna's `NSGAIISampler`, to which all that was told are parents."""
        optuna = load_optuna()

        class Parents(optuna.samplers.NSGAIISampler):  # type: ignore[name-defined,misc]
            """Optuna finds parents by notes in a study; here the study holds nothing else."""

            def get_trial_generation(self, study, trial):
                return 1

            def get_population(self, study, generation):
                finished = (optuna.trial.TrialState.COMPLETE,)
                return study.get_trials(deepcopy=False, states=finished)

            def get_parent_population(self, study, generation):
                every = self.get_population(study, generation) if generation else []
                return every if len(every) > 1 else []

        return Parents(
            population_size=self.population,
            crossover_prob=self.crossover,
            swapping_prob=self.swapping,
            mutation_prob=self.mutation,
            seed=seed,
        )

    def selected(self, records: Records, decisions: Decisions) -> np.ndarray:
        """Returns which of the judged architectures are the next parents, at most `P`; `int[...]`.

        Optuna draws nothing for it.
        """
        sampler = self.sampler(0)
        study = study_of(decisions, records, sampler, self.objectives)
        chosen = sampler.select_parent(study, 1)
        return np.array([trial.number for trial in chosen], int)

    def learned_from(self, records: Records, decisions: Decisions) -> Records:
        """Returns the parents of the present generation, by all that is in the storage."""
        number = len(records.score) - len(records.score) % self.population
        parents = np.zeros(0, int)
        for start in range(0, number, self.population):
            pool = np.concatenate([parents, np.arange(start, start + self.population)])
            parents = pool[self.selected(records.rows(pool), decisions)]
        return records.rows(parents)

    def ask(self, state: Generation, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`: random ones until there are parents, then children."""
        if self.storage:
            return self.children(state, key, ahead)
        return NSGA2.ask(self, state, key, ahead)

    def children(self, state: Generation, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns what Optuna makes of the parents, `int32[each, D]`."""
        filled = (state.architectures >= 0).all(axis=1)
        is_parent = jnp.arange(len(filled)) < self.population
        known = Known(state.architectures, state.told, filled, filled & is_parent, state.seen)
        return self.suggest(key, state.mask, known, ahead)

    def tell(self, state: Generation, architectures: jax.Array, told: Told) -> Generation:
        """Returns the generation with more children, or the next one when these are all."""
        seen = self.recorded(state.mask, state.seen, architectures, told)
        return NSGA2.tell(self, state, architectures, told)._replace(seen=seen)

    def survivors(self, state: Generation) -> jax.Array:
        """Returns which rows of parents and children Optuna selects, `int32[P]`."""

        def select(mask, rows, told):
            filled = np.flatnonzero((rows >= 0).all(axis=1))
            told = Told(*(leaf[filled] for leaf in told))
            judged = np.isfinite(told).all(axis=0)
            every = np.ones(len(filled), bool)
            records = records_of(rows[filled], *told, every, every)
            chosen = np.flatnonzero(judged)[self.selected(records, Decisions.of(mask))]
            # What could not be judged fills up what is left.
            order = np.concatenate([chosen, np.delete(np.arange(len(filled)), chosen)])
            return filled[order[: self.population]].astype(np.int32)

        shape = jax.ShapeDtypeStruct((self.population,), jnp.int32)
        return self._host(select, shape, state.mask, state.architectures, state.told)
