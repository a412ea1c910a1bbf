"""Made sequences: their best classifier is the best, and what cannot be seen cannot be told."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import norm

from hwnas_jax.data import EcgLike, EmgLike, SatelliteLike
from hwnas_jax.errors import UserError


def accuracy(source, data):
    return (source.best_classes(data.test_inputs) == data.test_targets).mean()


def spread(share, count):
    return np.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize(
    ("source", "least"),
    [
        (EcgLike(examples=600), 0.93),
        (EcgLike(examples=300, noise=0.05), 1.0),
        (EmgLike(examples=2000), 0.93),
        (SatelliteLike(examples=3000), 0.9),
        (SatelliteLike(examples=500, noise=0.02), 1.0),
    ],
)
def test_nearly_all_can_be_learned(source, least):
    data = source.load()
    assert accuracy(source, data) >= least
    counts = np.bincount(np.concatenate([data.train_targets, data.test_targets]))
    assert len(counts) == data.num_outputs == len(source.classes)
    assert counts.max() - counts.min() <= 1
    assert data.input_shape[:2] == (1, source.length)


def test_two_seasons_are_told_apart_as_often_as_theory_says():
    """Two normal classes of one covariance: the share is that of half their distance."""
    source = SatelliteLike(examples=20_000, covers=2, shift=0, noise=2.0, soil=1.5)
    data = source.load()
    one, other = source.templates(0)
    covariance = 2.0**2 * np.eye(46) + 1.5**2 * np.ones((46, 46))
    distance = np.sqrt((one - other) @ np.linalg.solve(covariance, one - other))
    expected = norm.cdf(distance / 2)
    assert 0.6 < expected < 0.95
    assert abs(accuracy(source, data) - expected) < 4 * spread(expected, len(data.test_targets))


def test_densities_of_seasons_are_those_of_normal_vectors():
    source = SatelliteLike(length=16, covers=5, shift=2)
    inputs = np.random.default_rng(0).normal(0.5, 0.5, (3, 16, 1))
    covariance = source.noise**2 * np.eye(16) + source.soil**2 * np.ones((16, 16))
    found = source.log_likelihoods(inputs)
    expected = np.zeros((3, 5))
    for row, cover, shift in itertools.product(range(3), range(5), range(-2, 3)):
        left = inputs[row, :, 0] - source.templates(shift)[cover]
        expected[row, cover] += np.exp(-left @ np.linalg.solve(covariance, left) / 2)
    np.testing.assert_allclose(found, np.log(expected), atol=1e-8)


def test_gestures_are_told_apart_as_often_as_their_energies_say():
    """An energy is a variance times a chi-squared number, drawn here without any sequence."""
    source = EmgLike(examples=6000, gestures=6, electrodes=5, length=12, strength=0.6)
    data = source.load()
    spreads = source.deviations
    rng = np.random.default_rng(5)
    right = []
    for gesture in range(6):
        energies = spreads[gesture] ** 2 * rng.chisquare(12, (20_000, 5))
        density = -(energies[:, None] / (2 * spreads**2)).sum(-1) - 12 * np.log(spreads).sum(-1)
        right.append((density.argmax(1) == gesture).mean())
    expected = np.mean(right)
    assert 0.3 < expected < 0.95
    assert abs(accuracy(source, data) - expected) < 5 * spread(expected, len(data.test_targets))
    np.testing.assert_allclose(
        [data.train_inputs[data.train_targets == g].std((0, 1, 2)) for g in range(6)],
        spreads, rtol=0.06,
    )  # fmt: skip


def waves(steps, unusual, with_p):
    """One beat whose R wave is at zero; steps are in beats. Written anew from the docstring."""
    table = [(-0.042, -0.167, 0.016), (0.042, -0.25, 0.016)]
    table += (
        [(0, 1, 0.04), (0.278, -0.4, 0.064)] if unusual else [(0, 1, 0.016), (0.278, 0.4, 0.064)]
    )
    table += [(-0.194, 0.25, 0.04)] if with_p else []
    return sum(h * np.exp(-((steps - m) ** 2) / (2 * w**2)) for m, h, w in table)


def test_densities_of_heartbeats_are_those_of_all_places_and_first_steps():
    source = EcgLike(length=64, interval=16, lag=1, noise=0.4)
    inputs = np.random.default_rng(0).normal(0, 0.5, (2, 64, 1))
    expected = np.zeros((2, 4))
    for number, begin, first in itertools.product(range(4), range(16), range(4)):
        second = (first + (2 if number >= 2 else 1)) % 4
        mean = sum(
            waves(
                (np.arange(64) - begin - 16 * beat) / 16, beat in (first, second), number % 2 == 0
            )
            for beat in range(-1, 5)
        )
        expected[:, number] += np.exp(-np.square(inputs[..., 0] - mean).sum(1) / (2 * 0.4**2))
    found = source.log_likelihoods(inputs)
    gaps = found - np.log(expected)
    np.testing.assert_allclose(gaps, np.broadcast_to(gaps[:, :1], gaps.shape), atol=1e-8)


def places_of_unusual(sequence, source):
    """Returns the numbers of beats whose R wave is wide: high beside its middle as well."""
    peaks = np.flatnonzero(sequence > 0.8)
    assert len(peaks) == source.length // source.interval
    beside = sequence[np.where(peaks > 0, peaks - 1, peaks + 1)]
    return np.flatnonzero(beside > 0.3)


@pytest.mark.parametrize("lag", [1, 2])
def test_unusual_beats_are_where_the_class_says_and_anywhere_as_often(lag):
    source = EcgLike(examples=2000, lag=lag, noise=1e-3)
    labels = np.arange(2000) % 4
    sequences = source.draw(labels, np.random.default_rng(0))[..., 0]
    count = {"near": np.zeros(8), "far": np.zeros(8)}
    for label, sequence in zip(labels, sequences, strict=True):
        one, other = places_of_unusual(sequence, source)
        kind = source.classes[label].partition(",")[0]
        wanted = lag if kind == "near" else 2 * lag
        assert {(other - one) % 8, (one - other) % 8} == {wanted, 8 - wanted}
        assert (other - one) * source.interval >= source.reach
        count[kind][[one, other]] += 1
    for found in count.values():
        np.testing.assert_allclose(found / 1000, 1 / 4, atol=5 * spread(0.25, 1000))


def test_the_mean_of_all_steps_does_not_tell_near_from_far():
    source = EcgLike(examples=4000)
    data = source.load()
    means = data.train_inputs.mean((1, 2, 3))
    near, far = (means[np.isin(data.train_targets, kinds)] for kinds in ((0, 1), (2, 3)))
    error = np.sqrt(near.var() / len(near) + far.var() / len(far))
    assert abs(near.mean() - far.mean()) < 4 * error


def test_too_few_beats_are_refused():
    with pytest.raises(UserError, match=r"more than 9 beats of 32 steps; length = 256 has 8"):
        EcgLike(lag=3).load()
    assert EcgLike(lag=3, length=320).reach == 96
    assert SatelliteLike().reach == 21
    assert dataclasses.replace(EmgLike(), length=9).reach == 1
