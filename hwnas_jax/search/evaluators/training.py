"""Architectures judged by training each for a while.

Legend: `P` weights of the supernet, `S` steps.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt

from hwnas_jax.data.pipeline import Sampler, augment, normalise
from hwnas_jax.relax.base import Gates, one_hot_gates
from hwnas_jax.search.evaluators.base import EVALUATORS, Bench, Data, Evaluator
from hwnas_jax.search.evaluators.judging import judge_path, judging_rows
from hwnas_jax.train.optimizers import make_weight_optimizer


@EVALUATORS.add
@dataclasses.dataclass(frozen=True)
class ShortTraining(Evaluator):
    """Trains each architecture from scratch on one half of the data and judges it by the other.

    Each has a weight vector of its own. The program is the supernet with the architecture's path as
    an input, so that one program serves all architectures: where each network had a program of its
    own, compiling took a fifth of the time. On cells of NAS-Bench-201 within one window of latency,
    networks after one epoch of their own ranked with a Kendall's tau of .69, shared weights with
    one of .27 to .40.

    Initial weights and the order of batches come from the key of the call, the same for all of its
    architectures, so that they are compared on equal terms.
    """

    name = "training"
    summary = "by training each from scratch for some epochs, all in one compiled program"

    epochs: Annotated[int, Ge(1)] = 1
    """passes over the half that weights learn from"""
    learning_rate: Annotated[float, Gt(0)] = 0.1
    """of SGD with Nesterov momentum at the start; it falls along a cosine"""
    learning_rate_end: Annotated[float, Ge(0)] = 0.0
    """at the last step"""
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    """of all weights"""
    clip_norm: Annotated[float, Gt(0)] = 5.0
    """largest norm of a gradient; longer ones are shortened to it"""
    batches: Annotated[int, Ge(1)] | None = None
    """batches to judge by; all that the half fills when left out"""

    def arrays(self, bench: Bench) -> dict[str, Any]:
        """Returns the examples, and which of them are judged by."""
        self.require(bench, "data", "supernet")
        assert bench.data is not None
        self._sampler(bench, bench.data)
        return {"data": bench.data, "rows": judging_rows(bench, self.batches)}

    def evaluate(
        self, bench: Bench, arrays: Any, architectures: jax.Array, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Returns the task's metrics and `loss` after training, `float32[n]` each."""

        def one(architecture):
            gates = one_hot_gates(architecture, bench.space.num_options, sampled=True)
            weights = self.train(bench, arrays["data"], gates, key)
            return judge_path(bench, weights, arrays["data"], arrays["rows"], gates)

        return jax.lax.map(one, architectures)

    def train(self, bench: Bench, data: Data, gates: Gates, key: jax.Array) -> jax.Array:
        """Returns the weights `float32[P]` of one path after training; those off it mean nothing.

        Args:
          bench: its `task`, `supernet`, `batch_size` and augmentation are read.
          data: the examples.
          gates: of the architecture.
          key: of the initial weights, the order of batches and the augmentation.
        """
        assert bench.supernet is not None
        supernet, sampler = bench.supernet, self._sampler(bench, data)
        init_key, order_key, augment_key = jax.random.split(key, 3)
        orders = sampler.orders(order_key, 0)
        steps = sampler.steps_per_dispatch
        optimizer = self._optimizer(steps)
        weights = supernet.init(init_key)

        def step(carry, number):
            weights, state = carry
            rows = jnp.asarray(data.weight_half)[sampler.indices(orders, 0, number)]
            keys = jax.random.split(jax.random.fold_in(augment_key, number), bench.batch_size)
            inputs = augment(
                keys, jnp.asarray(data.inputs)[rows], shift=bench.shift, flip=bench.flip
            )
            inputs = normalise(inputs, data.mean, data.std)
            targets = jnp.asarray(data.targets)[rows]

            def loss(weights):
                return bench.task.loss(supernet.apply(weights, inputs, gates), targets)

            updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
            return (optax.apply_updates(weights, updates), state), None

        carry = (weights, optimizer.init(weights))
        return jax.lax.scan(step, carry, jnp.arange(steps))[0][0]

    def _sampler(self, bench: Bench, data: Data) -> Sampler:
        """Returns the sampler of the whole training; raises UserError for too large a batch."""
        size = len(data.weight_half)
        per_epoch = Sampler(size, bench.batch_size, 1).steps_per_epoch
        return Sampler(size, bench.batch_size, self.epochs * per_epoch)

    def _optimizer(self, steps: int) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(
            self.learning_rate, steps, alpha=self.learning_rate_end / self.learning_rate
        )
        return optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            make_weight_optimizer("sgd", schedule, weight_decay=self.weight_decay),
        )
