"""Sets of bits against Python's own sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.search.strategies.bits import member, packed, size, words_for


@pytest.mark.parametrize(("below", "words"), [(32, 1), (33, 2), (70, 3)])
def test_members_are_those_that_were_packed_in_order(below, words):
    assert words_for(below) == words
    rng = np.random.default_rng(0)
    drawn = rng.random((40, below)) < rng.uniform(0.02, 1, (40, 1))
    drawn[:, -1] = True
    numbers = jnp.where(drawn, jnp.arange(below), -1)
    sets = jax.vmap(lambda row: packed(row, words))(numbers)
    sizes = jax.vmap(size)(sets)
    assert sizes.tolist() == drawn.sum(axis=1).tolist()
    every = jax.vmap(jax.vmap(member, (None, 0)), (0, None))(sets, jnp.arange(below))
    for found, row, count in zip(np.asarray(every), drawn, sizes.tolist(), strict=True):
        assert found[:count].tolist() == np.flatnonzero(row).tolist()
