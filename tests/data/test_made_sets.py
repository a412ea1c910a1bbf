"""The made data sets: what they promise, and that they are learnable but not at a glance."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score

from hwnas_jax.data import DigitScenes, DigitsMultiLabel, Gratings
from hwnas_jax.registry import Part
from hwnas_jax.tasks import make_task


def _known():
    """Returns `{pixels of a digit: its number}`, from scikit-learn's own arrays."""
    digits = load_digits()
    pixels = np.floor(digits.images * 255 / 16 + 0.5).astype(np.uint8)
    return {image.tobytes(): int(label) for image, label in zip(pixels, digits.target, strict=True)}


@pytest.mark.parametrize(("digits", "repeats"), [(2, 2), (3, 1)])
def test_labels_are_the_digits_that_an_image_shows(digits, repeats):
    data = DigitsMultiLabel(digits, repeats).load()
    known, places = _known(), {}
    assert data.input_shape == (8, 8 * digits, 1)
    for part in ("train", "test"):
        inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
        shown = [
            [image[:, 8 * place : 8 * place + 8, 0].tobytes() for place in range(digits)]
            for image in inputs
        ]
        expected = [sorted({known[digit] for digit in row}) for row in shown]
        assert expected == [np.flatnonzero(row).tolist() for row in targets]
        for place in range(digits):
            used = [row[place] for row in shown]
            places[part] = set(used)
            assert len(used) == repeats * len(places[part]), "every digit as often at every place"
    assert not places["train"] & places["test"]
    assert len(places["train"] | places["test"]) == 1797


def _ridge(train, targets, test, strength):
    train, test = (np.c_[x, np.ones(len(x))] for x in (train, test))
    gram = train.T @ train + strength * np.eye(train.shape[1])
    return test @ np.linalg.solve(gram, train.T @ targets)


def test_the_digits_of_an_image_are_learnable():
    data = DigitsMultiLabel(repeats=1).load()
    task = make_task(Part("multi_label"), data)
    train, test = (x.reshape(len(x), -1) / 255.0 for x in (data.train_inputs, data.test_inputs))
    answers = _ridge(train, 2.0 * data.train_targets - 1, test, 10.0)
    linear = f1_score(data.test_targets, answers > 0, average="micro")
    assert 2 * task.chance(data.test_targets, 10) < linear < 0.9


def _spectrum(images):
    """Log power of the windowed images: what is left when the phase is not looked at."""
    size = images.shape[1]
    window = np.hanning(size + 2)[1:-1]
    power = np.abs(np.fft.rfft2(images[..., 0] * window[:, None] * window, s=(16, 16))) ** 2
    return np.log(power + 1e-3).reshape(len(images), -1)


def test_gratings_need_more_than_a_line_and_have_the_noise_floor_they_say():
    source = Gratings()
    data = source.load()
    task = make_task(Part("regression"), data)
    train, test = ((t - task.mean) / task.std for t in (data.train_targets, data.test_targets))
    assert 0.9 < task.chance(data.test_targets, 3) < 1.1

    def error(look):
        return np.square(
            _ridge(look(data.train_inputs), train, look(data.test_inputs), 1.0) - test
        ).mean()

    assert error(lambda images: images.reshape(len(images), -1)) > 0.95, "linear in the pixels"
    assert source.noise_floor < error(_spectrum) < 2.5 * source.noise_floor


def test_gratings_show_the_wave_that_their_targets_say():
    data = Gratings(examples=40, size=32, noise=0.0).load()
    assert Gratings(noise=0.0).noise_floor == 0
    for image, (cosine, sine, frequency) in zip(
        data.train_inputs[..., 0], data.train_targets, strict=True
    ):
        power = np.abs(np.fft.fft2(image * np.outer(np.hanning(32), np.hanning(32)), (256, 256)))
        power[0, 0] = 0
        down, right = np.fft.fftfreq(256)[list(np.unravel_index(power.argmax(), power.shape))]
        assert np.hypot(down, right) == pytest.approx(frequency, abs=0.01)
        angle = np.arctan2(down, right)
        np.testing.assert_allclose([np.cos(2 * angle), np.sin(2 * angle)], [cosine, sine], atol=0.1)


def test_noise_of_gratings_has_the_deviation_it_says():
    clean, noisy = (Gratings(examples=4000, noise=noise).load() for noise in (0.0, 0.3))
    np.testing.assert_array_equal(clean.train_inputs, noisy.train_inputs)
    signal, noise = clean.train_targets, noisy.train_targets - clean.train_targets
    np.testing.assert_allclose(noise.std(0) / signal.std(0), 0.3, rtol=0.05)
    floor = (noise.var(0) / noisy.train_targets.var(0)).mean()
    assert floor == pytest.approx(Gratings(noise=0.3).noise_floor, rel=0.05)


def test_the_pixels_of_a_scene_have_the_class_of_their_digit():
    data, known = DigitScenes(size=8, digits=1, noise=0).load(), _known()
    assert (data.task, data.output_names[0], len(data.output_names)) == (
        "segmentation", "background", 11,
    )  # fmt: skip
    used = {}
    for part in ("train", "test"):
        inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
        for image, classes in zip(inputs[..., 0], targets, strict=True):
            used.setdefault(part, set()).add(image.tobytes())
            np.testing.assert_array_equal(classes, (image >= 64) * (known[image.tobytes()] + 1))
    assert not used["train"] & used["test"]
    assert len(used["train"] | used["test"]) == 1797


def test_in_a_scene_the_brightest_digit_is_seen_and_every_place_is_used():
    one, two = (DigitScenes(digits=digits, noise=0).load() for digits in (1, 2))
    first, both = one.train_inputs[..., 0], two.train_inputs[..., 0]
    np.testing.assert_array_equal(np.maximum(first, both), both)
    kept = (both == first) & (first >= 64)
    np.testing.assert_array_equal(two.train_targets[kept], one.train_targets[kept])
    assert ((both >= 64) == (two.train_targets > 0)).all()
    # Each of the nine places of an eight pixel square on a side of sixteen, about as often.
    rows = np.argmax(first.any(2), axis=1)
    assert (np.bincount(rows, minlength=9)[:9] > 100).all()


@pytest.mark.parametrize("hole", [0, 5])
def test_a_scene_is_to_be_given_back_without_noise_and_hole(hole):
    data = DigitScenes("image", noise=0.05, hole=hole).load()
    whole = DigitScenes(noise=0).load()
    assert (data.task, data.output_names) == ("autoencoding", ("brightness",))
    clean = whole.test_inputs / np.float32(255)
    np.testing.assert_array_equal(data.test_targets, clean)
    off = data.test_inputs / 255.0 - clean
    black = data.test_inputs == 0
    assert np.abs(off[~black]).mean() == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.1)
    sure = (clean > 0.4) & black
    assert sure.any() == bool(hole)
    for image in sure[sure.any((1, 2, 3))]:
        rows, columns = np.nonzero(image[..., 0])
        assert max(np.ptp(rows), np.ptp(columns)) < max(hole, 1)
