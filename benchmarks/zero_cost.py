"""How well do scores of untrained networks rank cells of NAS-Bench-201, on CIFAR-10?

    HWNAS_DATA=FOLDER python benchmarks/zero_cost.py [--cells 200] [--channels 16] [--depth 1]
        [--batch-size 64] [--size 32] [--proxies naswot synflow ...] [--seed 0]

Draws cells at random from all 15,625 and prints, for every proxy, Spearman's correlation with the
accuracies after 200 epochs that are published for validation and for test images, the standard
errors by the bootstrap over the cells, and the seconds per cell, compilation left out. The figures
beside it are those that NAS-Bench-Suite-Zero (Krishnakumar et al., 2022) publishes for 1,000 cells
at 16 channels and 5 cells a stage. They compare with the validation images: over all cells,
multiply-adds have .71 with these and .75 with the test images, published is .69.
FOLDER and images are those of `search_on_table.py`.
"""

import argparse
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from hwnas_jax.config import Config, DataConfig, SpaceConfig
from hwnas_jax.data import load_data
from hwnas_jax.runs.gradient_search import examples_of
from hwnas_jax.search.evaluators import Bench, ZeroCost, check_evaluator
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import load_benchmark
from hwnas_jax.tabular.base import numbers_of
from hwnas_jax.tasks import make_task

HERE = Path(__file__).resolve().parent
PUBLISHED = {
    "naswot": 0.77, "synflow": 0.73, "grad_norm": 0.58, "snip": 0.58, "zen": 0.35,
    "params": 0.72, "macs": 0.69,
}  # fmt: skip
RESAMPLES = 1000


def bench_of_cells(options):
    """Returns the bench of the cells and their images."""
    config = Config(
        seed=options.seed,
        space=SpaceConfig("nasbench201", {"channels": options.channels, "cells": options.depth}),
        data=DataConfig(
            f"{HERE / 'cifar10_images.py'}:Cifar10Images", {"size": options.size},
            path=str(Path(os.environ["HWNAS_DATA"]) / "cifar10_jpeg.npz"),
        ),
    )  # fmt: skip
    dataset = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args,
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
    )  # fmt: skip
    return Bench(
        space, make_task(config.task, dataset), examples_of(dataset, config, seed=options.seed),
        make_supernet(space), batch_size=options.batch_size, seed=options.seed,
    )  # fmt: skip


def scores_of(proxy, bench, cells, options):
    """Returns the proxy's scores, `float32[n]`, and seconds per cell."""
    evaluator = ZeroCost(proxy=proxy, batches=options.batches)
    arrays = jax.tree.map(jnp.asarray, check_evaluator(evaluator, bench))
    run = jax.jit(
        lambda arrays, cells, key: evaluator.evaluate(bench, arrays, cells, jnp.int32(0), key)
    )
    key, step = jax.random.key(options.seed), options.per_call
    run(arrays, cells[:step], key)[proxy].block_until_ready()
    start = time.perf_counter()
    found = [
        np.asarray(run(arrays, cells[first : first + step], key)[proxy])
        for first in range(0, len(cells), step)
    ]
    return np.concatenate(found), (time.perf_counter() - start) / len(cells)


def spearman(scores, accuracy, rows):
    """Returns the correlation and its standard error over the resamples `rows`, as text."""
    both = np.stack([scores, accuracy])
    again = [scipy.stats.spearmanr(*both[:, own]).statistic for own in rows]
    return f"{scipy.stats.spearmanr(*both).statistic:.3f} (s.e. {np.std(again):.3f})"


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--per-call", type=int, default=10, help="a divisor of --cells")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--depth", type=int, default=1, help="cells of a stage")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--size", type=int, default=32, help="pixels of an image's side")
    parser.add_argument("--proxies", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="an .npz that takes cells, accuracies and scores")
    options = parser.parse_args()
    bench, table = bench_of_cells(options), load_benchmark("nb201_accuracy")
    rng = np.random.default_rng(options.seed)
    cells = bench.space.random(rng, options.cells).astype(np.int32)
    own = numbers_of(bench.space, cells)
    accuracies = {
        kind: 100 * table.metrics[f"{kind}_accuracy_200"][own] for kind in ("validation", "test")
    }
    rows = rng.integers(0, len(cells), (RESAMPLES, len(cells)))
    print(
        f"{len(cells)} cells, accuracy {accuracies['test'].mean():.2f}; "
        f"C={options.channels} N={options.depth}, {options.batches} x {options.batch_size} images "
        f"of {options.size} pixels"
    )
    kept = {"cells": cells, **accuracies}
    for proxy in options.proxies:
        scores, seconds = scores_of(proxy, bench, cells, options)
        kept[proxy] = scores
        said = [f"{kind} {spearman(scores, value, rows)}" for kind, value in accuracies.items()]
        print(
            f"{proxy:<10} Spearman {', '.join(said)}, published {PUBLISHED[proxy]:.2f}; "
            f"{seconds:.3f} s per cell",
            flush=True,
        )
    if options.save:
        np.savez(options.save, **kept)


if __name__ == "__main__":
    main()
