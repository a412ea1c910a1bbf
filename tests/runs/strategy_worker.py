"""A search by evolution on a toy space, in a process that ends by kill -9 on its way.

`python -m tests.runs.strategy_worker <folder> <what is running> <step at which it dies>`
"""

import os
import signal
import sys
from pathlib import Path

import jax

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.registry import Part
from hwnas_jax.runs.population import make_members
from hwnas_jax.runs.strategy_search import search_by_strategy
from tests.search.dense import SPACE, DenseModel, images

CONFIG = override(
    Config(), search__strategy=Part("evolution", {"population": 4, "sample": 2}),
    search__rounds=30, search__steps=12, search__steps_per_dispatch=3, search__warmup_steps=1,
    search__batch_size=16, search__checkpoint_every=3, search__weights__learning_rate=0.02,
    budget=Part("dual_ascent"), parallel__devices=1,
)  # fmt: skip
MEMBERS = make_members([Target("latency_ms", value) for value in (3.0, 5.0)], [0])


def searched(folder, progress=quiet):
    """Returns what two searches of one seed found; they share one trained supernet."""
    return search_by_strategy(
        SPACE, images(), DenseModel(), MEMBERS, CONFIG, folder=folder, progress=progress
    )


def main(folder: str, running: str, step: str) -> None:
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

    def progress(done, total, what):
        if done == int(step) and running in what:
            os.kill(os.getpid(), signal.SIGKILL)

    searched(Path(folder), progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
