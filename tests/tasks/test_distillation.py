"""Distances of outputs from those of a teacher, against sums written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.registry import Part
from hwnas_jax.tasks import TASKS, make_task
from tests.tasks.test_several import scenes
from tests.tasks.test_task_contract import made_for

SOFT = {"classification": "classes", "segmentation": "classes", "multi_label": "labels"}


def given(task, dataset):
    shape = task.outputs(dataset.num_outputs)[0].shape(dataset.input_shape)
    return (np.asarray(jax.random.normal(jax.random.key(n), (3, *shape))) for n in (0, 1))


def softened(logits, temperature, labels):
    logits = logits.astype(np.float64) / temperature
    if labels:
        yes = 1 / (1 + np.exp(-logits))
        return np.stack([yes, 1 - yes], -1)
    powers = np.exp(logits)
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"several"}))
def test_the_distance_is_zero_at_the_teacher_and_what_the_formula_says(name):
    dataset = made_for(name)
    task = make_task(Part(name), dataset)
    outputs, teacher = given(task, dataset)
    for temperature in (1.0, 3.0):
        found = float(task.distillation(jnp.asarray(outputs), jnp.asarray(teacher), temperature))
        if name in SOFT:
            said, wanted = (
                softened(each, temperature, SOFT[name] == "labels") for each in (outputs, teacher)
            )
            expected = temperature**2 * (wanted * np.log(wanted / said)).sum(-1).mean()
        else:
            if name == "surface_normals":
                outputs, teacher = (
                    each / np.linalg.norm(each, axis=-1, keepdims=True)
                    for each in (outputs, teacher)
                )
            expected = np.square(outputs.astype(np.float64) - teacher).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert abs(float(task.distillation(teacher, teacher, temperature))) < 1e-6
        slope = jax.grad(task.distillation)(jnp.asarray(teacher), jnp.asarray(teacher), temperature)
        np.testing.assert_allclose(slope, 0.0, atol=1e-5)


def test_outputs_of_another_fit_come_in_the_units_of_this_one():
    dataset = made_for("regression")
    task = make_task(Part("regression"), dataset)
    other = make_task(Part("regression", {"standardise": False}), dataset)
    own = np.random.default_rng(0).normal(size=(4, dataset.num_outputs)).astype(np.float32)
    plain = task.predicted(own)
    np.testing.assert_allclose(task.as_own(plain, other), own, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.as_own(own, task), plain, rtol=1e-5)
    np.testing.assert_allclose(task.as_own(own, task), own, rtol=1e-4, atol=1e-5)


def test_several_tasks_add_their_distances_by_the_weights_that_are_given():
    dataset = scenes()
    equal = make_task(Part("several"), dataset)
    names = [each.part.name for each in equal.learned]
    heavy = make_task(Part("several", {"weights": {names[0]: 3.0}}), dataset)
    total = sum(int(np.prod(each.shape)) for each in equal.learned)
    outputs, teacher = np.random.default_rng(1).normal(size=(2, 3, total + len(names)))
    outputs, teacher = outputs.astype(np.float32), teacher.astype(np.float32)
    first, parts = 0, []
    for each in equal.learned:
        last = first + int(np.prod(each.shape))
        own = [value[:, first:last].reshape(3, *each.shape) for value in (outputs, teacher)]
        parts.append(float(each.task.distillation(*own, 2.0)))
        first = last
    np.testing.assert_allclose(equal.distillation(outputs, teacher, 2.0), sum(parts), rtol=1e-5)
    np.testing.assert_allclose(
        heavy.distillation(outputs, teacher, 2.0), sum(parts) + 2 * parts[0], rtol=1e-5
    )
    np.testing.assert_allclose(equal.as_own(outputs, heavy), outputs, rtol=1e-4, atol=1e-4)
