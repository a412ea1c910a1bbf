"""A made-up table of accuracies with made-up costs, and a comparison on it.

`python -m tests.runs.compare.studies <folder> <log> <cells before it dies>` is a worker that notes
each cell that it begins, and ends by kill -9 while it makes one; a negative number lets it live.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.display import Silent
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.runs.compare import study
from hwnas_jax.runs.compare.settings import Comparison
from hwnas_jax.search.strategies import RandomSearch
from tests.tabular.tables import CELLS, cell_arrays, small_table

SEEDS, QUERIES = 6, 20
METHODS = ("evolution,population=5", "evolution,each=3")
CASES = ("slow<=2.5", "fast", "unlimited")
DEVICES = ("fast", "slow")


def costs():
    """Returns the architectures, as `int[N, D]`, and their costs `float32[V, N]`."""
    cells = CELLS.enumerate()
    rng = np.random.default_rng(2)
    weights = np.array([[0.0, 0.1, 0.3, 0.5, 0.2], [0.0, 0.2, 0.5, 0.9, 0.1]])
    noise = rng.uniform(0, 0.05, (2, len(cells)))
    return cells, (1.0 + weights[:, cells].sum(-1) + noise).astype(np.float32)


def write_tables(folder):
    """Writes `accuracy.npz` and `latency.npz`; accuracies grow with the cost, but for noise."""
    cells, latency_ms = costs()
    arrays = cell_arrays()
    given = 4 - arrays["ops"].astype(int)  # the file numbers its operations backwards
    place = given @ 5 ** np.arange(5, -1, -1)
    rng = np.random.default_rng(3)
    truth = 20 + 12 * latency_ms[1][place] + rng.normal(0, 2, len(cells))
    noisy = {
        name: (truth + rng.normal(0, spread, len(cells))).clip(1, 100).astype(np.float32)
        for name, spread in (
            ("cifar10valid_valid_12", 5), ("cifar10valid_valid_200", 1), ("cifar10_test_200", 0),
        )
    }  # fmt: skip
    small_table(folder / "accuracy.npz", **noisy)
    np.savez(
        folder / "latency.npz", ops=cells.astype(np.uint8), devices=np.array(DEVICES),
        op_names=np.array(CELLS.decisions[0].options), latency_ms=latency_ms,
    )  # fmt: skip


def settings(tables: Path, **changes) -> Comparison:
    own = {
        "table": str(tables / "accuracy.npz"), "methods": METHODS, "seeds": SEEDS,
        "queries": QUERIES, "costs": str(tables / "latency.npz"), "cases": CASES,
    }  # fmt: skip
    return Comparison(**(own | changes))


def noted(run_cell, log: Path, then=lambda: None):
    """Returns `run_cell` that first notes the process and the cell in a file."""

    def run(plan, program, case):
        with log.open("a") as file:
            file.write(f"{os.getpid()} {case.label}\n")
        then()
        return run_cell(plan, program, case)

    return run


@dataclasses.dataclass(frozen=True)
class TwoLevels(RandomSearch):
    """Evaluates three of four networks after a short training."""

    name = "two_levels"
    summary = "every fourth at full fidelity"
    fidelities = 2

    def init(self, key, mask):
        return mask, jnp.zeros((), jnp.int32)

    def ask(self, state, key, ahead):
        return super().ask(state[0], key, ahead)

    def fidelity(self, state):
        return jnp.where(state[1] % 4 == 3, 0, 1)

    def tell(self, state, architectures, told):
        return state[0], state[1] + 1


def main(folder: str, log: str, cells: str) -> None:
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    begun = []

    def die():
        begun.append(True)
        if len(begun) == int(cells) + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    study.run_cell = noted(study.run_cell, Path(log), die)
    study.compare(folder=folder, resume=True, display=Silent())


if __name__ == "__main__":
    main(*sys.argv[1:])
