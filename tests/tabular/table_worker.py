"""A table of a toy space, made in a process that ends by kill -9 on its way.

`python -m tests.tabular.table_worker FILE NETWORKS`
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import jax

from hwnas_jax.config import Config, override
from hwnas_jax.display import Silent
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.tabular.make import TableSettings
from hwnas_jax.tabular.make.table import fill_table
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE, images

CONFIG = override(
    Config(), search__batch_size=8, search__steps_per_dispatch=4, data__shift=0,
    retrain__validation_fraction=0.25, parallel__devices=2, seed=5,
)  # fmt: skip
SETTINGS = TableSettings(sample=7, epochs=(1, 2), seeds=2, measured=0, chunk=2)


def made(path, display=None, **changes):
    """Makes the table of seven toy networks."""
    config = override(CONFIG, **changes)
    return fill_table(SPACE, images(), Classification(), config, path, SETTINGS, display=display)


class Dying(Silent):
    """Kills the process in the middle of a chunk, when so many networks are done."""

    def __init__(self, networks):
        self.networks = networks

    @contextlib.contextmanager
    def stage(self, name):
        def report(done, total, what):
            if done >= self.networks:
                os.kill(os.getpid(), signal.SIGKILL)

        yield report


def main(path: str, networks: str) -> None:
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    made(Path(path), Dying(int(networks)))


if __name__ == "__main__":
    main(*sys.argv[1:])
