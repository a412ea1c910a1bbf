"""The search step: weights on one half of the data, architecture on the other.

Legend: `B` batch, `D` decisions, `K` options, `P` weights of the supernet.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import SearchConfig, TargetConfig, check_search
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.nn.initialisation import abstract, flat_form, weight_rngs
from hwnas_jax.nn.precision import cast, compute_dtype
from hwnas_jax.parallel.accumulate import mean_over_micro_batches
from hwnas_jax.parallel.replicas import mean_over_replicas
from hwnas_jax.registry import Part
from hwnas_jax.relax import RELAXATIONS, Gates
from hwnas_jax.relax import softmax_probabilities as probabilities
from hwnas_jax.search.objective import Target, ascend, expected_cost, lagrangian
from hwnas_jax.search.second_order import InnerProblem, Response, at_rest, step_ahead
from hwnas_jax.spaces.base import Space
from hwnas_jax.train.optimizers import make_weight_optimizer


class SearchState(NamedTuple):
    """What is carried from step to step, and checkpointed.

    Attributes:
      step: `int32[]`, steps taken; also the position in the data.
      key: the run's random key; every step folds its number in.
      weights: `float32[P]`, the supernet's weights in one vector.
      logits: `float32[D, K]`, the architecture parameters.
      weight_optimizer: Optax state of the weights.
      logit_optimizer: Optax state of the logits.
      multiplier: `float32[]`, of the hardware term.
    """

    step: jax.Array
    key: jax.Array
    weights: jax.Array
    logits: jax.Array
    weight_optimizer: Any
    logit_optimizer: Any
    multiplier: jax.Array


class SearchInfo(NamedTuple):
    """What is reported of a step; every leaf is `float32[]`.

    The architecture's loss and accuracy are of the weights that its gradient was taken at: those
    after the weight step, or with `order="second"` one step ahead of them. `expected_ms` is what
    the budget is held against: with a confidence, the expected upper bound.
    """

    weight_loss: jax.Array
    weight_accuracy: jax.Array
    arch_loss: jax.Array
    arch_accuracy: jax.Array
    expected_ms: jax.Array
    multiplier: jax.Array
    temperature: jax.Array
    entropy: jax.Array
    weight_grad_norm: jax.Array
    logit_grad_norm: jax.Array


class Batch(NamedTuple):
    """One replica's images `float32[B, H, W, C]` and labels `int32[B]`, from each half."""

    weight_images: jax.Array
    weight_labels: jax.Array
    arch_images: jax.Array
    arch_labels: jax.Array


class Search(NamedTuple):
    """A search as functions.

    Attributes:
      init: `key -> SearchState`.
      step: `(state, batch, axis_name=None) -> (state, SearchInfo)`: a weight step, then, after
        the warm-up, an architecture step. All steps take `cost_model=` to go by another model
        than the one the search was built with, as an input of the compiled step.
      weight_step: `(state, batch, key, temperature, axis_name) -> (state, (loss, accuracy,
        gradient norm))`; leaves the logits as they are, but where the space's `scores` move with
        the weights: there, after the warm-up, it leaves the thresholds as they are.
      arch_step: likewise `-> (state, (loss, accuracy, cost, gradient norm))`; leaves the weights
        as they are. Reads the weight half only where its gradient goes through the weights
        (`order` second or implicit); one draw of the relaxation then serves both halves, so that
        the weights that answer are those on the path that is judged.
      logits: `(weights, images, gates) -> float32[B, classes]`, the supernet alone.
      unravel: `float32[P] -> nnx.State` of the supernet's parameters.
    """

    init: Callable[[jax.Array], SearchState]
    step: Callable[..., tuple[SearchState, SearchInfo]]
    weight_step: Callable[..., tuple[SearchState, Any]]
    arch_step: Callable[..., tuple[SearchState, Any]]
    logits: Callable[[jax.Array, jax.Array, Gates], jax.Array]
    unravel: Callable[[jax.Array], Any]


