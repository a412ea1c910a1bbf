"""Splits, sampling, augmentation and normalisation against numpy and brute force."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.config import DataConfig
from hwnas_jax.data import Sampler, augment, holdout, normalise, split_halves
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import Augmentation, augmentation
from hwnas_jax.errors import UserError

FEW = settings(max_examples=15, deadline=None)


@given(count=st.integers(2, 3000), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_halves_are_disjoint_and_cover(count, seed):
    one, two = split_halves(count, seed)
    assert one.dtype == two.dtype == np.int32
    assert abs(len(one) - len(two)) <= 1
    np.testing.assert_array_equal(np.sort(np.concatenate([one, two])), np.arange(count))


def test_halves_depend_on_the_seed_alone():
    np.testing.assert_array_equal(split_halves(100, 3)[0], split_halves(100, 3)[0])
    assert (split_halves(100, 3)[0] != split_halves(100, 4)[0]).any()
    # A random half of 0..9999 has mean 4999.5 with deviation 28.9.
    assert abs(split_halves(10000, 0)[0].mean() - 4999.5) < 5 * 28.9
    with pytest.raises(UserError, match="at least 2 examples, got 1"):
        split_halves(1, 0)


@given(
    counts=st.lists(st.integers(2, 60), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_holdout_is_stratified(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if fraction * max(counts) < 1:
        return
    kept, held = holdout(labels, fraction, seed)
    assert kept.dtype == held.dtype == np.int32
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    got = np.bincount(labels[held], minlength=len(counts))
    assert (np.abs(got - fraction * np.array(counts)) < 1 + 1e-9).all()
    assert (got < counts).all()
    assert len(held) <= round(fraction * len(labels))


def test_holdout_total_shuffle_and_seed():
    labels = np.repeat([5, 7, 9], [33, 34, 35])
    kept, held = holdout(labels, 0.25, 0)
    assert len(held) == round(0.25 * 102)
    assert len(kept) + len(held) == 102
    np.testing.assert_array_equal(held, holdout(labels, 0.25, 0)[1])
    assert set(held.tolist()) != set(holdout(labels, 0.25, 1)[1].tolist())
    assert (np.diff(held) > 1).any(), "a block of each class, not a shuffle"


@given(
    count=st.integers(2, 200),
    width=st.integers(1, 3),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_holdout_of_other_targets_is_plain(count, width, fraction, seed):
    expected = min(round(fraction * count), count - 1)
    if expected == 0:
        return
    values = np.zeros((count, width), np.float32)
    kept, held = holdout(values, fraction, seed)
    assert kept.dtype == held.dtype == np.int32
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(count))
    assert len(held) == expected
    for same in (values.astype(bool), values[:, 0], values.astype(np.int32)[:, :1]):
        np.testing.assert_array_equal(holdout(same, fraction, seed)[1], held)


def test_holdout_of_values_is_a_shuffle_by_the_seed():
    values = np.zeros((1000, 2), np.float32)
    held = holdout(values, 0.5, 0)[1]
    assert set(held.tolist()) != set(holdout(values, 0.5, 1)[1].tolist())
    # The mean of 500 of the indices 0..999 has a deviation of 9.1.
    assert abs(held.mean() - 499.5) < 5 * 9.1
    with pytest.raises(UserError, match=r"0.1 of 3 examples leaves nothing held out"):
        holdout(values[:3], 0.1, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0])
def test_holdout_fraction_out_of_range(fraction):
    with pytest.raises(UserError, match="strictly between 0 and 1"):
        holdout(np.zeros(10, np.int32), fraction, 0)


def test_holdout_of_too_few():
    with pytest.raises(UserError, match=r"0.1 of 3 examples of 3 classes"):
        holdout(np.arange(3), 0.1, 0)


@functools.cache
def _dispatch(sampler):
    @jax.jit
    def dispatch(key, first):
        orders = sampler.orders(key, first)
        steps = first + jnp.arange(sampler.steps_per_dispatch)
        return jax.vmap(lambda step: sampler.indices(orders, first, step))(steps)

    return dispatch


def _drawn(sampler, seed, first_step, count):
    """Batches of `count` steps from `first_step`, dispatch by dispatch, as a training would."""
    key = jax.random.key(seed)
    calls = range(first_step, first_step + count, sampler.steps_per_dispatch)
    return np.concatenate([_dispatch(sampler)(key, first) for first in calls])[:count]


# Few sizes, each compiled once: remainder, whole epoch in a batch, many epochs in a dispatch.
SAMPLERS = [Sampler(23, 4, 3), Sampler(7, 7, 2), Sampler(6, 2, 10)]


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(seed=st.integers(0, 1000))
@FEW
def test_epochs_are_without_repetition(sampler, seed):
    epochs = 3
    batches = _drawn(sampler, seed, 0, epochs * sampler.steps_per_epoch)
    assert batches.dtype == np.int32
    for epoch in batches.reshape(epochs, -1):
        assert len(epoch) == sampler.size // sampler.batch_size * sampler.batch_size
        assert len(set(epoch.tolist())) == len(epoch)
        assert epoch.min() >= 0
        assert epoch.max() < sampler.size


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(first_step=st.integers(0, 10**6))
@FEW
def test_orders_are_the_documented_permutations(sampler, first_step):
    got = _drawn(sampler, 7, first_step, sampler.steps_per_dispatch)
    per_epoch = sampler.size // sampler.batch_size
    for step, batch in enumerate(got, start=first_step):
        epoch_key = jax.random.fold_in(jax.random.key(7), step // per_epoch)
        order = np.asarray(jax.random.permutation(epoch_key, sampler.size))
        start = step % per_epoch * sampler.batch_size
        np.testing.assert_array_equal(batch, order[start : start + sampler.batch_size])


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(stop=st.integers(0, 40))
@FEW
def test_resumed_run_draws_the_same_batches(sampler, stop):
    whole = _drawn(sampler, 1, 0, stop + 10)
    resumed = dataclasses.replace(sampler, steps_per_dispatch=5)
    np.testing.assert_array_equal(_drawn(resumed, 1, stop, 10), whole[stop:])


@pytest.mark.parametrize("per_epoch", range(1, 8))
@pytest.mark.parametrize("steps", range(1, 12))
def test_number_of_orders_is_the_least_that_serves(per_epoch, steps):
    touched = max(
        len({step // per_epoch for step in range(first, first + steps)})
        for first in range(per_epoch)
    )
    assert Sampler(per_epoch * 3 + 2, 3, steps).num_orders == touched


def test_sampler_mistakes():
    with pytest.raises(UserError, match="batch_size = 64 is more than the 10 examples"):
        Sampler(10, 64, 5)
    with pytest.raises(UserError, match="must be positive, got 0 and 5"):
        Sampler(10, 0, 5)
    with pytest.raises(AssertionError):
        Sampler(10, 5, 2).indices(jnp.zeros((3, 11), jnp.int32), 0, 0)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_normalise(wrap):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), dtype=np.uint8)
    mean, std = np.array([0.2, 0.6], np.float32), np.array([0.5, 0.1], np.float32)
    got = wrap(normalise)(jnp.asarray(images), mean, std)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (images / 255.0 - mean) / std, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 1, 7, 2)])
def test_normalise_floats(shape):
    inputs = np.random.default_rng(0).normal(5, 3, shape).astype(np.float32)
    mean, std = np.array([5, -1], np.float32), np.array([3, 0.5], np.float32)
    got = jax.jit(normalise)(inputs, mean, std)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (inputs - mean) / std, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "channels"),
    [
        (jnp.zeros((1, 2, 2, 3), jnp.int32), 3),
        (jnp.zeros((1, 2, 2, 3), jnp.bfloat16), 3),
        (jnp.zeros((1, 2, 2, 3), jnp.uint8), 1),
        (jnp.zeros((1, 2, 3), jnp.uint8), 3),
        (jnp.zeros((1, 2)), 2),
    ],
)
def test_normalise_refuses_other_types_and_shapes(inputs, channels):
    with pytest.raises(AssertionError):
        normalise(inputs, jnp.zeros(channels), jnp.ones(channels))


def _augment(shift, flip):
    return jax.jit(functools.partial(augment, how=Augmentation(shift, flip)))


def _variants(image, shift, flip):
    """All images that `augment` may return, as bytes, by numpy's own padding and slicing."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)))
    span = range(2 * shift + 1)
    moved = [padded[y : y + height, x : x + width] for y in span for x in span]
    both = moved + [image[:, ::-1] for image in moved] if flip else moved
    return {image.tobytes() for image in both}


