"""Training on small inputs first: which stage a step has, and who can take part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, RetrainConfig, override
from hwnas_jax.errors import UserError
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.runs.retrain import train
from hwnas_jax.spaces import make_space
from hwnas_jax.train.curriculum import Curriculum, check_curriculum, pooled
from tests.helpers import stripes


def test_means_over_squares_of_pixels():
    images = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    found = pooled(jnp.asarray(images), 2)
    expected = np.array([
        [[images[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) for j in range(3)]
         for i in range(2)]
        for b in range(2)
    ])  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    series = images[:, :1]
    np.testing.assert_allclose(
        pooled(jnp.asarray(series), 3)[:, 0], series.reshape(2, 2, 3, 3).mean(2), rtol=1e-5,
        atol=1e-6,
    )  # fmt: skip


def test_the_stages_have_equal_parts_of_their_share():
    curriculum = Curriculum.of(RetrainConfig(curriculum=(4, 2), curriculum_share=0.5), 40)
    assert curriculum.ends == (10, 20)
    run = jax.jit(lambda step: curriculum.run(step, lambda small: small(inputs).sum()))
    inputs = jnp.ones((1, 4, 4, 1))  # its sum is the number of pixels that are left
    assert [float(run(jnp.int32(step))) for step in (0, 9, 10, 19, 20, 39)] == [1, 1, 4, 4, 16, 16]
    none = Curriculum.of(RetrainConfig(), 40)
    assert float(none.run(jnp.int32(0), lambda small: small(inputs).sum())) == 16


class Network(nnx.Module):
    def __init__(self, rngs):
        self.conv = ops.Conv(1, 4, 3, rngs)
        self.head = ops.Head(4, 3, network_norm(), rngs)

    def __call__(self, x):
        return self.head(self.conv(x))


def trained(**changes):
    config = override(
        Config(), data__shift=0, retrain__batch_size=16, retrain__learning_rate=0.05,
        retrain__steps_per_dispatch=5, retrain__epochs=8, **{"parallel__devices": 1, **changes},
    )  # fmt: skip
    done = train(Network, stripes(), config)
    return done.test_metric, np.asarray(done.network.conv.kernel[...])


def test_a_training_learns_by_a_curriculum_and_micro_batches_are_each_made_small():
    metric, kernel = trained(retrain__curriculum=(2,))
    assert metric > 0.6
    assert not np.allclose(kernel, trained()[1], atol=1e-4)
    parts = trained(retrain__curriculum=(2,), retrain__accumulate=2)[1]
    side_by_side = trained(retrain__curriculum=(2,), parallel__devices=2)[1]
    np.testing.assert_allclose(parts, side_by_side, rtol=1e-3, atol=1e-4)


def refused(build, factors, shape):
    with pytest.raises(UserError) as caught:
        check_curriculum(build, RetrainConfig(curriculum=factors), shape)
    return str(caught.value)


def test_small_inputs_that_cannot_be_are_refused():
    check_curriculum(Network, RetrainConfig(curriculum=(4, 2)), (8, 8, 1))
    check_curriculum(Network, RetrainConfig(), (7, 7, 1))
    said = refused(Network, (3,), (8, 8, 1))
    assert "3 does not divide inputs of 8x8; allowed are 2, 4, 8" in said
    dense = make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=2,
        outputs=(Output(2, dense=True),),
    )  # fmt: skip
    tokens = make_space("autoformer", {"patch": 2, "embeddings": "8", "depths": "1"},
                        input_shape=(8, 8, 1), num_outputs=2)  # fmt: skip
    for space in (dense, tokens):
        chosen = space.random(np.random.default_rng(0), 1)[0]
        said = refused(lambda rngs, s=space, c=chosen: s.network(c, rngs), (2,), (8, 8, 1))
        assert "this network cannot read inputs 2 times smaller" in said or "puts out" in said
