"""A small student, a teacher of another family, and their examples."""

import functools

import jax
import numpy as np

from hwnas_jax.search.blockwise.teacher import teacher_of
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.helpers import initialise

SHAPE = {"input_shape": (8, 8, 1), "num_outputs": 3}
SPACE = make_space(
    "nasbench_macro", {"width": 0.125, "head": 8, "depth": 2, "halvings": 2}, **SHAPE
)
SUPERNET = make_supernet(SPACE)
TAUGHT = make_space("nasbench201", {"channels": 4, "cells": 1}, **SHAPE)
CELL = np.array([3, 2, 3, 1, 3, 2], np.int32)


@functools.cache
def teacher():
    """Returns an untrained network of three stages: 8x8x4, 4x4x8, 2x2x16."""
    network = initialise(lambda rngs: TAUGHT.network(CELL, rngs), seed=1)
    return teacher_of(network, SHAPE["input_shape"], "the toy")


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 1)).astype(np.float32)


def one_hot(row):
    return jax.nn.one_hot(row, SPACE.num_options)
