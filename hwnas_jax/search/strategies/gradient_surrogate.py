"""Search on a differentiable surrogate: gradients climb it under the budget.

Legend: `n` architectures a round, `S` starts, `D` decisions, `K` options.
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt

from hwnas_jax.search.expected_cost import expectation
from hwnas_jax.search.predictors.interactions import (
    FittedInteractions,
    expected_score,
    fit_interactions,
    predict_interactions,
)
from hwnas_jax.search.strategies.assisted import AssistedSearch
from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, SoftAhead
from hwnas_jax.search.strategies.infill import expected_improvement
from hwnas_jax.search.strategies.memory import Memory, fittest, most_promising, targets_of
from hwnas_jax.search.strategies.moves import mutated, random_architectures

_CLOSED = -1e9
_START = 2.0
_COLDEST = 0.1
_DRAWS = 2


def expected_excess(ahead: Ahead, key: jax.Array, share: jax.Array) -> jax.Array:
    """Returns how far an architecture that is drawn lies over the budget, `float32[]`.

    It is differentiable in the probabilities. Where `ahead` knows expected costs, these are held
    against the budget. Otherwise it is the mean excess of a few drawn architectures, whose value
    and gradient are unbiased.

    Args:
      ahead: what is known before an evaluation.
      key: for the draws.
      share: `float32[D, K]`, the probabilities of the options.
    """
    if isinstance(ahead, SoftAhead):
        return ahead.expected(key, share)

    def excess(weight):
        found = ahead(jnp.argmax(weight, axis=1).astype(jnp.int32)[None]).excess[0]
        return jnp.minimum(found, 1.0)  # what is no member of the space must stay finite

    return expectation(excess, key, share, _DRAWS)


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class GradientSurrogate(AssistedSearch):
    """Climbs a predictor of accuracy by gradients, held by a price on the budget.

    The predictor is a Gaussian process over single decisions, pairs and triples. Its mean at
    probabilities is the expected score of a drawn architecture, without error, and the cost model
    says what that one costs. Each round fits it to all that is known. From many starts at once,
    near the best architectures so far and anywhere, Adam raises the expected score minus a price
    times the excess over the budget; the price of each start rises while it is over the budget
    (dual ascent), and the temperature of the probabilities falls, since a mixture can spend the
    budget on average with architectures that do not keep it. The candidates are the most probable
    architecture at the end of each climb, changes of it, a few that are drawn there, and some that
    are drawn anywhere. Those with the greatest expected improvement that keep the budget are asked
    for.

    The idea is that of differentiable search on a surrogate; Luo et al., "Neural Architecture
    Optimization", NeurIPS 2018, climb a learned embedding instead of probabilities.
    """

    name = "gradient_surrogate"
    summary = "gradients climb a predictor of accuracy under the budget, from many starts"

    starts: Annotated[int, Ge(2)] = 16
    """places to climb from, half of them near the best architectures so far"""
    steps: Annotated[int, Ge(1)] = 60
    """of Adam from every start"""
    learning_rate: Annotated[float, Gt(0)] = 0.2
    """of Adam, on the logits"""
    price_rate: Annotated[float, Gt(0)] = 5.0
    """by how much the price of the budget rises in a step, for an excess of one whole budget"""
    neighbours: Annotated[int, Ge(0)] = 5
    """changes of the most probable architecture at the end of a climb, candidates beside it"""
    draws: Annotated[int, Ge(0)] = 5
    """architectures drawn from the probabilities at the end of a climb, likewise"""
    targets: Literal["scores", "ranks"] = "ranks"
    """what is predicted: scores, or the normal quantiles of their ranks"""

    def choose(self, state: Memory, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`, the most promising of what was climbed to."""
        start_key, climb_key, end_key, random_key = jax.random.split(key, 4)
        targets, best = targets_of(state, self.targets)
        options = state.mask.shape[1]
        rows = jax.nn.one_hot(state.architectures, options, dtype=jnp.float32)
        fitted = fit_interactions(rows, targets, state.known)
        ends = self.climb(fitted, self._starts(state, start_key), climb_key, state.mask, ahead)
        # Where none of the climbs ended within the budget, a random one may keep it.
        drawn = self.random(random_key, state, ahead, self.starts)
        pool = jnp.concatenate([self.candidates(ends, end_key, state.mask), drawn])
        mean, std = predict_interactions(fitted, jax.nn.one_hot(pool, options, dtype=jnp.float32))
        known, outlook = ahead(state.architectures), ahead(pool)
        value = expected_improvement(mean, std, best)
        found = most_promising(
            value, outlook.excess, outlook.features, known.features, state.filled, self.each
        )
        return pool[found]

    def climb(
        self, fitted: FittedInteractions, starts: jax.Array, key: jax.Array, mask: jax.Array,
        ahead: Ahead,
    ) -> jax.Array:  # fmt: skip
        """Returns the probabilities of the options at the end of every climb, `float32[S, D, K]`.

        Args:
          fitted: the predictor.
          starts: `float32[S, D, K]`, logits.
          key: random key.
          mask: `bool[D, K]`, true where an option exists.
          ahead: says what drawn architectures cost.
        """
        optimizer = optax.adam(self.learning_rate)
        temperatures = jnp.geomspace(1.0, _COLDEST, self.steps)

        def loss(logits, price, temperature, key):
            share = jax.nn.softmax(jnp.where(mask, logits, _CLOSED) / temperature, axis=1)
            excess = expected_excess(ahead, key, share)
            return price * excess - expected_score(fitted, share), excess

        def one(logits, key):
            def step(carry, now):
                logits, price, state = carry
                gradient, excess = jax.grad(loss, has_aux=True)(logits, price, *now)
                updates, state = optimizer.update(gradient, state)
                logits = optax.apply_updates(logits, updates)
                return (logits, price + self.price_rate * excess, state), None

            begin = logits, jnp.ones(()), optimizer.init(logits)
            schedule = temperatures, jax.random.split(key, self.steps)
            end = jax.lax.scan(step, begin, schedule)[0][0]
            return jax.nn.softmax(jnp.where(mask, end, _CLOSED) / _COLDEST, axis=1)

        return jax.vmap(one)(starts, jax.random.split(key, self.starts))

    def candidates(self, ends: jax.Array, key: jax.Array, mask: jax.Array) -> jax.Array:
        """Returns the most probable architectures, drawn ones and changes, `int32[P, D]`.

        Args:
          ends: `float32[S, D, K]`, the probabilities at the end of every climb.
          key: random key.
          mask: `bool[D, K]`, true where an option exists.
        """
        draw_key, change_key = jax.random.split(key)
        likely = jnp.argmax(ends, axis=-1).astype(jnp.int32)
        shape = (self.draws, *likely.shape)
        drawn = jax.random.categorical(draw_key, jnp.log(ends), axis=-1, shape=shape)
        keys = jax.random.split(change_key, (self.neighbours, len(likely)))
        change = jax.vmap(jax.vmap(mutated, (0, 0, None)), (0, None, None))
        every = [likely[None], drawn.astype(jnp.int32), change(keys, likely, mask)]
        return jnp.concatenate(every).reshape(-1, likely.shape[1])

    def _starts(self, state: Memory, key: jax.Array) -> jax.Array:
        """Returns logits near the best architectures, and near random ones, `float32[S, D, K]`."""
        drawn_key, noise_key = jax.random.split(key)
        near = self.starts // 2
        best = state.architectures[fittest(state, near)]
        drawn = random_architectures(drawn_key, state.mask, self.starts - near)
        rows = jax.nn.one_hot(jnp.concatenate([best, drawn]), state.mask.shape[1])
        return _START * rows + jax.random.normal(noise_key, rows.shape)
