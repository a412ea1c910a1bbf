"""Trains single paths of a supernet, each with a weight vector of its own.

Legend: `P` weights of the supernet, `B` examples of a batch.

The program is the supernet with the path as an input, so that one program trains every architecture
of a space. A network that had a program of its own would cost seconds of compiling each.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hwnas_jax.config import WeightsConfig
from hwnas_jax.data.pipeline import Sampler, augment, normalise
from hwnas_jax.relax.base import Gates
from hwnas_jax.search.evaluators.base import Bench, Data
from hwnas_jax.train.optimizers import make_weight_optimizer


class PathState(NamedTuple):
    """What is carried from step to step.

    Attributes:
      weights: `float32[P]`; those off the path mean nothing.
      optimizer: Optax state of the weights.
    """

    weights: jax.Array
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class PathTraining:
    """How single paths are trained: the learning rate falls along a cosine.

    Attributes:
      bench: its `task`, `supernet`, `batch_size` and augmentation are read.
      optimizer: "sgd" or "adamw", as `make_weight_optimizer` takes it.
      learning_rate: at the start.
      learning_rate_end: at the last step.
      weight_decay: of all weights.
      clip_norm: largest norm of a gradient; longer ones are shortened to it.
    """

    bench: Bench
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    learning_rate_end: float = 0.0
    weight_decay: float = 5e-4
    clip_norm: float = 5.0

    @classmethod
    def of(cls, bench: Bench, weights: WeightsConfig) -> "PathTraining":
        """Returns how a config trains weights, but for a learning rate that ends at zero.

        Args:
          bench: as above.
          weights: `search.weights`.
        """
        return cls(
            bench, optimizer=weights.optimizer, learning_rate=weights.learning_rate,
            weight_decay=weights.decay, clip_norm=weights.clip_norm,
        )  # fmt: skip

    def sampler(self, count: int, length: int) -> Sampler:
        """Returns what deals `count` examples to calls of `length` steps.

        Raises:
          UserError: when a batch has more examples than there are.
        """
        return Sampler(count, self.bench.batch_size, length)

    def init(self, key: jax.Array, weights: jax.Array | None = None) -> PathState:
        """Returns the state before the first step.

        Args:
          key: of the initial weights, the order of batches and the augmentation. Architectures
            that are given the same key are trained on equal terms.
          weights: `float32[P]` to begin with; new ones are drawn when left out.
        """
        assert self.bench.supernet is not None
        if weights is None:
            weights = self.bench.supernet.init(jax.random.split(key, 3)[0])
        return PathState(weights, self._optimizer(1, 1.0).init(weights))

    def steps(
        self,
        state: PathState,
        data: Data,
        gates: Gates,
        key: jax.Array,
        *,
        first: jax.Array | int,
        length: int,
        total: jax.Array | int,
        factor: jax.Array | float = 1.0,
    ) -> tuple[PathState, jax.Array]:
        """Returns the state after `length` more steps, and the loss of each, `float32[length]`.

        Args:
          state: after the steps before `first`.
          data: the examples; weights learn from their `weight_half`.
          gates: of the architecture.
          key: as `init` was given it.
          first: number of the first of these steps.
          length: how many steps.
          total: steps of the whole training, by which the learning rate falls.
          factor: on the learning rate, throughout.
        """
        bench = self.bench
        assert bench.supernet is not None
        supernet, task = bench.supernet, bench.task
        sampler = self.sampler(len(data.weight_half), length)
        _, order_key, augment_key = jax.random.split(key, 3)
        orders = sampler.orders(order_key, jnp.asarray(first))
        optimizer = self._optimizer(total, factor)

        def step(state: PathState, number):
            rows = jnp.asarray(data.weight_half)[sampler.indices(orders, first, number)]
            keys = jax.random.split(jax.random.fold_in(augment_key, number), bench.batch_size)
            inputs = augment(keys, jnp.asarray(data.inputs)[rows], bench.augmentation)
            inputs = normalise(inputs, jnp.asarray(data.mean), jnp.asarray(data.std))
            targets = jnp.asarray(data.targets)[rows]

            def loss(weights):
                return task.loss(supernet.apply(weights, inputs, gates), targets)

            value, gradient = jax.value_and_grad(loss)(state.weights)
            updates, after = optimizer.update(gradient, state.optimizer, state.weights)
            return PathState(optax.apply_updates(state.weights, updates), after), value

        return jax.lax.scan(step, state, first + jnp.arange(length))

    def _optimizer(
        self, total: jax.Array | int, factor: jax.Array | float
    ) -> optax.GradientTransformation:
        def schedule(count):
            falling = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(count / total, 1.0)))
            rate = self.learning_rate_end + (self.learning_rate - self.learning_rate_end) * falling
            return factor * rate

        return optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            make_weight_optimizer(self.optimizer, schedule, weight_decay=self.weight_decay),
        )