@pytest.mark.parametrize(
    ("shift", "flip", "kind"), [(1, False, np.float32), (2, True, np.uint8), (0, True, np.uint8)]
)
def test_augment_draws_every_variant_and_no_other(shift, flip, kind):
    image = np.random.default_rng(0).integers(1, 256, (6, 5, 3)).astype(kind)
    allowed = _variants(image, shift, flip)
    count = 40 * len(allowed)
    images = jnp.broadcast_to(image, (count, *image.shape))
    keys = jax.random.split(jax.random.key(0), count)
    got = np.asarray(_augment(shift, flip)(keys, images))
    assert got.dtype == kind
    seen = [row.tobytes() for row in got]
    assert set(seen) == allowed
    # Uniform: a count over 40 expected has deviation of about 6.3.
    most = max(seen.count(variant) for variant in allowed)
    assert most < 40 + 6 * math.sqrt(40)


def test_augment_is_per_example():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (12, 7, 7, 1), dtype=np.uint8))
    keys = jax.random.split(jax.random.key(3), 12)
    compiled = _augment(2, True)
    whole = compiled(keys, images)
    halves = [compiled(keys[i : i + 6], images[i : i + 6]) for i in (0, 6)]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    assert (np.asarray(whole) != np.asarray(images)).any()


def test_augment_that_does_nothing_costs_nothing():
    images = jnp.ones((2, 3, 3, 1), jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 2)
    assert augment(keys, images, Augmentation()) is images
    with pytest.raises(AssertionError):
        augment(keys[:1], images, Augmentation(1))


