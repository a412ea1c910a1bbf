"""One process of a small search: `python -m tests.distributed_worker '<json>'`.

It stands for a user's own script: it joins the job, searches, and prints what it ended with.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.cli import _failed
from hwnas_jax.config import Config, override
from hwnas_jax.data import Dataset
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import StopRequest
from hwnas_jax.search.objective import Target
from hwnas_jax.search.stage import search_architecture


class ToySupernet(nnx.Module):
    """Three decisions among three layers each; batch statistics between, over the replicas."""

    def __init__(self, rngs, axis_name):
        self.axis_name = axis_name
        self.inward, self.outward = nnx.Linear(16, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(9)])

    def __call__(self, images, gates):
        weight, index = gates
        x = self.inward(images.reshape(len(images), -1))
        for d in range(3):
            branches = [
                lambda x, layer=self.layers[3 * d + o]: nnx.relu(layer(x)) for o in range(3)
            ]
            x = x + weight[d, index[d]] * jax.lax.switch(index[d], branches, x)
            mean, square = x.mean(0), (x * x).mean(0)
            if self.axis_name is not None:
                mean, square = jax.lax.pmean((mean, square), self.axis_name)
            x = (x - mean) / jnp.sqrt(square - mean * mean + 1e-3)
        return self.outward(x)


class ToySpace:
    """What a search needs to know of a space that compiles in no time."""

    mask, num_options = np.ones((3, 3), bool), 3

    def supernet(self, rngs, *, axis_name=None):
        return ToySupernet(rngs, axis_name)

    def scores(self, supernet):
        return None


@jax.tree_util.register_static
class ToyCost:
    """Adds up a table."""

    name, metrics = "toy", ("latency_ms",)

    def predict(self, weight):
        table = np.array([[0.1, 0.5, 1.0], [1.0, 0.2, 0.6], [0.3, 0.9, 0.4]], np.float32)
        return {"latency_ms": (weight * table).sum()}


def images():
    rng = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int32) % 3
    pictures = rng.integers(0, 80, (96, 4, 4, 1)) + 60 * labels[:, None, None, None]
    return Dataset(
        name="stripes", train_inputs=pictures.astype(np.uint8), train_targets=labels,
        test_inputs=pictures[:30].astype(np.uint8), test_targets=labels[:30],
        class_names=("a", "b", "c"),
    )  # fmt: skip


def settings(**changes) -> Config:
    return override(
        Config(), search__steps=12, search__warmup_steps=1, search__steps_per_dispatch=3,
        search__batch_size=16, search__checkpoint_every=3, search__weight_learning_rate=0.02,
        search__relaxation="sampled_path", parallel__sync_batch_statistics=True,
        parallel__initialization_timeout_s=60, **changes,
    )  # fmt: skip


def searched(config: Config, **options):
    target = Target("latency_ms", 1.2)
    return search_architecture(ToySpace(), images(), ToyCost(), target, config, **options).state


def main(options: dict) -> int:
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    config = settings(**options["config"])
    try:
        with StopRequest.listening():
            distributed.start(config.parallel)
            search(config, options)
            distributed.finish()
    except UserError as error:
        return _failed(2, f"error: {error}")
    except Interrupted as stop:
        return _failed(128 + stop.signum, str(stop))
    return 0


def search(config: Config, options: dict) -> None:
    def progress(done, total, what):
        if done == options.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if done == options.get("stop_at"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    state = searched(config, folder=Path(options["folder"]), progress=progress)
    if "out" in options:
        np.savez(options["out"], logits=state.logits, weights=state.weights, step=state.step)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
