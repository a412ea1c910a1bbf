"""One process of a search that measures: `python -m tests.measuring_worker '<json>'`."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from hwnas_jax.config import Config, override
from hwnas_jax.cost import Measured, Sample, load_cost_model
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.parallel import distributed
from hwnas_jax.search import refine
from hwnas_jax.search.objective import Target
from hwnas_jax.search.stage import search_architecture
from tests.cost.toy import law_ms
from tests.search.dense import SPACE, images


def settings(**changes) -> Config:
    return override(
        Config(), search__steps=9, search__warmup_steps=3, search__steps_per_dispatch=3,
        search__batch_size=16, search__checkpoint_every=3, search__weight_learning_rate=0.02,
        parallel__initialization_timeout_s=60, cost__members=2, cost__hidden=4, cost__steps=60,
        target__measurements=2, target__measure_every=3, **changes,
    )  # fmt: skip


def measure(space, architectures, measurements, config, **options):
    if not distributed.is_first():
        raise AssertionError("only process 0 measures")
    timings = [Sample(2 * law_ms(space, row), 0.01, 3) for row in architectures]
    return Measured(timings, timings, 1.0)


def main(options: dict) -> None:
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    refine.measure_networks = measure
    config, folder = settings(**options["config"]), Path(options["folder"])
    distributed.start(config.parallel)
    model = load_cost_model(folder / "cost_model.npz", SPACE)
    result = search_architecture(
        SPACE, images(), model, Target("latency_ms", 3.0), config, folder=folder
    )
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(result.cost_model)]
    np.savez(options["out"], logits=result.state.logits, model=np.concatenate(leaves))
    distributed.finish()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
