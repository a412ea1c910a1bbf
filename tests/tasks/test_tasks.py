"""Losses, metrics and chance levels of the tasks against scikit-learn, numpy and enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from hwnas_jax.errors import UserError
from hwnas_jax.tasks import Classification, MultiLabel, Regression, values

RNG = np.random.default_rng(0)
OUTPUTS = RNG.standard_normal((40, 5)).astype(np.float32)
CLASSES = RNG.integers(0, 5, 40).astype(np.int32)
LABELS = RNG.random((40, 5)) < [0.6, 0.5, 0.3, 0.2, 0.05]
VALUES = (RNG.standard_normal((40, 5)) * [1, 10, 0.1, 3, 2] + [0, 5, -1, 100, 2]).astype(np.float32)


def metrics_of(task, outputs, targets):
    return {k: float(v) for k, v in values(task.sums(jnp.asarray(outputs), targets)).items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def test_classification_is_that_of_scikit_learn():
    task = Classification()
    share = np.exp(OUTPUTS) / np.exp(OUTPUTS).sum(1, keepdims=True)
    expected = metrics.log_loss(CLASSES, share, labels=range(5))
    np.testing.assert_allclose(task.loss(OUTPUTS, CLASSES), expected, rtol=1e-5)
    accuracy = metrics.accuracy_score(CLASSES, OUTPUTS.argmax(1))
    np.testing.assert_allclose(metrics_of(task, OUTPUTS, CLASSES)["accuracy"], accuracy, rtol=1e-6)


@pytest.mark.parametrize("kind", [bool, np.int32, np.float32])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_multi_label_is_that_of_scikit_learn(kind, threshold):
    task, targets = MultiLabel(threshold), LABELS.astype(kind)
    task.check(targets, 5)
    expected = metrics.log_loss(LABELS.ravel(), sigmoid(OUTPUTS).ravel())
    np.testing.assert_allclose(task.loss(OUTPUTS, targets), expected, rtol=1e-5)
    predicted = sigmoid(OUTPUTS) > threshold
    got = metrics_of(task, OUTPUTS, targets)
    np.testing.assert_allclose(
        got["f1"], metrics.f1_score(LABELS, predicted, average="micro"), rtol=1e-6
    )
    np.testing.assert_allclose(
        got["label_accuracy"], 1 - metrics.hamming_loss(LABELS, predicted), rtol=1e-6
    )


def test_macro_f1_is_that_of_scikit_learn():
    task = Classification(metric="macro_f1")
    rare = np.where(CLASSES == 4, 0, CLASSES)
    outputs = OUTPUTS + np.float32(
        [0, 0, 0, -50, -50]
    )  # the last class is neither there nor predicted
    expected = metrics.f1_score(rare, outputs.argmax(1), average="macro", zero_division=0)
    np.testing.assert_allclose(metrics_of(task, outputs, rare)["macro_f1"], expected, rtol=1e-6)
    constant = [
        metrics.f1_score(rare, np.full(40, k), average="macro", zero_division=0) for k in range(4)
    ]
    np.testing.assert_allclose(task.chance(rare, 5), max(constant))
    assert task.right(jnp.asarray(outputs), rare) is None


def test_what_needs_all_outputs_is_that_of_scikit_learn():
    final = MultiLabel().final(OUTPUTS, LABELS)
    assert final == {
        "auroc": pytest.approx(metrics.roc_auc_score(LABELS, OUTPUTS)),
        "mean_average_precision": pytest.approx(metrics.average_precision_score(LABELS, OUTPUTS)),
    }
    one_sided = LABELS.copy()
    one_sided[:, 0], one_sided[:, 1] = False, True
    others = metrics.roc_auc_score(LABELS[:, 2:], OUTPUTS[:, 2:])
    assert MultiLabel().final(OUTPUTS, one_sided)["auroc"] == pytest.approx(others)
    assert MultiLabel().final(OUTPUTS[:, :2], one_sided[:, :2]) == {}
    assert Classification().final(OUTPUTS, CLASSES) == {}


def test_what_outputs_say_is_in_the_units_of_the_targets():
    np.testing.assert_array_equal(Classification().predicted(OUTPUTS), OUTPUTS.argmax(1))
    np.testing.assert_array_equal(MultiLabel(0.3).predicted(OUTPUTS), sigmoid(OUTPUTS) > 0.3)
    task = Regression().fit(VALUES)
    np.testing.assert_allclose(task.predicted(task.scaled(VALUES)), VALUES, rtol=1e-4, atol=1e-5)


def test_predicting_no_label_has_an_f1_of_zero_and_most_labels_right():
    rare = np.zeros((50, 4), bool)
    rare[0, 1] = True
    got = metrics_of(MultiLabel(), np.full((50, 4), -5, np.float32), rare)
    assert got["f1"] == 0
    assert got["label_accuracy"] == pytest.approx(199 / 200)
    # Where nothing is to be found and nothing is predicted there is nothing to count.
    assert metrics_of(MultiLabel(), np.full((9, 4), -5, np.float32), rare[1:10])["f1"] == 0


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_chance_of_multi_label_is_the_best_set_of_labels(counts, seed):
    rng = np.random.default_rng(seed)
    targets = np.stack([rng.permutation(12) < count for count in counts], axis=1)
    scores = []
    for chosen in itertools.product([False, True], repeat=len(counts)):
        hits, missed = targets[:, chosen].sum(), targets[:, ~np.array(chosen)].sum()
        wrong = (~targets[:, chosen]).sum()
        scores.append(2 * hits / (2 * hits + wrong + missed))
    assert MultiLabel().chance(targets, len(counts)) == pytest.approx(max(scores))


@pytest.mark.parametrize("standardise", [True, False])
def test_regression_is_that_of_scikit_learn(standardise):
    train, test = VALUES[:25], VALUES[25:]
    task = Regression(standardise).fit(train)
    mean, std = train.astype(np.float64).mean(0), train.astype(np.float64).std(0)
    z = (lambda x: (x - mean) / std) if standardise else (lambda x: x)
    outputs = OUTPUTS[:25] if standardise else train + OUTPUTS[:25]
    expected = metrics.mean_squared_error(z(train), outputs)
    np.testing.assert_allclose(task.loss(outputs, train), expected, rtol=1e-5)
    got = metrics_of(task, outputs, train)
    np.testing.assert_allclose(got["mse"], expected, rtol=1e-5)
    # About the mean of the training targets, scikit-learn's share of variance is this one.
    average = "uniform_average" if standardise else "variance_weighted"
    share = metrics.r2_score(
        train, mean + std * outputs if standardise else outputs, multioutput=average
    )
    np.testing.assert_allclose(got["r2"], share, rtol=1e-4)
    unseen = ((z(test) - OUTPUTS[25:]) ** 2).mean()
    np.testing.assert_allclose(task.loss(OUTPUTS[25:], test), unseen, rtol=1e-5)
    np.testing.assert_allclose(task.chance(test, 5), z(test.astype(np.float64)).var(0).mean())


def test_the_training_mean_has_error_one_and_explains_nothing():
    task = Regression().fit(VALUES)
    np.testing.assert_allclose(task.mean, VALUES.mean(0), rtol=1e-5)
    np.testing.assert_allclose(task.std, VALUES.std(0), rtol=1e-5)
    got = metrics_of(task, np.zeros((40, 5), np.float32), VALUES)
    assert got["mse"] == pytest.approx(1, abs=1e-5)
    assert got["r2"] == pytest.approx(0, abs=1e-5)
    assert task.chance(VALUES, 5) == pytest.approx(1)


def test_given_moments_are_kept_and_a_constant_target_has_deviation_one():
    given = Regression(mean=(1.0,), std=(2.0,))
    assert given.fit(VALUES[:, :1]) == given
    np.testing.assert_allclose(given.loss(jnp.ones((1, 1)), jnp.full((1, 1), 5.0)), 1.0)
    constant = Regression().fit(np.full((7, 1), 3.3, np.float32))
    assert constant.std == (1.0,)
    np.testing.assert_allclose(constant.mean, [3.3], rtol=1e-6)


# Few sizes of parts: each is compiled once.
@pytest.mark.parametrize("sizes", [(20, 20), (1, 20, 19), (1, 1, 19, 19)])
@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (Classification(), CLASSES),
        (MultiLabel(), LABELS),
        (Regression().fit(VALUES), VALUES),
        (Regression(standardise=False).fit(VALUES), VALUES),
    ],
    ids=["classification", "multi_label", "regression", "raw regression"],
)
def test_metrics_are_those_of_the_whole_set_however_it_is_split(task, targets, sizes):
    order = np.random.default_rng(len(sizes)).permutation(40)
    edges = np.cumsum([0, *sizes])
    sums = jax.jit(task.sums)
    parts = [sums(OUTPUTS[order[a:b]], targets[order[a:b]]) for a, b in itertools.pairwise(edges)]
    added = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    whole = metrics_of(task, OUTPUTS, targets)
    for metric, value in values(added).items():
        np.testing.assert_allclose(value, whole[metric], rtol=1e-5, atol=1e-6)


def test_counts_of_zero_and_values_that_are_not_finite():
    zero, one = jnp.float32(0), jnp.float32(1)
    assert values({"f1": (zero, zero)})["f1"] == 0
    assert np.isnan(values({"mse": (jnp.float32(np.nan), one)})["mse"])
    assert np.isnan(values({"r2": (one, jnp.float32(np.nan))})["r2"])


def test_only_an_accuracy_has_examples_that_are_right():
    np.testing.assert_array_equal(
        Classification().right(OUTPUTS, CLASSES), OUTPUTS.argmax(1) == CLASSES
    )
    assert MultiLabel().right(OUTPUTS, LABELS) is None
    assert Regression().right(OUTPUTS, VALUES) is None
    assert Regression().right(VALUES, VALUES) is None  # errors of zero are no wrong answers


def test_which_is_better_and_how_it_is_shown():
    assert Classification().better(0.9, 0.8)
    assert not Classification().better(0.8, 0.8)
    assert Regression().better(0.1, 0.2)
    assert not Regression().better(0.2, 0.1)
    assert Classification().show(0.9312) == "93.1 %"
    assert Regression().show(0.012345) == "0.01235"


@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        (Classification(), CLASSES[:, None], r"int32\[N\].*; got int32\[40, 1\]"),
        (Classification(), VALUES[:, 0], r"int32\[N\].*; got float32\[40\]"),
        (Classification(), CLASSES + 1, r"in 0\.\.4.* 5 classes; they run from 1 to 5"),
        (Classification(), CLASSES - 1, r"they run from -1 to 3"),
        (MultiLabel(), CLASSES, r"\[N, 5\].*; got int32\[40\]"),
        (MultiLabel(), LABELS[:, :4], r"\[N, 5\].*; got bool\[40, 4\]"),
        (MultiLabel(), 2 * LABELS.astype(np.int32), "zeros and ones, got 2"),
        (MultiLabel(), VALUES, "zeros and ones, got"),
        (MultiLabel(), np.zeros((9, 5), bool), "no example has any of the 5 labels"),
        (Regression(), VALUES[:, 0], r"float32\[N, 5\].*; got float32\[40\]"),
        (Regression(), LABELS, r"float32\[N, 5\].*; got bool\[40, 5\]"),
        (Regression(mean=(1.0, 2.0)), VALUES, "mean has 2 entries for 5 outputs"),
    ],
)
def test_targets_that_do_not_fit_are_named(task, targets, message):
    with pytest.raises(UserError, match=f"task {task.name}.*{message}"):
        task.check(targets, 5)


def test_one_class_is_too_few():
    with pytest.raises(UserError, match="at least two classes, got 1"):
        Classification().check(np.zeros(3, np.int32), 1)
