"""The least memory of a program: by hand, and below what the compiler then says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.compile import least_memory
from hwnas_jax.compile.least_memory import check_forward, check_least, least_bytes
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.spaces import make_space

F32 = jnp.float32
LEFT, RIGHT = jax.ShapeDtypeStruct((6, 4), F32), jax.ShapeDtypeStruct((4, 5), F32)
PRODUCT = 6 * 5 * 4


def least(function, *shapes):
    return least_bytes(jax.make_jaxpr(function)(*(shapes or (LEFT, RIGHT))).jaxpr)


def wider(a, b):
    return (jnp.concatenate([a @ b] * 2) @ jnp.ones((5, 3)))[:, :1]


def summed(rows):
    return lambda a, b: (a[:rows] @ b).sum()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: a @ b, PRODUCT),
        (lambda a, b: jax.jit(jnp.matmul)(a, b).sum(), PRODUCT),
        (lambda a, b: (a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16)).sum(), PRODUCT // 2),
        (lambda a, b: a * 2, 0),
        (lambda a, b: (a @ b, a)[1], 0),
        (lambda a, b: jax.jit(lambda: (a @ b, a))()[1], 0),
        # A sum of one product is a multiplication.
        (lambda a, b: (a[:, :1] @ b[:1]).sum(), 0),
        (wider, 12 * 3 * 4),
        (lambda a, b: jax.lax.cond(a[0, 0] > 0, summed(6), lambda a, b: 0.0, a, b), 0),
        (lambda a, b: jax.lax.switch(jnp.int32(b[0, 0]), [summed(6), summed(2)], a, b), 40),
        (lambda a, b: jax.lax.scan(lambda c, _: (c + (a @ b).sum(), None), 0.0, None, 3), PRODUCT),
        (lambda a, b: jax.lax.scan(lambda c, _: (c + (a @ b).sum(), None), 0.0, None, 0), 0),
        (
            lambda a, b: jax.lax.while_loop(
                lambda c: c < a[0, 0], lambda c: c + (a @ b).sum(), 0.0
            ),
            0,
        ),
        (lambda a, b: jax.checkpoint(lambda x: x @ b)(a).sum(), PRODUCT),
        (lambda a, b: jax.grad(lambda x: (x @ b).sum())(a), 6 * 4 * 4),
    ],
)
def test_by_hand(function, expected):
    assert least(function) == expected


def test_a_convolution_by_hand():
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), F32)
    kernel = jax.ShapeDtypeStruct((3, 3, 3, 7), F32)

    def convolved(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).sum()

    assert least(convolved, images, kernel) == 2 * 4 * 4 * 7 * 4


def test_sizes_are_those_of_one_device():
    devices = jax.devices()
    mapped = jax.pmap(lambda a, b: (a @ b).sum(), in_axes=(0, None), devices=devices)
    several = jax.ShapeDtypeStruct((len(devices), *LEFT.shape), F32)
    assert least(mapped, several, RIGHT) == PRODUCT


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_the_bound_is_below_what_the_compiler_says(name):
    args = {"channels": 8, "cells": 1} if name == "nasbench201" else {"channels": 4, "cells": 3}
    space = make_space(name, args, input_shape=(16, 16, 3), num_outputs=10)
    architecture = space.random(np.random.default_rng(0), 1)[0]
    module = abstract(lambda rngs: space.network(architecture, rngs))
    module.eval()
    graph, state = nnx.split(module)
    images = jax.ShapeDtypeStruct((32, 16, 16, 3), F32)

    def run(state, images):
        return nnx.merge(graph, state)(images)

    bound = least_bytes(jax.make_jaxpr(run)(state, images).jaxpr)
    memory = jax.jit(run).lower(state, images).compile().memory_analysis()
    assert 0.1 * memory.temp_size_in_bytes < bound <= memory.temp_size_in_bytes


def test_what_cannot_fit_is_refused_with_what_helps(monkeypatch):
    traced = jax.make_jaxpr(jnp.matmul)(jax.ShapeDtypeStruct((2**10, 2), F32), jnp.ones((2, 2**11)))
    monkeypatch.setattr(least_memory, "free_bytes", lambda devices: 8 * 2**20)
    check_least(traced, jax.devices(), "it", "less")  # exactly as much as is free
    monkeypatch.setattr(least_memory, "free_bytes", lambda devices: 8 * 2**20 - 1)
    with pytest.raises(UserError, match=r"it does not fit: .* takes 8 MiB per.*What helps: less"):
        check_least(traced, jax.devices(), "it", "less")
    monkeypatch.setattr(least_memory, "free_bytes", lambda devices: None)
    check_least(traced, jax.devices(), "it", "less")


def test_small_networks_are_not_even_traced(monkeypatch):
    weights, inputs = {"kernel": jnp.ones((3, 50))}, jax.ShapeDtypeStruct((4, 8, 8, 3), F32)
    traced = []

    def run(weights, inputs):
        traced.append(True)
        return inputs @ weights["kernel"]

    given = {"devices": jax.devices(), "what": "it", "helps": "less"}
    monkeypatch.setattr(least_memory, "free_bytes", lambda devices: 2**30)
    check_forward(run, weights, inputs, **given)
    assert not traced
    monkeypatch.setattr(least_memory, "free_bytes", lambda devices: 100)
    with pytest.raises(UserError, match="it does not fit"):
        check_forward(run, weights, inputs, **given)
    assert traced
