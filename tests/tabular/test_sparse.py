"""Columns of spaces too large to list, against a dictionary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.spaces.base import Choices, Decision
from hwnas_jax.tabular.base import look_up, make_benchmark, make_column, numbers_of
from hwnas_jax.tabular.sparse import SparseColumn, architectures_of, keys_of, read_sparse


def choices(*widths):
    options = [tuple(str(option) for option in range(width)) for width in widths]
    return Choices("made", tuple(Decision(f"d{n}", names) for n, names in enumerate(options)))


LARGE = choices(*[7] * 30)  # 7**30 is above 2**84: three words
ONE_WORD = choices(*[2] * 31)


def drawn(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return np.unique(space.random(rng, count), axis=0)[rng.permutation(count)]


@pytest.mark.parametrize("space", [LARGE, ONE_WORD, choices(2**14, 2**14, 3)])
@pytest.mark.parametrize("count", [1, 37])
def test_what_is_known_is_found_and_nothing_else(space, count):
    rows = drawn(space, count + 30)
    # Neighbours differ in the last decision: all words of their keys but one are the same.
    near = rows[:count].copy()
    near[:, -1] = (near[:, -1] + 1) % len(space.decisions[-1].options)
    known, others = np.concatenate([rows[:count], near[::2]]), rows[count:]
    values = np.linspace(0, 1, len(known), dtype=np.float32)
    column = make_column(space, known, values)
    assert isinstance(column, SparseColumn)
    told = {tuple(row): value for row, value in zip(known.tolist(), values, strict=True)}
    asked = np.concatenate([known[::-1], others, near])
    expected = np.array([told.get(tuple(row), np.nan) for row in asked.tolist()])
    found = look_up(space, {"m": column}, asked)["m"]
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_look_ups_run_inside_programs_and_know_no_strangers():
    known = drawn(LARGE, 20)
    known[7] = 0
    column = make_column(LARGE, known, np.arange(20.0))
    outside = known.copy()
    outside[:, 3] = 7
    below = known.copy()
    below[:, 0] = -1
    read = jax.jit(
        jax.vmap(lambda rows, column: look_up(LARGE, {"m": column}, rows)["m"], (0, None))
    )
    found = read(jnp.stack([jnp.asarray(known), outside, below]), column)
    np.testing.assert_array_equal(found[0], np.arange(20))
    assert np.isnan(found[1:]).all()


def test_keys_sort_as_the_options_do_and_come_back():
    rows = drawn(LARGE, 200)
    widths = [7] * 30
    keys = keys_of(widths, rows)
    assert keys.dtype == np.int32 and keys.shape == (200, 3)
    np.testing.assert_array_equal(keys_of(widths, jnp.asarray(rows)), keys)
    np.testing.assert_array_equal(architectures_of(widths, keys), rows)
    order = np.lexsort(keys.T[::-1])
    np.testing.assert_array_equal(rows[order], np.unique(rows, axis=0))
    # The words of a key are the digits of the architecture's number.
    sizes = [7 ** sum(1 for _ in group) for group in (range(11), range(11), range(8))]
    for row, key in zip(rows.tolist(), keys.tolist(), strict=True):
        number = 0
        for option in row:
            number = number * 7 + option
        assert number == (key[0] * sizes[1] + key[1]) * sizes[2] + key[2]


def test_a_small_space_has_a_row_for_each_architecture():
    space = choices(3, 2, 4)
    rows = space.enumerate()
    column = make_column(space, rows[::2], np.arange(12.0))
    assert column.shape == (24,) and np.isnan(column[1::2]).all()
    np.testing.assert_array_equal(numbers_of(space, rows), np.arange(24))
    # Both forms say the same.
    words = np.sort(numbers_of(space, rows[::2])).astype(np.int32)[:, None]
    sparse = SparseColumn(words, np.arange(12, dtype=np.float32))
    found = read_sparse([3, 2, 4], sparse, jnp.asarray(rows))
    np.testing.assert_array_equal(found, column)


def test_a_benchmark_of_a_large_space_lists_what_it_knows():
    rows = drawn(LARGE, 50)
    values = np.linspace(1, 99, 50)
    table = make_benchmark("made", LARGE, rows, {("test", 3): values}, seconds={3: 2 * values})
    assert table.known == 50 and table.report == "test_accuracy_3"
    listed, accuracy = table.listed("test_accuracy_3")
    order = np.lexsort(rows.T[::-1])
    np.testing.assert_array_equal(listed, rows[order])
    np.testing.assert_allclose(accuracy, values[order] / 100, rtol=1e-6)
    found = look_up(LARGE, {"seconds": table.seconds(3)}, rows)["seconds"]
    np.testing.assert_allclose(found, 2 * values, rtol=1e-6)
    assert table.seconds(4) is None
