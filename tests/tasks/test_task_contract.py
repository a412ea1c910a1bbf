"""Every registered task keeps the contract, and so does a user's; broken ones are told apart."""

import functools
import re
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.data import SOURCES
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.tasks import TASKS, Classification, make_task
from tests.tasks import contract
from tests.tasks.dense_data import DENSE

OWN = f"{Path(__file__).resolve().parents[1]}/methods/my_task.py:Ordinal"

# The data set that comes with the package for each task.
BUILT_IN = {
    "classification": "digits",
    "multi_label": "digits_multi_label",
    "regression": "gratings",
    "segmentation": "digit_scenes",
}


@functools.cache
def data(name):
    return SOURCES[name]().load()


def made_for(task):
    return DENSE[task] if task in DENSE else data(BUILT_IN[task])


# Of several tasks at once `test_several.py` checks what can be kept.
@pytest.mark.parametrize("name", [name for name in TASKS if name != "several"])
def test_registered_tasks_keep_the_contract(name):
    assert made_for(name).task == name
    assert name not in BUILT_IN or data(BUILT_IN[name]).task == name
    contract.check(Part(name), made_for(name))
    assert TASKS.summaries()[name]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("classification", {"metric": "macro_f1"}),
        ("multi_label", {"threshold": 0.2}),
        ("regression", {"standardise": False}),
        ("dense_regression", {"objective": "relative_l2"}),
        ("autoencoding", {"objective": "ssim"}),
    ],
)
def test_options_keep_the_contract(name, args):
    contract.check(Part(name, args), made_for(name))


@pytest.mark.parametrize("args", [{}, {"smoothing": 0.1}])
def test_a_task_from_a_users_file_keeps_the_contract(args):
    contract.check(Part(OWN, args), data("digits"))


class OneRatioForAllClasses(Classification):
    def sums(self, outputs, targets):
        hits, counts = super().sums(outputs, targets)["macro_f1"]
        return {"accuracy": (hits, counts.sum())}


class PredictsProbabilities(Classification):
    def predicted(self, outputs):
        return jax.nn.softmax(outputs)


LABELS = np.random.default_rng(0).choice(3, 96, p=[0.5, 0.3, 0.2]).astype(np.int32)


class SumInPlaceOfMean(Classification):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets) * len(targets)


class LossOfTheFirstExampleCountsTwice(Classification):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets) + 0.1 * super().loss(outputs[:1], targets[:1])


class LossOverflows(Classification):
    def loss(self, outputs, targets):
        right = jnp.take_along_axis(outputs, targets[:, None], 1)[:, 0]
        return (jnp.log(jnp.exp(4 * outputs).sum(1)) / 4 - right).mean()


class GradientIsNotFiniteAtZero(Classification):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets) + jnp.sqrt(jnp.square(outputs).sum(1)).mean()


class GradientOfAnotherLoss(Classification):
    def loss(self, outputs, targets):
        loss = super().loss(outputs, targets)
        return jax.lax.stop_gradient(loss - 2 * loss) + 2 * loss


class MeanInPlaceOfSum(Classification):
    def sums(self, outputs, targets):
        right, count = super().sums(outputs, targets)["accuracy"]
        return {"accuracy": (right / count, jnp.float32(1))}


class ShareAboveOne(Classification):
    def sums(self, outputs, targets):
        right, count = super().sums(outputs, targets)["accuracy"]
        return {"accuracy": (right + count, count)}


class ChanceTooGood(Classification):
    def chance(self, targets, num_outputs):
        return 0.9


class ChanceOfUniformGuessesIsBeatenByOneClass(Classification):
    def chance(self, targets, num_outputs):
        return 1 / num_outputs


