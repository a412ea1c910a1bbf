"""What several tests build."""

import functools
import shlex
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from hwnas_jax.config import Config, override
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.nn.initialisation import abstract, weight_rngs
from hwnas_jax.registry import Part
from hwnas_jax.search.gradient import Methods, Search, make_search
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import Classification

FINISHED_RUN = shlex.split(
    "--data.name digits --space.args.channels 2 --profile.networks 12 --profile.rounds 2 "
    "--profile.max-rounds 2 --profile.measure-rounds 3 --search.steps 40 --search.warmup-steps 8 "
    "--search.batch-size 16 --search.steps-per-dispatch 4 --search.checkpoint-every 4 "
    "--budget dual_ascent --derive.rule most_probable --derive.confirm 2 --retrain.epochs 2 "
    "--parallel.devices 1"
)
"""Options of the run that the fixture `finished_run` makes."""

FEW_SAMPLES = 4096
"""Networks of a large space that such a run looks at, in place of `candidates.SAMPLES`."""

# A whole run of a minute or two.
SMALL = {
    "profile__networks": 12, "profile__rounds": 1, "profile__max_rounds": 2, "profile__warmup": 1,
    "profile__measure_rounds": 2, "profile__batch_size": 16,
    "search__steps": 200, "search__warmup_steps": 60,
    "search__batch_size": 32, "search__steps_per_dispatch": 20, "search__checkpoint_every": 200,
    "retrain__epochs": 5, "derive__rule": Part("most_probable"), "derive__confirm": 1,
    "derive__controls": ("random",), "parallel__devices": 1,
}  # fmt: skip


def initialise(build: Callable[[nnx.Rngs], nnx.Module], seed: int = 0) -> nnx.Module:
    """Returns the module with weights drawn in one compiled program; eager drawing is slow."""
    graph = nnx.split(abstract(build))[0]
    draw = jax.jit(lambda key: nnx.split(build(weight_rngs(key)))[1])
    return nnx.merge(graph, draw(jax.random.key(seed)))


def small_search(
    space: Space, *, sync_axis: str | None = None, deviations: float = 0.0, **changes
) -> tuple[Methods, Search]:
    """Returns the methods and the functions of a search by a config with `changes`."""
    config = override(Config(), **changes)
    methods = make_methods(space, Classification(), config, sync_axis=sync_axis)
    search = make_search(
        methods, config.search, deviations=deviations, samples=config.target.samples
    )
    return methods, search


@functools.cache
def stripes(size: int = 4) -> Dataset:
    """Returns 96 images of three classes, told apart by their brightness, in any order."""
    rng = np.random.default_rng(0)
    classes = np.arange(96, dtype=np.int32) % 3
    images = rng.integers(0, 80, (96, size, size, 1)) + 60 * classes[:, None, None, None]
    images = images.astype(np.uint8)
    return Dataset("stripes", images, classes, images[:30], classes[:30], ("a", "b", "c"))


TABLE = np.random.default_rng(0).uniform(0.1, 1.0, (6, 5)).astype(np.float32)


@jax.tree_util.register_static
class TableModel(CostModel):
    """A cost model of NAS-Bench-201 cells that adds up `TABLE`."""

    name, metrics, exact_expectation = "table", ("latency_ms",), True

    def predict(self, weight):
        return {"latency_ms": (weight * TABLE).sum()}
