"""Cheap random numbers: as even and as unrelated as those of JAX, by tests of each."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from hwnas_jax.search.strategies import QUICK, quick_keys

COUNT = 2**14


def uniform(keys, count):
    return np.asarray(jax.jit(jax.vmap(lambda key: jax.random.uniform(key, (count,))))(keys))


@pytest.mark.parametrize("axis", ["one key", "neighbouring keys", "folded", "seeds"])
def test_numbers_are_even_and_do_not_follow_each_other(axis):
    """Pairs of successive numbers on an 8x8 board, chi-squared, at a level of one in a million."""
    key = jax.random.key(7, impl=QUICK)
    if axis == "one key":
        numbers = uniform(key[None], COUNT)[0]
    elif axis == "neighbouring keys":
        numbers = uniform(quick_keys(7, COUNT), 1)[:, 0]
    elif axis == "folded":
        numbers = uniform(jax.vmap(lambda n: jax.random.fold_in(key, n))(jnp.arange(COUNT)), 1)[
            :, 0
        ]
    else:
        make = jax.vmap(lambda seed: jax.random.key(seed, impl=QUICK))
        numbers = uniform(make(jnp.arange(COUNT)), 1)[:, 0]
    assert 0 <= numbers.min() < 2e-3 and 0.998 < numbers.max() < 1
    for lag in (1, 2, 64):
        board = np.histogram2d(numbers[:-lag], numbers[lag:], 8, [[0, 1], [0, 1]])[0]
        assert scipy.stats.chisquare(board.ravel()).pvalue > 1e-6


def test_every_bit_is_set_half_of_the_time_and_depends_on_every_bit_of_the_key():
    bits = np.asarray(jax.random.bits(jax.random.key(1, impl=QUICK), (COUNT,)))
    columns = (bits[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert abs(columns.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(COUNT)
    words = np.asarray(jax.random.key_data(quick_keys(0, 512)))
    draw = jax.jit(
        jax.vmap(lambda word: jax.random.bits(jax.random.wrap_key_data(word, impl=QUICK)))
    )
    before = np.asarray(draw(words))
    for word, bit in itertools.product(range(2), range(32)):
        changed = words.copy()
        changed[:, word] ^= np.uint32(1 << bit)
        flipped = np.asarray(draw(changed)) ^ before
        share = np.unpackbits(flipped.view(np.uint8)).mean()
        assert 0.4 < share < 0.6


def test_keys_differ_and_their_numbers_do_not_depend_on_vmap():
    keys = quick_keys(0, 1000)
    parts = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    words = np.concatenate([jax.random.key_data(k).reshape(-1, 2) for k in (keys, parts)])
    assert len(np.unique(words, axis=0)) == 4000
    together = uniform(keys, 5)
    alone = np.asarray(jax.random.uniform(keys[17], (5,)))
    np.testing.assert_array_equal(together[17], alone)


def test_other_widths():
    key = jax.random.key(3, impl=QUICK)
    small = np.asarray(jax.random.bits(key, (4096,), "uint8"))
    assert scipy.stats.chisquare(np.bincount(small, minlength=256)).pvalue > 1e-6
    normal = np.asarray(jax.random.normal(key, (4096,)))
    assert scipy.stats.kstest(normal, "norm").pvalue > 1e-6
