"""REINFORCE: a policy that makes what was better than expected more probable.

Legend: `n` architectures a round, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, Lt

from hwnas_jax.search.strategies.base import STRATEGIES, Ahead, Strategy, Told
from hwnas_jax.search.strategies.moves import within_budget


class Policy(NamedTuple):
    """What the policy knows.

    Attributes:
      mask: `bool[D, K]`, true where an option exists.
      logits: `float32[D, K]`, of independent decisions.
      optimizer: Adam's state.
      rewards: `float32[]`, decaying sum of the mean rewards of the rounds.
      weights: `float32[]`, the same sum of ones, so that their ratio is the baseline.
    """

    mask: jax.Array
    logits: jax.Array
    optimizer: Any
    rewards: jax.Array
    weights: jax.Array


@STRATEGIES.add
@dataclasses.dataclass(frozen=True)
class ReinforceSearch(Strategy):
    """Draws every decision from a distribution of its own and follows the score-function gradient.

    The reward of an architecture is its score, less `penalty` times the share by which it exceeds
    the budget; what exceeds it by more than its whole counts as twice the budget. The gradient of
    the log-probability of an architecture is weighted by its reward less the baseline, which is a
    moving average of the rewards up to and including this round. An architecture that cannot be
    judged gets the baseline as its score and the largest penalty.

    Architectures that are predicted to be over the budget are drawn again up to `tries` times, so
    that those asked for follow the policy within the budget. With a baseline near the mean reward
    the gradient of that distribution is nearly the same, and the policy's own is taken.

    References: Williams, "Simple Statistical Gradient-Following Algorithms", Machine Learning
    1992; the defaults are those of Dong et al., "NATS-Bench", TPAMI 2021, for REINFORCE on the
    cells of NAS-Bench-201. The penalty is that of Bender et al. (TuNAS), CVPR 2020, here of what
    is over the budget alone.
    """

    name = "reinforce"
    summary = "a policy of independent decisions, by the score-function gradient"

    learning_rate: Annotated[float, Gt(0)] = 0.01
    """of Adam"""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """share of the baseline that a round keeps"""
    penalty: Annotated[float, Ge(0)] = 0.1
    """of the share by which an architecture exceeds the budget, in units of the score"""
    entropy: Annotated[float, Ge(0)] = 0.0
    """weight of the mean entropy of the decisions, in units of the score; more explores longer"""
    each: Annotated[int, Ge(1)] = 1
    """architectures a round asks for; their gradients are averaged"""
    tries: Annotated[int, Ge(1)] = 8
    """draws for each; the first that is predicted to keep the budget is asked for"""

    def init(self, key: jax.Array, mask: jax.Array) -> Policy:
        """Returns a policy that is uniform but for small random numbers."""
        logits = 1e-3 * jax.random.normal(key, mask.shape)
        return Policy(
            mask=mask,
            logits=logits,
            optimizer=self._optimizer.init(logits),
            rewards=jnp.zeros((), jnp.float32),
            weights=jnp.zeros((), jnp.float32),
        )

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def ask(self, state: Policy, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns `int32[each, D]`, drawn from the policy within the budget."""
        logits = _masked(state.logits, state.mask)

        def draw(key):
            return jax.random.categorical(key, logits).astype(jnp.int32)

        return within_budget(key, ahead, draw, self.each, self.tries)

    def tell(self, state: Policy, architectures: jax.Array, told: Told) -> Policy:
        """Returns the policy after one step of Adam."""
        unknown = jnp.isnan(told.score) | jnp.isnan(told.excess)
        before = state.rewards / jnp.maximum(state.weights, 1e-9)
        score = jnp.where(unknown, before, told.score)
        excess = jnp.where(unknown, 1.0, jnp.clip(told.excess, 0.0, 1.0))
        reward = score - self.penalty * excess
        rewards = self.momentum * state.rewards + (1 - self.momentum) * reward.mean()
        weights = self.momentum * state.weights + (1 - self.momentum)
        advantage = reward - rewards / weights

        def loss(logits):
            log_share = jax.nn.log_softmax(_masked(logits, state.mask))
            rows = jnp.arange(len(state.mask))
            log_probability = log_share[rows, architectures].sum(axis=-1)
            # A masked option has probability zero, and its logarithm is finite.
            entropy = -(jnp.exp(log_share) * log_share).sum(axis=-1).mean()
            return -(advantage * log_probability).mean() - self.entropy * entropy

        gradient = jax.grad(loss)(state.logits)
        updates, optimizer = self._optimizer.update(gradient, state.optimizer)
        return Policy(
            mask=state.mask,
            logits=optax.apply_updates(state.logits, updates),
            optimizer=optimizer,
            rewards=rewards,
            weights=weights,
        )


def _masked(logits, mask):
    return jnp.where(mask, logits, -1e9)
