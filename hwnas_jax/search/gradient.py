"""The gradient search: weights on one half of the data, architecture on the other.

Legend: `B` batch, `D` decisions, `K` options, `P` weights of the supernet.

The step knows none of its methods. The supernet says what is computed, the task what is learned,
the relaxation what the architecture's parameters mean, the estimator how the task's gradient
reaches them, and the budget what the costs add. The cost model and the limits are inputs of the
compiled step.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.budgets.base import Budget, BudgetState
from hwnas_jax.config import SearchConfig
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data.batches import Batch
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.replicas import mean_over_replicas
from hwnas_jax.relax.base import Params, Relaxation, one_hot_gates
from hwnas_jax.search.elastic import mean_over_sizes
from hwnas_jax.search.estimators.base import Estimator, Problem
from hwnas_jax.search.expected_cost import expected_costs
from hwnas_jax.search.fair_paths import fair_paths
from hwnas_jax.search.priced import priced
from hwnas_jax.spaces.core.supernet import Supernet
from hwnas_jax.tasks.base import Task
from hwnas_jax.train.optimizers import make_weight_optimizer

HALVES = ("weight", "arch")
"""The two halves of the training data: the one the weights learn from, and the architecture's."""


class SearchState(NamedTuple):
    """What is carried from step to step, and checkpointed.

    Attributes:
      step: `int32[]`, steps taken; also the position in the data.
      key: the run's random key; every step folds its number in.
      weights: `float32[P]`, the supernet's weights in one vector.
      params: the architecture's parameters, as the relaxation has them.
      weight_optimizer: Optax state of the weights.
      arch_optimizer: Optax state of the architecture's parameters.
      budget: limits and multipliers.
      estimator: the estimator's own state.
    """

    step: jax.Array
    key: jax.Array
    weights: jax.Array
    params: Params
    weight_optimizer: Any
    arch_optimizer: Any
    budget: BudgetState
    estimator: Any


class SearchInfo(NamedTuple):
    """What is reported of a step; every leaf is `float32[]`.

    The metric is the task's primary one. `cost` is the expected cost in the metric that has the
    budget, as the budget is held against it: with a confidence, the expected upper bound.
    """

    weight_loss: jax.Array
    weight_metric: jax.Array
    arch_loss: jax.Array
    arch_metric: jax.Array
    cost: jax.Array
    multiplier: jax.Array
    temperature: jax.Array
    entropy: jax.Array
    weight_grad_norm: jax.Array
    arch_grad_norm: jax.Array


@dataclasses.dataclass(frozen=True)
class Methods:
    """What a gradient search is made of.

    Attributes:
      supernet: of the space.
      mask: `bool[D, K]` of the space.
      task: what is learned.
      relaxation: how a choice becomes differentiable.
      estimator: how the task's gradient reaches the architecture.
      budget: how the costs enter.
      stages: `bool[S, D, K]`, the options that are open in each stage of an elastic warm-up; None
        where the warm-up is none.
    """

    supernet: Supernet
    mask: np.ndarray
    task: Task
    relaxation: Relaxation
    estimator: Estimator
    budget: Budget
    stages: np.ndarray | None = None

    def probabilities(self, params: Params) -> np.ndarray:
        """Returns the probability of each option, `float32[D, K]`."""
        return np.asarray(self.relaxation.probabilities(params, jnp.asarray(self.mask)))

    def prior(self) -> np.ndarray:
        """Returns the probabilities that a search begins with, `float32[D, K]`."""
        params = self.relaxation.init(jax.random.key(0), jnp.asarray(self.mask))
        return self.probabilities(params)


class Search(NamedTuple):
    """A search as functions.

    Attributes:
      init: `(key, limits) -> SearchState`; limits by metric, the budget first.
      step: `(state, {half: Batch}, cost_model, axis_name=None) -> (state, SearchInfo)`: a weight
        step unless the weights are frozen, then, after the warm-up, an architecture step.
      weight_step: `(state, batches, key, temperature, axis_name) -> (state, (loss, metric,
        gradient norm))`. It changes the weights alone. In a space that scores its options by their
        weights (Single-Path) the logits are recomputed from the new scores, so that the learned
        thresholds stay the same.
      arch_step: `(state, batches, key, temperature, axis_name, cost_model) -> (state, (loss,
        metric, cost, gradient norm))`. It leaves the weights as they are.
    """

    init: Callable[..., SearchState]
    step: Callable[..., tuple[SearchState, SearchInfo]]
    weight_step: Callable[..., tuple[SearchState, Any]]
    arch_step: Callable[..., tuple[SearchState, Any]]


