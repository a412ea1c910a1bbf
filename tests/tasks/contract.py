"""What every task must keep, whatever its loss and metrics are.

Legend: `B` batch, `O` outputs, `H, W` positions. What a network puts out for one example has the
shape `[O]`, or `[H, W, O]` where the task is dense.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.data import Dataset
from hwnas_jax.nn.outputs import output_shape
from hwnas_jax.registry import Part
from hwnas_jax.tasks import Task, check_task, make_task

EXAMPLES, DENSE_EXAMPLES = 96, 12
STEPS = 300
NEAR = {False: 1e-3, True: 0.1}
"""By whether a task is dense, how far the best of outputs that look at no input may be from
`chance`: of some metrics of maps no formula gives the best map."""


def check(part: Part, dataset: Dataset) -> None:
    """Runs every check on a task by its name, with the first targets of a data set."""
    task = make_task(part, dataset)
    examples = DENSE_EXAMPLES if task.dense else EXAMPLES
    check_fitted(task, dataset.train_targets[:examples], dataset.num_outputs, dataset.input_shape)


def check_fitted(
    task: Task, targets: np.ndarray, num_outputs: int, input_shape: tuple[int, ...] = (1, 1, 1)
) -> None:
    """Runs every check on a task that has been fitted."""
    check_task(task, targets, num_outputs, input_shape)
    shape = output_shape(task.outputs(num_outputs), input_shape)
    outputs = jax.random.normal(jax.random.key(0), (len(targets), *shape))
    check_loss(task, outputs, targets)
    check_gradient(task, outputs, targets)
    check_distillation(task, outputs)
    check_sums(task, outputs, targets)
    check_chance(task, targets, num_outputs, shape)
    check_learning(task, targets, num_outputs, shape)
    check_told(task, outputs, targets)


def check_loss(task: Task, outputs: jax.Array, targets: np.ndarray) -> None:
    """The loss is the mean over examples, in any order, and finite for any outputs."""
    loss = jax.jit(task.loss)
    whole, jitted = task.loss(outputs, targets), loss(outputs, targets)
    np.testing.assert_allclose(jitted, whole, rtol=1e-5, err_msg="another loss under jit")
    order = np.random.default_rng(0).permutation(len(targets))
    np.testing.assert_allclose(
        loss(outputs[order], targets[order]), whole, rtol=1e-4,
        err_msg="the loss depends on the order of the examples",
    )  # fmt: skip
    third = len(targets) // 3
    one, two = loss(outputs[:third], targets[:third]), loss(outputs[third:], targets[third:])
    np.testing.assert_allclose(
        (third * one + (len(targets) - third) * two) / len(targets), whole, rtol=1e-4,
        err_msg="the loss is not the mean over the examples",
    )  # fmt: skip
    for scale in (0.0, 50.0):
        assert np.isfinite(loss(scale * outputs, targets)), f"loss not finite at {scale} outputs"


def check_gradient(task: Task, outputs: jax.Array, targets: np.ndarray) -> None:
    """The gradient is finite for any outputs, and that of finite differences."""
    loss, gradient = jax.jit(task.loss), jax.jit(jax.grad(task.loss))
    for scale in (0.0, 1.0, 50.0):
        assert np.isfinite(gradient(scale * outputs, targets)).all(), "gradient not finite"
    direction = jax.random.normal(jax.random.key(1), outputs.shape)
    step = 1e-2 * direction
    change = loss(outputs + step, targets) - loss(outputs - step, targets)
    slope = (gradient(outputs, targets) * 2 * step).sum()
    np.testing.assert_allclose(
        slope, change, rtol=2e-2, atol=1e-5, err_msg="gradient is not the slope of the loss"
    )


def check_distillation(task: Task, outputs: jax.Array) -> None:
    """Zero with slope zero at the teacher's outputs, more elsewhere, finite for any outputs."""
    distance = jax.jit(jax.value_and_grad(task.distillation), static_argnums=2)
    for temperature in (1.0, 4.0):
        value, slope = distance(outputs, outputs, temperature)
        np.testing.assert_allclose(value, 0.0, atol=1e-6, err_msg="a teacher differs from itself")
        np.testing.assert_allclose(slope, 0.0, atol=1e-6, err_msg="no minimum at the teacher")
        assert distance(-outputs, outputs, temperature)[0] > 1e-3, "nothing tells outputs apart"
        for scale in (0.0, 50.0):
            value, slope = distance(scale * outputs, outputs, temperature)
            assert np.isfinite(value) and np.isfinite(slope).all(), "not finite"


