"""A population means what its members mean on their own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, override
from hwnas_jax.data import Dataset
from hwnas_jax.search.objective import Target
from hwnas_jax.search.population import make_members, search_population
from hwnas_jax.search.stage import search_architecture
from hwnas_jax.spaces import Decision, make_space
from tests.cost.toy import FEATURES, ToySpace

NB201 = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_classes=3)


class Mixed(nnx.Module):
    """A dense layer whose width, of those a decision offers, the gates choose."""

    def __init__(self, widths, rngs):
        self.blocks = nnx.List(Block(width, rngs) for width in widths)

    def __call__(self, x, weight, index):
        options = [lambda x, w=weight[0]: x * w]
        options += [
            lambda x, b=b, w=w: b(x) * w for b, w in zip(self.blocks, weight[1:], strict=True)
        ]
        if index is None:
            return sum(option(x) for option in options)
        return jax.lax.switch(index, options, x)


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.up = nnx.Linear(FEATURES, width, rngs=rngs)
        self.down = nnx.Linear(width, FEATURES, rngs=rngs)

    def __call__(self, x):
        return jnp.tanh(x + self.down(jax.nn.relu(self.up(x))))


class DenseSupernet(nnx.Module):
    def __init__(self, classes, rngs):
        self.mixed = nnx.List(Mixed([8, 32], rngs) for _ in range(3))
        self.head = nnx.Linear(FEATURES, classes, rngs=rngs)

    def __call__(self, x, gates):
        x = x.reshape(len(x), -1)
        for d, mixed in enumerate(self.mixed):
            x = mixed(x, gates.weight[d], None if gates.index is None else gates.index[d])
        return self.head(x)


class DenseSpace(ToySpace):
    """Three decisions, a supernet that compiles in a moment."""

    name = "dense"
    decisions = tuple(Decision(f"block{i}", ("skip", "narrow", "wide")) for i in range(3))

    def supernet(self, rngs, *, axis_name=None):
        return DenseSupernet(self.num_classes, rngs)


@jax.tree_util.register_static
class DenseModel:
    """Costs of `DenseSpace`: 1 to 7 ms."""

    name, metrics = "dense", ("latency_ms",)

    def predict(self, weight):
        return {"latency_ms": 1.0 + (weight * jnp.array([0.0, 0.5, 2.0])).sum()}

    def std(self, weight):
        return {"latency_ms": 0.0 * weight.sum()}


SPACE = DenseSpace()
MEMBERS = make_members([Target("latency_ms", value) for value in (2.0, 4.0, 6.0)], [0, 7])


@functools.cache
def images():
    rng = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int32) % 3
    pictures = rng.integers(0, 80, (96, 2, 2, 1)) + 60 * labels[:, None, None, None]
    return Dataset(
        name="stripes", train_images=pictures.astype(np.uint8), train_labels=labels,
        test_images=pictures[:30].astype(np.uint8), test_labels=labels[:30],
        class_names=("a", "b", "c"),
    )  # fmt: skip


def settings(**changes):
    return override(
        Config(), search__steps=9, search__warmup_steps=3, search__steps_per_dispatch=3,
        search__batch_size=16, search__checkpoint_every=3, search__weight_learning_rate=0.02,
        parallel__devices=1, **changes,
    )  # fmt: skip


@functools.cache
def alone(member):
    config = settings(seed=member.seed)
    return search_architecture(SPACE, images(), DenseModel(), member.target, config).state


def together(members=MEMBERS, folder=None, from_step=None, **changes):
    config = settings(**{f"sweep__{key}": value for key, value in changes.items()})
    results = search_population(
        SPACE, images(), DenseModel(), members, config, folder=folder, from_step=from_step
    )
    return [result.state for result in results]


@pytest.mark.slow
@pytest.mark.parametrize("within", ["map", "batch"])
@pytest.mark.parametrize(("devices", "share_warmup"), [(1, True), (4, True), (2, False)])
def test_members_equal_single_searches(within, devices, share_warmup):
    states = together(within=within, devices=devices, share_warmup=share_warmup)
    for member, state in zip(MEMBERS, states, strict=True):
        single = alone(member)
        for name in ("logits", "weights", "multiplier"):
            ours, theirs = getattr(state, name), getattr(single, name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=member.label)
        assert int(state.step) == 9
    logits = np.stack([np.asarray(state.logits) for state in states])
    gaps = np.abs(logits[:, None] - logits[None]).max((2, 3))
    assert gaps[~np.eye(len(states), dtype=bool)].min() > 1e-2
