"""Search by a surrogate for the whole front of score and cost.

Legend: `n` architectures a round, `P` candidates, `M` remembered ones, `D` decisions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Outlook
from hwnas_jax.search.strategies.infill import Points, hypervolume_improvement
from hwnas_jax.search.strategies.memory import Memory, most_promising, targets_of
from hwnas_jax.search.strategies.moves import pick
from hwnas_jax.search.strategies.nsga2 import dominates, known
from hwnas_jax.search.strategies.pool import PoolSearch

_MARGIN = 0.1


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class FrontSurrogate(PoolSearch):
    """Fits a predictor to all that is known and asks for what it expects to move the front most.

    The score is predicted; the cost of a candidate is known, as the cost model says it. Each round
    fits the predictor, forms a pool of candidates, and asks for those that are expected to add most
    to the area under the front, the hypervolume of two objectives. Those of one round are chosen in
    turn, each as if the ones before had come out as predicted, so that they spread. One half of the
    pool is drawn uniformly, the other consists of members of the front with a few changes. The
    worst corner of the area has the lowest score that is known, and costs a tenth of the range more
    than the dearest network.

    References: Emmerich, Deutz and Klinkenberg, "Hypervolume-Based Expected Improvement:
    Monotonicity Properties and Exact Computation", CEC 2011; Ginsbourger, Le Riche and Carraro,
    "Kriging Is Well-Suited to Parallelize Optimization", 2010, for choosing several at once.
    """

    name = "front_surrogate"
    summary = "a predictor of accuracy chooses what moves the front of score and cost most"

    predictor: str = "ridge"
    """what learns: ridge, gaussian, ensemble, ranker, or your own: my_predictor.py:MyPredictor"""

    def choose(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`, what is expected to move the front most."""
        fit_key, parent_key, pool_key = jax.random.split(key, 3)
        targets, _ = targets_of(state, self.targets)
        before = ahead(state.architectures)
        fitted = self.learner.fit(fit_key, before.features, targets, state.known)
        front = jnp.broadcast_to(on_front(state), (self.pool // 2, self.memory))
        parents = state.architectures[pick(parent_key, front)]
        pool = self.candidates(state, pool_key, ahead, parents)
        outlook = ahead(pool)
        mean, std = self.learner.predict(fitted, outlook.features)
        points, cost = self._points(state, targets, outlook)

        def take(carry, place):
            points, excess = carry
            value = hypervolume_improvement(mean, std, cost, points)
            (row,) = most_promising(
                value, excess, outlook.features, before.features, state.filled, 1
            )
            points = points._replace(
                cost=points.cost.at[place].set(cost[row]),
                score=points.score.at[place].set(mean[row]),
                counts=points.counts.at[place].set(excess[row] <= 0),
            )
            same = (outlook.features == outlook.features[row]).all(axis=1)
            return (points, jnp.where(same, jnp.inf, excess)), row

        places = self.memory + jnp.arange(self.each)
        return pool[jax.lax.scan(take, (points, outlook.excess), places)[1]]

    def _points(
        self, state: Memory, targets: jax.Array, outlook: Outlook
    ) -> tuple[Points, jax.Array]:
        """Returns what is known, with room for a round, and the costs of the candidates.

        Costs are shares of the range of all that keep the budget, so that areas are about one.
        """
        inside = state.known & (state.told.excess <= 0)
        counts = jnp.concatenate([inside, outlook.excess <= 0])
        costs = jnp.concatenate([state.told.cost, outlook.cost])
        lowest = jnp.where(counts, costs, jnp.inf).min()
        highest = jnp.where(counts, costs, -jnp.inf).max()
        costs = (costs - lowest) / jnp.where(highest > lowest, highest - lowest, 1.0)
        room, none = jnp.zeros(self.each), jnp.zeros(self.each, bool)
        points = Points(
            cost=jnp.concatenate([costs[: self.memory], room]),
            score=jnp.concatenate([targets, room]),
            counts=jnp.concatenate([inside, none]),
            most=jnp.float32(1 + _MARGIN),
            least=jnp.where(state.known, targets, jnp.inf).min(),
        )
        return points, costs[self.memory :]


def on_front(state: Memory) -> jax.Array:
    """Returns which remembered architectures no other dominates, `bool[M]`.

    While none keeps the budget they are those nearest to it.
    """
    told = jax.tree.map(lambda leaf: jnp.where(state.known, leaf, jnp.nan), state.told)
    return state.known & ~dominates(known(told)).any(axis=0)