def check_sums(task: Task, outputs: jax.Array, targets: np.ndarray) -> None:
    """Sums of parts add up to those of the whole, and `value` is the ratio of the primary one."""
    sums = jax.jit(task.sums)
    whole = sums(outputs, targets)
    edges = (0, 1, len(targets) // 3, len(targets))
    parts = [
        sums(outputs[first:last], targets[first:last]) for first, last in itertools.pairwise(edges)
    ]
    for part in parts:
        assert part.keys() == whole.keys(), "the metrics differ from batch to batch"
    added = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    for metric in whole:
        np.testing.assert_allclose(
            added[metric], whole[metric], rtol=1e-5, atol=1e-4,
            err_msg=f"the sums of {metric} do not add up over batches",
        )  # fmt: skip
    ratios = task.metrics(whole)
    assert all(np.isfinite(value) for value in ratios.values()), f"not finite: {ratios}"
    np.testing.assert_allclose(
        task.value(outputs, targets), ratios[task.metric], rtol=1e-5, atol=1e-6
    )
    if task.unit == "%":
        assert 0 <= ratios[task.metric] <= 1, "a share must lie in [0, 1]"
    assert task.show(float(ratios[task.metric]))


def check_chance(task: Task, targets: np.ndarray, num_outputs: int, shape: tuple[int, ...]) -> None:
    """Outputs that are the same for every example reach `chance`, and none is better.

    They are drawn at random, and found by training. `NEAR` says how nearly.
    """
    chance = task.chance(targets, num_outputs)
    assert isinstance(chance, float), f"chance must be a float, got {chance!r}"
    drawn = 3 * jax.random.normal(jax.random.key(2), (500, *shape))
    trained = _train(task, jnp.zeros((1, *shape)), targets)
    guesses = jnp.concatenate([drawn, trained])
    spread = jax.jit(
        jax.vmap(lambda guess: task.value(jnp.broadcast_to(guess, _shape(targets, guess)), targets))
    )
    reached = np.asarray(spread(guesses), np.float64)
    best = reached.max() if task.higher_is_better else reached.min()
    slack = NEAR[task.dense] * max(1.0, abs(chance))
    assert abs(best - chance) <= slack, (
        f"chance is {chance}, but the best of outputs that look at no input is {best}"
    )


def check_learning(
    task: Task, targets: np.ndarray, num_outputs: int, shape: tuple[int, ...]
) -> None:
    """Going down the gradient makes the metric better than chance, in the direction it claims."""
    chance = task.chance(targets, num_outputs)
    outputs = _train(task, jnp.zeros((len(targets), *shape)), targets)
    reached = float(task.value(outputs, targets))
    assert task.better(reached, chance), (
        f"training on the loss ends at {task.metric} = {reached}, no better than chance, {chance}"
    )
    assert not task.better(chance, reached)


def check_told(task: Task, outputs: jax.Array, targets: np.ndarray) -> None:
    """What outputs say is of the targets' type, and further metrics are finite numbers."""
    said = task.predicted(outputs)
    if said is not None:
        assert said.dtype.kind in {"b": "b", "u": "iu", "i": "iub", "f": "f"}[targets.dtype.kind]
    final = task.final(np.asarray(outputs), targets)
    assert all(isinstance(value, float) and np.isfinite(value) for value in final.values()), final
    assert not final.keys() & task.sums(outputs, targets).keys(), "a metric is returned twice"


def _shape(targets: np.ndarray, guess: jax.Array) -> tuple[int, ...]:
    return (len(targets), *guess.shape)


def _train(task: Task, outputs: jax.Array, targets: np.ndarray) -> jax.Array:
    return _trainer(task, len(targets))(outputs, targets)


@functools.lru_cache(maxsize=4)
def _trainer(task: Task, examples: int):
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, STEPS))

    @jax.jit
    def train(outputs, targets):
        def loss(outputs):
            return task.loss(jnp.broadcast_to(outputs, (examples, *outputs.shape[1:])), targets)

        def step(carry, _):
            outputs, state = carry
            updates, state = optimiser.update(jax.grad(loss)(outputs), state)
            return (optax.apply_updates(outputs, updates), state), None

        return jax.lax.scan(step, (outputs, optimiser.init(outputs)), length=STEPS)[0][0]

    return train