def make_search(
    methods: Methods, settings: SearchConfig, *, deviations: float = 0.0, samples: int = 8
) -> Search:
    """Builds the functions of a search.

    Args:
      methods: what it is made of.
      settings: schedules and optimisers.
      deviations: standard deviations above the prediction that the budget is held against.
      samples: architectures drawn per step where an expected cost needs draws.
    """
    supernet, task, relaxation = methods.supernet, methods.task, methods.relaxation
    estimator, budget = methods.estimator, methods.budget
    mask = jnp.asarray(methods.mask)
    learning_rate = _weight_schedule(settings)
    weight_optimizer = optax.chain(
        optax.clip_by_global_norm(settings.weights.clip_norm),
        make_weight_optimizer(
            settings.weights.optimizer, learning_rate, weight_decay=settings.weights.decay
        ),
    )
    arch_optimizer = relaxation.optimizer()

    def init(key: jax.Array, limits: dict[str, Any]) -> SearchState:
        run_key, weight_key = jax.random.split(key)
        weights = supernet.init(weight_key)
        params = relaxation.init(run_key, mask)
        return SearchState(
            step=jnp.zeros((), jnp.int32),
            key=run_key,
            weights=weights,
            params=params,
            weight_optimizer=weight_optimizer.init(weights),
            arch_optimizer=arch_optimizer.init(params),
            budget=budget.init(limits),
            estimator=estimator.init(),
        )

    def loss_at(weights, gates, inputs, targets):
        outputs = supernet.apply(weights, inputs, gates)
        return task.loss(outputs, targets), task.value(outputs, targets)

    def mean_over(batch: Batch, axis_name):
        def mean(function):
            averaged = mean_over_micro_batches(
                function, settings.accumulate, batch.inputs, batch.targets
            )
            return mean_over_replicas(averaged, axis_name)

        return mean

    def draw_key(key, axis_name):
        if settings.paths == "shared" or axis_name is None:
            return key
        return jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def by_stage(step, warm, after):
        """Returns the result of one function in the warm-up and of another after it."""
        if warm is after or settings.warmup_steps >= settings.steps:
            return warm()
        return jax.lax.cond(step < settings.warmup_steps, warm, after)

    def with_thresholds_kept(state, weights):
        """Returns the parameters at other weights; the warm-up leaves all options even."""
        if not supernet.scored:
            return state.params
        change = supernet.scores(weights) - supernet.scores(state.weights)
        return state.params + jnp.where(state.step >= settings.warmup_steps, change, 0.0)

    def weight_step(state, batches, key, temperature, axis_name):
        shared, key = key, draw_key(key, axis_name)

        def relaxed(weights, key):
            params = with_thresholds_kept(state, weights)
            return relaxation.sample(key, params, mask, temperature)

        def fair(weights, path):
            del weights
            return one_hot_gates(path, mask.shape[1], sampled=True)

        def mean_over_draws(gates_of, draws):
            def loss(weights, draw, *part):
                return loss_at(weights, gates_of(weights, draw), *part)

            def gradient(draw, inputs, targets):
                return mean_over_micro_batches(
                    lambda *part: jax.value_and_grad(loss, has_aux=True)(
                        state.weights, draw[0], *part
                    ),
                    settings.accumulate, inputs, targets,
                )  # fmt: skip

            inputs, targets, _ = batches["weight"]
            return mean_over_micro_batches(gradient, settings.draws, draws, inputs, targets)

        def by_relaxation():
            keys = key[None] if settings.draws == 1 else jax.random.split(key, settings.draws)
            return mean_over_draws(relaxed, keys)

        def by_fair_paths():
            return mean_over_draws(fair, fair_paths(key, mask, settings.draws))

        def by_sizes():
            return mean_over_sizes(
                supernet, task, methods.stages, settings, state.weights, batches["weight"],
                step=state.step, key=shared,
            )  # fmt: skip

        warm = by_fair_paths if settings.fair else by_relaxation
        warm = warm if methods.stages is None else by_sizes
        found = by_stage(state.step, warm, by_relaxation)
        (value, metric), gradient = mean_over_replicas(found, axis_name)
        updates, optimizer = weight_optimizer.update(
            gradient, state.weight_optimizer, state.weights
        )
        # Without this barrier XLA recomputes the optimiser's moments inside the weight update and
        # has to keep the old weights alive.
        updates, optimizer = jax.lax.optimization_barrier((updates, optimizer))
        weights = optax.apply_updates(state.weights, updates)
        state = state._replace(
            weights=weights,
            params=with_thresholds_kept(state, weights),
            weight_optimizer=optimizer,
        )
        return state, (value, metric, optax.tree.norm(gradient))

    def estimated(state, batches, key, temperature, axis_name):
        """Returns the estimator's mean over the draws of a step, and its state after them."""
        if settings.draws == 1:
            asked = problem(state, batches, temperature, axis_name)
            return estimator.estimate(key, state.params, state.estimator, asked)
        parts = jax.tree.map(
            lambda leaf: leaf.reshape(settings.draws, -1, *leaf.shape[1:]), batches
        )

        def one(before, given):
            asked = problem(state, given[1], temperature, axis_name)
            found, after = estimator.estimate(given[0], state.params, before, asked)
            return after, found

        keys = jax.random.split(key, settings.draws)
        after, found = jax.lax.scan(one, state.estimator, (keys, parts))
        return jax.tree.map(lambda leaf: leaf.mean(0), found), after

    def problem(state, batches, temperature, axis_name) -> Problem:
        def update(weights, gradient):
            updates, _ = weight_optimizer.update(gradient, state.weight_optimizer, weights)
            return optax.apply_updates(weights, updates)

        return Problem(
            weights=state.weights,
            loss=loss_at,
            sample=lambda key, params: relaxation.sample(key, params, mask, temperature),
            probabilities=lambda params: relaxation.probabilities(params, mask),
            validation=mean_over(batches["arch"], axis_name),
            training=mean_over(batches["weight"], axis_name),
            update=update,
            weight_decay=settings.weights.decay,
            learning_rate=learning_rate(state.step),
        )

    def hardware(params, task_loss, state, key, cost_model):
        """Returns the loss of the architecture, and the costs with their excess, by metric."""
        share = relaxation.probabilities(params, mask)
        return priced(
            task_loss, share, key, budget, state.budget, cost_model,
            samples=samples, deviations=deviations,
        )  # fmt: skip

    def arch_step(state, batches, key, temperature, axis_name, cost_model):
        task_key, cost_key = jax.random.split(key)
        estimate, estimator_state = estimated(
            state, batches, draw_key(task_key, axis_name), temperature, axis_name
        )
        span = settings.steps - settings.warmup_steps
        progress = jnp.clip((state.step - settings.warmup_steps) / span, 0.0, 1.0)

        def objective(params, task_loss):
            total, known = hardware(params, task_loss, state, cost_key, cost_model)
            total += relaxation.penalty(params, mask, progress)
            if settings.entropy:
                share = relaxation.probabilities(params, mask)
                total += settings.entropy * progress * entropy_of(share)
            return total, known

        (_, (costs, excess)), (by_params, by_loss) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(state.params, estimate.loss)
        gradient = jax.tree.map(
            lambda task, own: by_loss * task + own, estimate.gradient, by_params
        )
        updates, optimizer = arch_optimizer.update(gradient, state.arch_optimizer, state.params)
        state = state._replace(
            params=optax.apply_updates(state.params, updates),
            arch_optimizer=optimizer,
            budget=budget.update(excess, state.budget),
            estimator=estimator_state,
        )
        cost = costs[next(iter(costs))]
        return state, (estimate.loss, estimate.aux, cost, optax.tree.norm(gradient))

    def warm_up(state, key, cost_model):
        share = relaxation.probabilities(state.params, mask)
        metric = next(iter(state.budget.limits))
        costs = expected_costs(cost_model, (metric,), key, share, samples, deviations=deviations)
        zero = jnp.zeros(())
        return state, (zero, zero, costs[metric], zero)

    def step(
        state: SearchState,
        batches: dict[str, Batch],
        cost_model: CostModel,
        axis_name: str | None = None,
    ) -> tuple[SearchState, SearchInfo]:
        temperature = anneal(state.step, settings)
        weight_key, arch_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        if settings.weights.frozen:
            weight_loss = weight_metric = weight_norm = jnp.zeros(())
        else:
            state, (weight_loss, weight_metric, weight_norm) = weight_step(
                state, batches, weight_key, temperature, axis_name
            )
        state, (arch_loss, arch_metric, cost, arch_norm) = by_stage(
            state.step,
            lambda: warm_up(state, arch_key, cost_model),
            lambda: arch_step(state, batches, arch_key, temperature, axis_name, cost_model),
        )
        share = relaxation.probabilities(state.params, mask)
        chex.assert_equal_shape([share, mask])
        multiplier = next(iter(state.budget.multipliers.values()))
        info = SearchInfo(
            weight_loss, weight_metric, arch_loss, arch_metric, cost, multiplier, temperature,
            entropy_of(share), weight_norm, arch_norm,
        )  # fmt: skip
        return state._replace(step=state.step + 1), info

    return Search(init, step, weight_step, arch_step)


def anneal(step: jax.Array, settings: SearchConfig) -> jax.Array:
    """Returns the temperature at `step`: constant in the warm-up, then falling geometrically."""
    span = settings.steps - settings.warmup_steps
    progress = jnp.clip((step - settings.warmup_steps) / span, 0.0, 1.0)
    start, end = settings.temperature.start, settings.temperature.end
    return start * (end / start) ** progress


def entropy_of(share: jax.Array) -> jax.Array:
    """Returns the mean entropy of the decisions in nats, `float32[]`, of `float32[D, K]`."""
    return -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-20)), -1).mean()


def _weight_schedule(settings: SearchConfig) -> optax.Schedule:
    weights = settings.weights
    return optax.cosine_decay_schedule(
        weights.learning_rate,
        settings.steps,
        alpha=weights.learning_rate_end / weights.learning_rate,
    )