def make_search(
    space: Space,
    cost_model: CostModel,
    target: Target,
    config: SearchConfig,
    target_config: TargetConfig,
    *,
    sync_axis: str | None = None,
) -> Search:
    """Builds the functions of a search.

    Args:
      space: what is searched.
      cost_model: predicts `target.metric` from gates.
      target: the budget.
      config: relaxation, schedules and optimisers.
      target_config: how the budget is met.
      sync_axis: replica axis over which batch statistics are averaged, or None for per replica.

    Raises:
      UserError: for an unknown relaxation, order, choice of paths or dtype, and for replicas that
        sample paths of their own while statistics are averaged over them.
    """
    check_search(config, sync_batch_statistics=sync_axis is not None)
    dtype = compute_dtype(config.dtype, "search.dtype")
    relaxation = RELAXATIONS.make(Part(config.relaxation)).sample
    mask = jnp.asarray(space.mask)
    options: dict[str, Any] = {"rematerialise": True} if config.rematerialise else {}
    supernet = abstract(lambda rngs: space.supernet(rngs, axis_name=sync_axis, **options))
    graph, abstract_params = nnx.split(supernet)
    flat, unravel = flat_form(abstract_params)
    weight_optimizer = _weight_optimizer(config)
    logit_optimizer = optax.chain(
        optax.add_decayed_weights(config.logit_decay),
        optax.adam(config.logit_learning_rate, b1=0.5, b2=0.999),
    )
    fixed_weight = target_config.weight
    damping = target_config.damping if fixed_weight is None else 0.0

    @jax.jit
    def init(key: jax.Array) -> SearchState:
        run_key, weight_key = jax.random.split(key)
        weights = ravel_pytree(nnx.state(space.supernet(weight_rngs(weight_key)), nnx.Param))[0]
        logits = jnp.zeros(mask.shape, jnp.float32)
        return SearchState(
            step=jnp.zeros((), jnp.int32),
            key=run_key,
            weights=weights,
            logits=logits,
            weight_optimizer=weight_optimizer.init(weights),
            logit_optimizer=logit_optimizer.init(logits),
            multiplier=jnp.asarray(0.0 if fixed_weight is None else fixed_weight, jnp.float32),
        )

    def forward(weights: jax.Array, images: jax.Array, gates: Gates) -> jax.Array:
        supernet = nnx.merge(graph, cast(unravel(weights), dtype))
        return supernet(images.astype(dtype), cast(gates, dtype)).astype(jnp.float32)

    def task(weights, images, labels, gates):
        scores = forward(weights, images, gates)
        loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
        return loss, jnp.mean(jnp.argmax(scores, -1) == labels)

    def draw_key(key, axis_name):
        if config.paths == "shared" or axis_name is None:
            return key
        return jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def scores(weights):
        return space.scores(nnx.merge(graph, unravel(weights)))

    scored = jax.eval_shape(scores, flat) is not None

    def with_thresholds_kept(state, weights):
        """Returns the logits at other weights; the warm-up leaves all options even."""
        if not scored:
            return state.logits
        change = scores(weights) - scores(state.weights)
        return state.logits + jnp.where(state.step >= config.warmup_steps, change, 0.0)

    def weight_step(state, batch, key, temperature, axis_name):
        key = draw_key(key, axis_name)

        def loss(weights, images, labels):
            logits = with_thresholds_kept(state, weights)
            return task(weights, images, labels, relaxation(key, logits, mask, temperature))

        def gradients(images, labels):
            return jax.value_and_grad(loss, has_aux=True)(state.weights, images, labels)

        (value, accuracy), gradient = mean_over_micro_batches(
            gradients, config.accumulate, batch.weight_images, batch.weight_labels
        )
        value, accuracy, gradient = mean_over_replicas((value, accuracy, gradient), axis_name)
        updates, optimizer = weight_optimizer.update(
            gradient, state.weight_optimizer, state.weights
        )
        # Else moments are computed again with the weights, whose old values must be kept for it.
        updates, optimizer = jax.lax.optimization_barrier((updates, optimizer))
        weights = optax.apply_updates(state.weights, updates)
        state = state._replace(
            weights=weights,
            logits=with_thresholds_kept(state, weights),
            weight_optimizer=optimizer,
        )
        return state, (value, accuracy, optax.tree.norm(gradient))

    def response(state, batch, task_of, axis_name) -> Response | None:
        """Returns how the weights answer the logits; None where that is left out."""
        if config.order == "first":
            return None

        def mean(function):
            averaged = mean_over_micro_batches(
                function, config.accumulate, batch.weight_images, batch.weight_labels
            )
            return mean_over_replicas(averaged, axis_name)

        def loss(weights, logits, images, labels):
            return task_of(weights, logits, images, labels)[0]

        def decayed(weights, *others):
            return loss(weights, *others) + 0.5 * config.weight_decay * jnp.vdot(weights, weights)

        def optimizer_step(weights, gradient):
            updates, _ = weight_optimizer.update(gradient, state.weight_optimizer, weights)
            return optax.apply_updates(weights, updates)

        def plain_step(weights, gradient):
            return weights - config.inner_step_size * gradient

        if config.order == "second":
            update = optimizer_step if config.inner_step_size is None else plain_step
            return step_ahead(InnerProblem(loss, mean), update, state.weights, state.logits)
        step_size = config.inner_step_size
        if step_size is None:
            step_size = _weight_schedule(config)(state.step)
        return at_rest(
            InnerProblem(decayed, mean), state.weights, state.logits,
            terms=config.implicit_terms, step_size=step_size,
        )  # fmt: skip

    def predicted(logits, key, given):
        model = cost_model if given is None else given
        return expected_cost(
            model, target.metric, key, logits, mask, target_config.samples,
            deviations=target.deviations,
        )  # fmt: skip

    def arch_step(state, batch, key, temperature, axis_name, cost_model=None):
        task_key, cost_key = jax.random.split(key)
        task_key = draw_key(task_key, axis_name)

        def task_of(weights, logits, images, labels):
            return task(weights, images, labels, relaxation(task_key, logits, mask, temperature))

        def objective(logits, weights, images, labels):
            loss, accuracy = task_of(weights, logits, images, labels)
            cost = predicted(logits, cost_key, cost_model)
            total = lagrangian(loss, cost / target.value - 1.0, state.multiplier, damping)
            return total, (loss, accuracy, cost)

        answer = response(state, batch, task_of, axis_name)
        weights = state.weights if answer is None else answer.weights
        wanted = (0,) if answer is None else (0, 1)

        def gradients(images, labels):
            return jax.value_and_grad(objective, argnums=wanted, has_aux=True)(
                state.logits, weights, images, labels
            )

        (_, (loss, accuracy, cost)), slopes = mean_over_micro_batches(
            gradients, config.accumulate, batch.arch_images, batch.arch_labels
        )
        loss, accuracy, slopes = mean_over_replicas((loss, accuracy, slopes), axis_name)
        gradient, *by_weights = slopes
        if answer is not None:
            gradient = gradient + answer.through_weights(*by_weights)
        updates, optimizer = logit_optimizer.update(gradient, state.logit_optimizer, state.logits)
        multiplier = state.multiplier
        if fixed_weight is None:
            multiplier = ascend(
                multiplier, cost / target.value - 1.0, target_config.multiplier_learning_rate
            )
        state = state._replace(
            logits=optax.apply_updates(state.logits, updates),
            logit_optimizer=optimizer,
            multiplier=multiplier,
        )
        return state, (loss, accuracy, cost, optax.tree.norm(gradient))

    def warm_up(state, key, cost_model):
        cost = predicted(state.logits, key, cost_model)
        zero = jnp.zeros(())
        return state, (zero, zero, cost, zero)

    def step(
        state: SearchState,
        batch: Batch,
        axis_name: str | None = None,
        cost_model: CostModel | None = None,
    ) -> tuple[SearchState, SearchInfo]:
        chex.assert_equal_shape([state.logits, mask])
        temperature = anneal(state.step, config)
        weight_key, arch_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        state, (weight_loss, weight_accuracy, weight_norm) = weight_step(
            state, batch, weight_key, temperature, axis_name
        )
        state, (arch_loss, arch_accuracy, cost, logit_norm) = jax.lax.cond(
            state.step >= config.warmup_steps,
            lambda s: arch_step(s, batch, arch_key, temperature, axis_name, cost_model),
            lambda s: warm_up(s, arch_key, cost_model),
            state,
        )
        share = probabilities(state.logits, mask)
        entropy = -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-20)), -1).mean()
        info = SearchInfo(
            weight_loss, weight_accuracy, arch_loss, arch_accuracy, cost, state.multiplier,
            temperature, entropy, weight_norm, logit_norm,
        )  # fmt: skip
        return state._replace(step=state.step + 1), info

    return Search(init, step, weight_step, arch_step, forward, unravel)


def anneal(step: jax.Array, config: SearchConfig) -> jax.Array:
    """Returns the temperature at `step`: constant in the warm-up, then falling geometrically."""
    span = config.steps - config.warmup_steps
    progress = jnp.clip((step - config.warmup_steps) / span, 0.0, 1.0)
    ratio = config.temperature_end / config.temperature_start
    return config.temperature_start * ratio**progress


def _weight_schedule(config: SearchConfig) -> optax.Schedule:
    return optax.cosine_decay_schedule(
        config.weight_learning_rate,
        config.steps,
        alpha=config.weight_learning_rate_end / config.weight_learning_rate,
    )


def _weight_optimizer(config: SearchConfig) -> optax.GradientTransformation:
    step = make_weight_optimizer(
        config.weight_optimizer, _weight_schedule(config), weight_decay=config.weight_decay
    )
    return optax.chain(optax.clip_by_global_norm(config.weight_clip_norm), step)
