"""Training one network: micro-batches, replicas, types, and what it is trained by."""

import functools
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.in_training import InTraining
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.parallel.replicas import AXIS
from hwnas_jax.runs.retrain import train
from hwnas_jax.spaces import make_space
from hwnas_jax.tasks import Classification
from hwnas_jax.train.optimizers import make_weight_optimizer
from hwnas_jax.train.training import _schedule, outputs_of, run_in_training
from tests.helpers import stripes


class Network(nnx.Module):
    """Records the type that its convolution computes in."""

    seen: ClassVar[list] = []

    def __init__(self, rngs):
        norm = network_norm()
        self.conv = ops.Conv(1, 4, 3, rngs)
        self.head = ops.Head(4, 3, norm, rngs)

    def __call__(self, x):
        x = self.conv(x)
        self.seen.append(x.dtype)
        return self.head(x)


def trained(kind=Network, **changes):
    config = override(
        Config(), data__shift=0, retrain__batch_size=16, retrain__learning_rate=0.05,
        retrain__steps_per_dispatch=10,
        **{"parallel__devices": 1, "retrain__epochs": 6, **changes},
    )  # fmt: skip
    Network.seen.clear()
    done = train(kind, stripes(), config)
    return done, [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(done.network))]


def test_micro_batches_are_to_a_step_what_replicas_are():
    """The same slices of the same batch, each with its own statistics, averaged."""
    _, one_after_another = trained(retrain__accumulate=2)
    _, side_by_side = trained(parallel__devices=2)
    for leaf, other in zip(one_after_another, side_by_side, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-4)
    _, whole = trained()
    assert any(
        not np.allclose(leaf, other, rtol=1e-3, atol=1e-4)
        for leaf, other in zip(one_after_another, whole, strict=True)
    )


def test_bfloat16_computes_in_bfloat16_and_leaves_a_float32_network():
    done, leaves = trained(retrain__dtype="bfloat16", retrain__epochs=20)
    assert Network.seen[0] == jnp.bfloat16
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    assert done.test_metric > 0.9
    assert any((leaf.astype(jnp.bfloat16).astype(np.float32) != leaf).any() for leaf in leaves)


class TwoHeads(Network, InTraining):
    """Is trained by a second answer too, of which a share of the images is left out."""

    factor = 0.0

    def in_training(self, x, keys, progress):
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
        return (1.0, self(x)), (self.factor, self.head(self.conv(x)) + progress * noise)


class Halves(TwoHeads):
    factor = 0.5


def test_a_network_says_what_it_is_trained_by():
    def weights(kind, **changes):
        return trained(kind, **changes)[1]

    def close(ours, theirs):
        return all(
            np.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(ours, theirs, strict=True)
        )

    plain = weights(Network)
    assert not close(weights(Halves), plain)
    one_device = weights(Halves, parallel__devices=1, retrain__accumulate=2)
    assert close(weights(Halves, parallel__devices=2), one_device)


def test_what_a_network_is_trained_by_gets_a_key_an_image_and_the_share_done():
    network, keys = TwoHeads(nnx.Rngs(0)), jax.random.split(jax.random.key(0), 4)
    x = jnp.ones((4, 4, 4, 1))
    (one, own), (factor, other) = run_in_training(network, x, keys, jnp.asarray(0.5))
    assert (one, factor) == (1.0, 0.0)
    np.testing.assert_allclose(own, network(x), rtol=1e-6)
    assert len({tuple(row) for row in np.asarray(other - own).round(3).tolist()}) == 4
    assert len(run_in_training(Network(nnx.Rngs(0)), x, keys, jnp.asarray(0.5))) == 1


def test_what_cannot_be_is_named():
    with pytest.raises(UserError, match=r"retrain.dtype 'float16': allowed are float32, bfloat16"):
        trained(retrain__dtype="float16")
    with pytest.raises(UserError, match=r"batch_size = 16 .* times 3 parts .* is 15"):
        trained(retrain__accumulate=3)


def test_adamw_follows_the_gradient_whatever_its_scale():
    """And decays outside it: without a gradient, weights shrink by the learning rate's share."""
    options = {"retrain__optimizer": "adamw", "retrain__weight_decay": 0.1}
    assert trained(retrain__epochs=20, **options)[0].test_metric > 0.8
    step = make_weight_optimizer("adamw", lambda count: 0.02, weight_decay=0.1)
    weights = jnp.array([2.0, -3.0])
    for scale in (1.0, 1e-4):
        slope = scale * jnp.array([1.0, 0.0])
        moved, _ = step.update(slope, step.init(weights), weights)
        np.testing.assert_allclose(moved, [-0.02 - 0.02 * 0.1 * 2, 0.02 * 0.1 * 3], rtol=1e-3)


def test_the_metric_is_of_every_example_however_they_are_dealt():
    data, asked = stripes(), []

    def predict(inputs):
        asked.append(len(inputs))
        dark = inputs.mean((1, 2, 3))
        return jnp.stack([-dark, dark - 100, 2 * dark - 290], axis=-1)

    classes = np.asarray(predict(data.test_inputs)).argmax(-1)
    right = (classes == data.test_targets).mean()
    assert 0.5 < right < 1
    for size, batches in ((7, [7] * 5), (30, [30]), (500, [30])):
        asked.clear()
        outputs = outputs_of(predict, data.test_inputs, batch_size=size)
        found = Classification().value(outputs, data.test_targets)
        assert float(found) == pytest.approx(right)
        assert asked == batches


@pytest.mark.slow
def test_a_trained_network_is_kept_and_read_back_to_the_bit_on_other_devices(tmp_path):
    space = make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3
    )
    build = functools.partial(space.network, np.array([3, 1, 0, 3, 1, 1]), axis_name=AXIS)

    def done(devices):
        config = override(
            Config(), parallel__devices=devices, parallel__sync_batch_statistics=True,
            retrain__epochs=8, retrain__batch_size=16, retrain__learning_rate=0.05, data__shift=0,
        )  # fmt: skip
        return train(build, stripes(), config, folder=tmp_path)

    first, again = done(8), done(1)
    assert first.test_metric > 0.9
    assert again.test_metric == first.test_metric
    assert first.test_metric == pytest.approx(first.test_right.mean())
    leaves = (jax.tree.leaves(nnx.state(each.network)) for each in (first, again))
    chex.assert_trees_all_equal(*([np.asarray(leaf) for leaf in own] for own in leaves))


@pytest.mark.parametrize("total", [1, 2, 3, 10, 40])
def test_learning_rates_of_long_and_short_trainings(total):
    """They rise in a tenth of the steps and fall along a cosine; a single step is at the peak."""
    rates = np.array([_schedule(0.5, total)(step) for step in range(total)])
    rise = min(max(1, total // 10), total - 1)
    np.testing.assert_allclose(
        rates[: rise + 1], 0.5 * np.linspace(0, 1, rise + 1) if rise else 0.5
    )
    turned = np.pi * np.arange(total - rise) / (total - rise)
    np.testing.assert_allclose(rates[rise:], 0.0005 + 0.4995 * (1 + np.cos(turned)) / 2, rtol=1e-5)
