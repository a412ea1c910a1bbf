"""Spaces whose supernet can be cut: blocks and their parts against the whole."""

import jax
import numpy as np
import pytest

from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import SPACES, make_space
from hwnas_jax.spaces.core.supernet import make_supernet

CUT = {
    "nasbench201": {"channels": 2, "cells": 2},
    "nasbench_macro": {"width": 0.125, "head": 8},
}


def small(name):
    return make_space(name, CUT[name], input_shape=(8, 8, 1), num_outputs=3)


@pytest.mark.parametrize("name", SPACES)
def test_blocks_read_every_decision_and_each_part_some_of_them(name):
    space = make_space(name, {}, input_shape=(64, 64, 3), num_outputs=10)
    if not space.cut_blocks:
        return
    assert space.has_features
    read = [block.decisions for block in space.cut_blocks]
    assert set().union(*read) == set(range(space.num_decisions))
    for block in space.cut_blocks:
        assert len(block.decisions) == sum(map(len, block.parts))


@pytest.mark.parametrize("name", CUT)
def test_blocks_and_their_parts_give_the_features(name):
    space = small(name)
    supernet = make_supernet(space)
    weights = supernet.init(jax.random.key(0))
    inputs = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    row = space.random(np.random.default_rng(1), 1)[0]
    gates = Gates(jax.nn.one_hot(row, space.num_options), row)

    @jax.jit
    def every(weights, x):
        wanted = supernet.features(weights, x, gates)
        blocks, parts = [], []
        for number, block in enumerate(space.cut_blocks):
            given = x if number == 0 else wanted[number - 1]
            blocks.append(supernet.block(weights, number, given, gates))
            for place in range(len(block.parts)):
                given = supernet.part(weights, number, place, given, gates)
            parts.append(given)
        return wanted, tuple(blocks), tuple(parts)

    wanted, blocks, parts = every(weights, inputs)
    assert len(wanted) == len(space.cut_blocks)
    for whole, block, part in zip(wanted, blocks, parts, strict=True):
        np.testing.assert_allclose(block, whole, atol=1e-5)
        np.testing.assert_allclose(part, whole, atol=1e-5)


def test_a_space_that_cannot_be_cut_has_no_block_functions():
    space = make_space("darts", {"channels": 4}, input_shape=(16, 16, 3), num_outputs=3)
    assert space.cut_blocks == ()
    assert make_supernet(space).block is make_supernet(space).part is None
