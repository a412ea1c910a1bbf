"""Several tasks at once, against each of them alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.data import Dataset, together
from hwnas_jax.data.scenes import Scenes
from hwnas_jax.data.together import unpack
from hwnas_jax.errors import UserError
from hwnas_jax.nn.outputs import output_shape
from hwnas_jax.registry import Part
from hwnas_jax.tasks import make_task
from tests.tasks import contract

NAMES = ("class_object", "segmentsemantic", "room_layout")


@functools.cache
def scenes():
    return Scenes(tasks=NAMES, examples=60, size=8).load()


def several(**args):
    return make_task(Part("several", args), scenes())


@functools.cache
def drawn(seed=0, examples=12):
    """Returns outputs of some examples, the logarithms of variances at their end, and targets."""
    shape = output_shape(several().outputs(0), (8, 8, 3))
    outputs = jax.random.normal(jax.random.key(seed), (examples, *shape))
    variances = jnp.array([0.3, -0.2, 0.7])
    return outputs.at[:, -3:].set(variances), scenes().train_targets[:examples]


def alone():
    """Returns each task by itself, with its outputs and targets."""
    outputs, targets = drawn()
    own = unpack(targets, scenes().parts)
    sizes, first = {"class_object": (3,), "segmentsemantic": (8, 8, 6), "room_layout": (3,)}, 0
    for name in NAMES:
        last = first + int(np.prod(sizes[name]))
        task = make_task(
            Part({"class_object": "classification", "segmentsemantic": "segmentation",
                  "room_layout": "regression"}[name]),
            Scenes(tasks=(name,), examples=60, size=8).load(),
        )  # fmt: skip
        yield name, task, outputs[:, first:last].reshape(-1, *sizes[name]), own[name]
        first = last


@pytest.mark.parametrize("weights", ["equal", {"class_object": 2.0, "room_layout": 0.5}])
def test_losses_are_weighted_by_hand(weights):
    given = {} if weights == "equal" else weights
    expected = sum(given.get(n, 1.0) * task.loss(out, own) for n, task, out, own in alone())
    task = several(weights=weights)
    np.testing.assert_allclose(task.loss(*drawn()), expected, rtol=1e-6)
    outputs, targets = drawn()
    contract.check_loss(task, outputs, targets)
    contract.check_gradient(task, outputs, targets)


def test_losses_are_weighted_by_uncertainty():
    factors = {"class_object": 1.0, "segmentsemantic": 1.0, "room_layout": 0.5}
    expected = sum(
        factors[name] * np.exp(-s) * task.loss(out, own) + s / 2
        for (name, task, out, own), s in zip(alone(), (0.3, -0.2, 0.7), strict=True)
    )
    np.testing.assert_allclose(several().loss(*drawn()), expected, rtol=1e-6)


def test_the_best_variance_is_that_of_the_errors():
    """Of a regression with a squared error of e, the loss is least at a variance of e."""
    outputs, targets = drawn()
    errors = [task.loss(out, own) for _, task, out, own in alone()]

    def loss(log_variances):
        return several().loss(outputs.at[:, -3:].set(log_variances), targets)

    best = jnp.log(jnp.array([2 * errors[0], 2 * errors[1], errors[2]]))
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-5)


def test_skill_is_the_mean_between_chance_and_the_best():
    outputs, targets = drawn()
    task = several()
    contract.check_sums(task, outputs, targets)
    metrics = task.metrics(task.sums(outputs, targets))
    skills = []
    for name, each, out, own in alone():
        value = float(each.value(out, own))
        np.testing.assert_allclose(metrics[f"{name}.{each.metric}"], value, rtol=1e-6)
        chance = each.chance(unpack(scenes().train_targets, scenes().parts)[name], out.shape[-1])
        best = 1.0 if each.higher_is_better else 0.0
        skills.append((value - chance) / (best - chance))
    np.testing.assert_allclose(task.value(outputs, targets), np.mean(skills), rtol=1e-5)
    assert task.chance(scenes().train_targets, 0) == pytest.approx(0, abs=1e-6)
    assert task.right(outputs, targets) is None
    assert task.final(np.asarray(outputs), targets) == {}


def test_its_tasks_are_taken_apart():
    outputs, targets = drawn()
    for (task, out, own), (_, single, expected, true) in zip(
        several().apart(outputs, targets), alone(), strict=True
    ):
        assert task == single
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(own, true)
    ((task, out, own),) = single.apart(expected, true)
    assert task is single and out is expected and own is true


def test_options_reach_their_task():
    weighted = several(weights="equal", args={"segmentsemantic": {"class_weights": "balanced"}})
    plain = several(weights="equal")
    assert weighted.loss(*drawn()) != plain.loss(*drawn())


def test_mistakes_are_named():
    with pytest.raises(UserError, match="needs a data set with the targets of several tasks"):
        make_task(Part("several"), Scenes(tasks=("normal",), examples=20, size=8).load())
    with pytest.raises(UserError, match=r"'segments'.*segmentsemantic"):
        several(weights={"segments": 2.0})
    with pytest.raises(UserError, match=r"'class_objects'.*class_object"):
        several(args={"class_objects": {}})
    with pytest.raises(UserError, match="weights"):
        several(weights={"class_object": -1.0})
    images = np.random.default_rng(0).random((8, 4, 4, 1)).astype(np.float32)

    def single(task, targets, names):
        return Dataset("x", images[:6], targets[:6], images[6:], targets[6:], names, task)

    good = single("classification", np.arange(8, dtype=np.int32) % 2, ("a", "b"))
    wrong = single("classification", np.arange(8, dtype=np.int32), ("a", "b"))
    small = single("segmentation", np.zeros((8, 2, 2), np.int32), ("a", "b"))
    for other, message in ((wrong, r"two: .*run from 0 to"), (small, "two: .*each of the 4x4")):
        with pytest.raises(UserError, match=message):
            make_task(Part("several"), together("x", {"one": good, "two": other}))
