"""Toy tasks that meta-learners are judged on, and episodes of dense images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.data import Dataset
from hwnas_jax.data.episodes import EpisodeShape, draw_episode, make_pool
from hwnas_jax.registry import Part
from hwnas_jax.relax import AnnealedSoftmax
from hwnas_jax.search.meta.base import Learned, MetaTask
from hwnas_jax.search.meta.objectives import Objectives
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Classification
from tests.methods.my_space import DenseBlocks

WAY = 2
SHAPE = EpisodeShape(WAY, 2, 3)
SPACE = DenseBlocks((2, 2, 1), WAY)


@functools.cache
def shades(classes=6, each=8) -> Dataset:
    """Returns images of two by two pixels, told apart by their shade and by which corner is lit."""
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(classes, dtype=np.int32), each)
    images = rng.integers(0, 40, (len(targets), 2, 2, 1)) + 30 * targets[:, None, None, None]
    images[:, 0, 0, 0] += 20 * (targets % 2)
    images = images.astype(np.uint8)
    first, rest = slice(None, None, 4), [n for n in range(len(targets)) if n % 4]
    names = tuple(f"shade {number}" for number in range(classes))
    return Dataset("shades", images[rest], targets[rest], images[first], targets[first], names)


@functools.cache
def objectives(budget="upper_bound") -> Objectives:
    return Objectives(
        make_supernet(SPACE), SPACE.mask, Classification(), AnnealedSoftmax(),
        BUDGETS.make(Part(budget)), samples=2,
    )  # fmt: skip


@functools.cache
def pool():
    return make_pool(shades(), range(3))


def task_of(key, data, temperature, progress) -> MetaTask:
    return objectives().mixed(draw_episode(key, data["pool"], SHAPE), temperature, progress)


@functools.cache
def start() -> Learned:
    with jax.ensure_compile_time_eval():  # it is kept, also where a trace asks for it first
        first, second = jax.random.split(jax.random.key(0))
        params = 0.3 * jax.random.normal(second, SPACE.mask.shape)
        return Learned(objectives().supernet.init(first), params)


def smooth_task(seed=0) -> MetaTask:
    """Returns a task of three weights and two logits whose losses are neither linear nor square."""
    rng = np.random.default_rng(seed)
    matrix, aim = jnp.asarray(rng.normal(size=(2, 3, 3))), jnp.asarray(rng.normal(size=(2, 3)))

    def loss(learned, part):
        mixed = jax.nn.softmax(learned.params) @ jnp.stack(
            [jnp.tanh(matrix[part] @ learned.weights), learned.weights**2]
        )
        return ((mixed - aim[part]) ** 2).sum()

    return MetaTask(
        lambda learned, key, memory: (loss(learned, 0), memory + 1),
        lambda learned, key: (loss(learned, 1), loss(learned, 1)),
        jnp.zeros(()),
    )