def test_an_image_one_pixel_high_is_shifted_along_only():
    image = jnp.arange(1, 8, dtype=jnp.uint8).reshape(1, 7, 1)
    got = _augment(1, False)(jax.random.split(jax.random.key(0), 60), jnp.stack([image] * 60))
    allowed = {bytes([0, *range(1, 7)]), bytes(range(1, 8)), bytes([*range(2, 8), 0])}
    assert {row.tobytes() for row in np.asarray(got)} == allowed


def _dataset(inputs, targets):
    return Dataset("made", inputs, targets, inputs, targets, ("a", "b"))


def test_what_may_be_moved_at_random():
    images, classes = np.ones((4, 6, 5, 1), np.float32), np.array([0, 1, 0, 1], np.int32)
    signals, masks = np.ones((4, 9, 2), np.float32), np.zeros((4, 6, 5), np.int32)
    default, asked = DataConfig(), DataConfig(shift=2, flip=True)
    assert augmentation(_dataset(images, classes), default) == (1, False)
    assert augmentation(_dataset(images, classes), asked) == (2, True)
    assert augmentation(_dataset(signals, classes), default) == (0, False)
    assert augmentation(_dataset(signals, classes), asked) == (2, True)
    assert augmentation(_dataset(images, masks), default) == (0, False)
    for wrong in (DataConfig(shift=1), DataConfig(flip=True)):
        with pytest.raises(UserError, match="targets of made would not move with them: leave"):
            augmentation(_dataset(images, masks), wrong)
