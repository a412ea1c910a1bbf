"""Losses, metrics and chance levels of dense tasks against scikit-learn, scipy and plain loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn import metrics

from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.tasks import (
    Autoencoding,
    DenseRegression,
    Segmentation,
    SurfaceNormals,
    make_task,
    values,
)
from hwnas_jax.tasks.similarity import ssim, window
from tests.tasks.dense_data import DENSE, POSITIONS

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((8, 4, 5, 6)).astype(np.float32)
CLASSES = RNG.choice(6, (8, 4, 5), p=[0.4, 0.3, 0.2, 0.1, 0, 0]).astype(np.int32)
SCORES[..., 5] -= 50  # the last class is neither there nor predicted, the one before is predicted
VALUES = (RNG.standard_normal((8, 4, 5, 2)) * [3, 0.1] + [9, -1]).astype(np.float32)
OUTPUTS = RNG.standard_normal((8, 4, 5, 2)).astype(np.float32)


def metrics_of(task, outputs, targets):
    return {k: float(v) for k, v in values(task.sums(jnp.asarray(outputs), targets)).items()}


@pytest.mark.parametrize("ignore", [-1, 255])
def test_segmentation_is_that_of_scikit_learn(ignore):
    targets = CLASSES.astype(np.int16 if ignore < 0 else np.uint8)
    targets[0, :2] = ignore
    task = Segmentation(ignore=ignore)
    task.check(targets, 6)
    known = targets != ignore
    true, said = targets[known], SCORES.argmax(-1)[known]
    got = metrics_of(task, SCORES, targets)
    # Of classes that are nowhere scikit-learn would count a zero.
    each = metrics.jaccard_score(true, said, labels=np.union1d(true, said), average="macro")
    np.testing.assert_allclose(got["mean_iou"], each, rtol=1e-6)
    np.testing.assert_allclose(got["pixel_accuracy"], metrics.accuracy_score(true, said), rtol=1e-6)
    share = jax.nn.softmax(SCORES.astype(np.float64))[known]
    expected = metrics.log_loss(true, share / share.sum(1, keepdims=True), labels=range(6))
    fitted = task.fit(targets)
    np.testing.assert_allclose(fitted.loss(SCORES, targets), expected, rtol=1e-5)
    np.testing.assert_allclose(task.loss(SCORES, targets), expected * known.mean(), rtol=1e-5)


def test_balanced_classes_weigh_the_same():
    task = Segmentation(class_weights="balanced").fit(CLASSES)
    share = np.float64(jax.nn.softmax(SCORES))
    entropy = -np.log(np.take_along_axis(share, CLASSES[..., None], -1))[..., 0]
    expected = np.mean([entropy[k == CLASSES].mean() for k in range(4)])
    np.testing.assert_allclose(task.loss(SCORES, CLASSES), expected, rtol=1e-5)


def test_sums_of_classes_add_up_over_batches():
    task = Segmentation()
    parts = [task.sums(SCORES[a:b], CLASSES[a:b]) for a, b in itertools.pairwise((0, 1, 3, 8))]
    added = values(jax.tree.map(lambda *leaves: sum(leaves), *parts))
    whole = metrics_of(task, SCORES, CLASSES)
    assert added["mean_iou"] == pytest.approx(whole["mean_iou"], rel=1e-6)
    # The mean over batches is another number: classes are missing from some of them.
    assert np.mean([values(part)["mean_iou"] for part in parts]) != pytest.approx(
        whole["mean_iou"], rel=1e-3
    )


def test_ratios_without_a_count_are_no_part_of_the_mean():
    sums = {"mean_iou": (jnp.float32([3, 0, 1]), jnp.float32([4, 0, 4]))}
    assert values(sums)["mean_iou"] == pytest.approx(0.5)
    empty = {"mean_iou": (jnp.zeros(3), jnp.zeros(3))}
    assert values(empty)["mean_iou"] == 0
    undefined = {"mean_iou": (jnp.float32([np.nan, 1]), jnp.float32([1, 1]))}
    assert np.isnan(values(undefined)["mean_iou"])


def test_chance_of_segmentation_is_that_of_guesses_made_by_hand():
    targets = np.int32([[[0, 0, 1]], [[0, 2, 1]], [[0, 0, -1]], [[2, 0, 1]]])
    # The most frequent class of each position is 0, 0, 1. Class 0 is said eight times, six times
    # rightly, and is nowhere else; class 1 is right wherever it has a target; class 2 is missed.
    assert Segmentation().chance(targets, 3) == pytest.approx((6 / 8 + 3 / 3 + 0) / 3)
    everywhere = np.int32([[[0, 0, 1]], [[0, 1, 0]], [[1, 0, 0]], [[0, 0, 0]]])
    assert Segmentation().chance(everywhere, 2) == pytest.approx((9 / 12 + 0) / 2)


@pytest.mark.parametrize("standardise", [True, False])
def test_dense_regression_is_that_of_a_plain_loop(standardise):
    train, test = VALUES[:5], VALUES[5:]
    task = DenseRegression(standardise=standardise).fit(train)
    flat = train.astype(np.float64).reshape(-1, 2)
    mean, std = (flat.mean(0), flat.std(0)) if standardise else (0.0, 1.0)
    own = OUTPUTS[5:] * std + mean
    relative = [
        np.sqrt(((p - y) ** 2).sum()) / np.sqrt((np.float64(y) ** 2).sum())
        for p, y in zip(own, test, strict=True)
    ]
    squared = (((own - test) / std) ** 2).mean()
    got = metrics_of(task, OUTPUTS[5:], test)
    np.testing.assert_allclose(got["relative_l2"], np.mean(relative), rtol=1e-5)
    np.testing.assert_allclose(got["mse"], squared, rtol=1e-5)
    np.testing.assert_allclose(task.loss(OUTPUTS[5:], test), squared, rtol=1e-5)
    np.testing.assert_allclose(task.predicted(OUTPUTS[5:]), own, rtol=1e-5)
    by_norm = DenseRegression(standardise=standardise, objective="relative_l2").fit(train)
    np.testing.assert_allclose(by_norm.loss(OUTPUTS[5:], test), np.mean(relative), rtol=1e-5)


def test_the_gradient_of_a_relative_error_of_zero_is_zero():
    task = DenseRegression(standardise=False, objective="relative_l2")
    gradient = jax.grad(task.loss)(jnp.asarray(VALUES), VALUES)
    assert (np.asarray(gradient) == 0).all()


def test_chance_of_the_relative_error_is_the_best_map():
    targets = VALUES[:, :2, :2]
    flat = np.float64(targets.reshape(8, -1))

    def error(guess):
        return np.mean(np.linalg.norm(guess - flat, axis=1) / np.linalg.norm(flat, axis=1))

    best = scipy.optimize.minimize(error, flat.mean(0)).fun
    task = DenseRegression().fit(targets)
    assert task.chance(targets, 2) == pytest.approx(best, rel=1e-3)
    assert best < error(flat.mean(0)) * (1 - 1e-6)
    by_square = DenseRegression(metric="mse").fit(targets)
    moments = targets.reshape(-1, 2).astype(np.float64)
    expected = (targets.var(0, np.float64) / moments.var(0)).mean()
    assert by_square.chance(targets, 2) == pytest.approx(expected)
    assert DenseRegression().chance(targets[:1], 2) == pytest.approx(0)


def loop_ssim(one, other):
    """Returns the similarity of two images `[H, W]` as its paper defines it, place by place."""
    rows, columns = one.shape
    down, right = (min(11, size - (size + 1) % 2) for size in one.shape)
    i, j = np.mgrid[:down, :right]
    weight = np.exp(-((i - down // 2) ** 2 + (j - right // 2) ** 2) / (2 * 1.5**2))
    weight /= weight.sum()
    found = []
    for r in range(rows - down + 1):
        for c in range(columns - right + 1):
            x, y = (np.float64(im[r : r + down, c : c + right]) for im in (one, other))
            mx, my = (weight * x).sum(), (weight * y).sum()
            vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
            cov = (weight * (x - mx) * (y - my)).sum()
            found.append(
                (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
                / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
            )  # fmt: skip
    return np.mean(found)


@pytest.mark.parametrize("shape", [(16, 13), (12, 11), (6, 5), (1, 20)])
def test_ssim_is_that_of_its_paper(shape):
    one, noise = RNG.random((2, 2, *shape, 3)).astype(np.float32)
    other = np.clip(0.7 * one + 0.3 * noise, 0, 1)
    expected = [
        np.mean([loop_ssim(one[n, ..., c], other[n, ..., c]) for c in range(3)]) for n in range(2)
    ]
    np.testing.assert_allclose(ssim(one, other), expected, rtol=1e-4)
    np.testing.assert_allclose(ssim(one, one), 1, rtol=1e-6)


def test_the_window_is_eleven_long_or_the_longest_odd_one_that_fits():
    assert [len(window(size)) for size in (1, 2, 3, 10, 11, 12, 90)] == [1, 1, 3, 9, 11, 11, 11]


def test_autoencoding_counts_similarity_and_squared_error():
    images, outputs = RNG.random((2, 5, 12, 12, 2)).astype(np.float32)
    task = Autoencoding()
    task.check(images, 2)
    got = metrics_of(task, outputs, images)
    similarity = float(ssim(outputs, images).mean())
    assert got["ssim"] == pytest.approx(similarity, rel=1e-5)
    assert got["mse"] == pytest.approx(np.square(outputs - images).mean(), rel=1e-5)
    assert task.loss(outputs, images) == pytest.approx(got["mse"], rel=1e-5)
    assert Autoencoding(objective="ssim").loss(outputs, images) == pytest.approx(
        1 - similarity, rel=1e-5
    )
    same = np.broadcast_to(images.mean(0), images.shape)
    assert task.chance(images, 2) == pytest.approx(float(ssim(same, images).mean()), abs=1e-5)


def test_the_angle_between_normals_is_that_of_a_plain_loop():
    targets, outputs = DENSE["surface_normals"].test_targets, RNG.standard_normal((12, 6, 5, 3))
    degrees, cosines = [], []
    for y, x in zip(targets.reshape(-1, 3), outputs.reshape(-1, 3), strict=True):
        if y.any():
            cosines.append(x @ y / np.linalg.norm(x))
            degrees.append(np.degrees(np.arccos(cosines[-1])))
    task, outputs = SurfaceNormals(), outputs.astype(np.float32)
    got = metrics_of(task, outputs, targets)
    assert len(degrees) == 12 * 29
    assert got["mean_angle_degrees"] == pytest.approx(np.mean(degrees), rel=1e-4)
    assert task.loss(outputs, targets) == pytest.approx((1 - np.array(cosines)).sum() / 360, 1e-4)
    unit = outputs / np.linalg.norm(outputs, axis=-1, keepdims=True)
    assert got["ssim"] == pytest.approx(float(ssim((unit + 1) / 2, (targets + 1) / 2).mean()), 1e-4)
    none = jax.grad(task.loss)(jnp.zeros((1, 6, 5, 3)), targets[:1])
    assert np.isfinite(none).all()


def test_no_example_of_a_dense_task_is_right_or_wrong():
    assert Segmentation().right(SCORES, CLASSES) is None


ZERO = VALUES.copy()
ZERO[3] = 0


@pytest.mark.parametrize(
    ("task", "targets", "channels", "message"),
    [
        (Segmentation(), CLASSES[:, 0, 0], 6, r"int32\[N, H, W\].*; got int32\[8\]"),
        (Segmentation(), VALUES, 2, r"int32\[N, H, W\].*; got float32\[8, 4, 5, 2\]"),
        (Segmentation(), CLASSES, 3, r"in 0\.\.2.* they run from 0 to 3"),
        (Segmentation(), CLASSES - 2, 6, r"ignore = -1 .* they run from -2 to 1"),
        (Segmentation(ignore=0), 0 * CLASSES, 6, "every position is 0, which is ignored"),
        (Segmentation(), 0 * CLASSES, 1, "at least two classes, got 1"),
        (DenseRegression(), CLASSES, 2, r"float32\[N, H, W, 2\].*; got int32\[8, 4, 5\]"),
        (DenseRegression(), VALUES, 1, r"float32\[N, H, W, 1\].*; got float32\[8, 4, 5, 2\]"),
        (DenseRegression(std=(1.0,)), VALUES, 2, "std has 1 entries for 2 outputs"),
        (DenseRegression(), ZERO, 2, r"example 3 .* is zero everywhere.* metric = mse"),
        (Autoencoding(), VALUES, 2, "from 0 to 1; they run from -1"),
        (Autoencoding(), CLASSES, 2, r"float32\[N, H, W, 2\].*; got int32\[8, 4, 5\]"),
        (SurfaceNormals(), VALUES, 2, r"float32\[N, H, W, 3\].*\[8, 4, 5, 2\] and 2 outputs"),
        (SurfaceNormals(), np.ones((1, 2, 2, 3), "f"), 3, r"example 0 .* 1\.732 at \[0, 0\]"),
        (SurfaceNormals(), np.zeros((1, 2, 2, 3), "f"), 3, "every target is the zero vector"),
    ],
)
def test_targets_that_do_not_fit_are_named(task, targets, channels, message):
    with pytest.raises(UserError, match=f"task {task.name}.*{message}"):
        task.check(targets, channels)


def test_a_zero_target_is_no_fault_where_errors_are_not_divided_by_it():
    task = DenseRegression(metric="mse")
    task.check(ZERO, 2)
    got = metrics_of(task.fit(ZERO), OUTPUTS, ZERO)
    others = np.arange(8) != 3
    alone = metrics_of(task.fit(ZERO), OUTPUTS[others], ZERO[others])
    assert got["relative_l2"] == pytest.approx(alone["relative_l2"], rel=1e-5)


def test_labels_of_examples_are_no_targets_of_positions():
    inputs = np.zeros((9, *POSITIONS, 1), np.float32)
    labels = (np.arange(9) % 3).astype(np.int32)
    data = Dataset("digits", inputs, labels, inputs, labels, ("a", "b", "c"))
    with pytest.raises(UserError, match="needs targets for each of the 6x5 positions"):
        make_task(Part("segmentation"), data)