class LowerIsBetter(Classification):
    higher_is_better: ClassVar[bool] = False

    def chance(self, targets, num_outputs):
        return float(np.bincount(targets, minlength=num_outputs).min() / len(targets))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (SumInPlaceOfMean, "not the mean over the examples"),
        (LossOfTheFirstExampleCountsTwice, "depends on the order"),
        (LossOverflows, "loss not finite"),
        (GradientIsNotFiniteAtZero, "gradient not finite"),
        (GradientOfAnotherLoss, "not the slope of the loss"),
        (MeanInPlaceOfSum, "sums of accuracy do not add up"),
        (ShareAboveOne, r"must lie in \[0, 1\]"),
        (ChanceTooGood, "chance is 0.9, but the best"),
        (ChanceOfUniformGuessesIsBeatenByOneClass, "chance is 0.33.*but the best"),
        (LowerIsBetter, "no better than chance"),
    ],
)
def test_broken_tasks_are_told_apart(broken, message):
    with pytest.raises(AssertionError, match=message):
        contract.check_fitted(broken(), LABELS, 3)


class LossOfEveryExample(Classification):
    def loss(self, outputs, targets):
        return (outputs.max(1) - outputs[:, 0]) * 1.0


class LossOfWholeNumbers(Classification):
    def loss(self, outputs, targets):
        return (outputs.argmax(1) != targets).sum()


class MetricIsMissing(Classification):
    def sums(self, outputs, targets):
        return {"right": super().sums(outputs, targets)["accuracy"]}


class NoSums(Classification):
    def sums(self, outputs, targets):
        return super().sums(outputs, targets)["accuracy"]


class ValueInPlaceOfAPair(Classification):
    def sums(self, outputs, targets):
        right, count = super().sums(outputs, targets)["accuracy"]
        return {"accuracy": right / count}


class CountIsAPythonNumber(Classification):
    def sums(self, outputs, targets):
        right = super().sums(outputs, targets)["accuracy"][0]
        return {"accuracy": (right, jnp.int32(len(targets)))}


class WrongShapes(Classification):
    def loss(self, outputs, targets):
        return (outputs - targets).mean()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (LossOfEveryExample, "task classification: loss must be float32[], got float32[2]"),
        (LossOfWholeNumbers, "task classification: loss must be float32[], got int32[]"),
        (MetricIsMissing, "sums must hold the metric 'accuracy', got right"),
        (NoSums, "sums must be a dict by metric, got tuple"),
        (ValueInPlaceOfAPair, "sums['accuracy'] must be a sum and a count, float32[] each, got"),
        (CountIsAPythonNumber, "float32[] each, got float32[], int32[]"),
        (OneRatioForAllClasses, "a sum and a count, float32[] each, got float32[3], float32[] (or"),
        (PredictsProbabilities, "predicted must have the targets' shape [2], got float32[2, 3]"),
        (WrongShapes, "fails on outputs float32[2, 3] and targets int32[2]: ValueError: Incomp"),
    ],
)
def test_wrong_shapes_are_named(broken, message):
    with pytest.raises(UserError, match=re.escape(message)):
        contract.check_fitted(broken(), LABELS, 3)


def test_a_task_that_does_not_fit_the_data_is_named():
    with pytest.raises(
        UserError,
        match=r"needs targets int32\[N\].* got float32\[2400, 3\]; the data set gratings is made "
        "for task.name = 'regression'",
    ):
        make_task(Part("classification"), data("gratings"))
    with pytest.raises(UserError, match=r"needs targets \[N, 10\].*; got int32\[1438\]; .*'class"):
        make_task(Part("multi_label"), data("digits"))
    with pytest.raises(UserError, match=r"float32\[N, 10\].*; got bool\[2876, 10\]; the"):
        make_task(Part("regression"), data("digits_multi_label"))
    with pytest.raises(UserError, match=r"unknown task 'regresion'.*mean 'regression'"):
        make_task(Part("regresion"), data("gratings"))
    with pytest.raises(UserError, match=r"task multi_label: threshold = 1\.0 must be less than 1"):
        make_task(Part("multi_label", {"threshold": 1.0}), data("digits_multi_label"))
