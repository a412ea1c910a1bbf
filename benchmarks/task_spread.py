"""Do networks differ on a data set by more than the noise of their training?

    python benchmarks/task_spread.py cluttered_digits [--args '{"size": 16}'] [--networks 12]

Draws networks of NAS-Bench-201's cells whose multiply-accumulates lie between two percentiles of
the space, so that all cost about the same. Each is trained from several seeds and tested. A search
can only be worth something on a data set where the networks' mean accuracies spread by more than
the accuracies of one network over its seeds.

The spread between networks is the standard deviation of the true means: the variance of the
measured means less the part of it that comes from the seeds. Kendall's tau between seeds says how
well one training ranks the networks for another.
"""

import argparse
import itertools
import json
import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from hwnas_jax.config import DataConfig
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.data import Dataset, load_data
from hwnas_jax.registry import Part
from hwnas_jax.search.evaluators import Bench, Data
from hwnas_jax.search.evaluators.training import ShortTraining
from hwnas_jax.spaces import Space, make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import make_task


def networks_of_one_cost(
    space: Space, count: int, percentiles: tuple[float, float], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns random distinct networks `int32[n, D]` in canonical form, and their MACs `[n]`.

    Args:
      space: small enough to list.
      count: how many at most.
      percentiles: of the multiply-accumulates over all networks, between which theirs lie.
      seed: of the draw.
    """
    every = np.unique(space.canonical(space.enumerate()), axis=0)
    macs = predict_architectures(AnalyticModel.count(space), every, space.num_options)["macs"]
    lowest, highest = np.percentile(macs, percentiles)
    inside = np.flatnonzero((macs >= lowest) & (macs <= highest))
    chosen = np.random.default_rng(seed).choice(inside, min(count, len(inside)), replace=False)
    return every[chosen], macs[chosen]


def make_bench(dataset: Dataset, space: Space, *, shift: int, batch_size: int) -> Bench:
    """Returns a bench whose networks learn from the train set and are judged by the test set."""
    train, test = len(dataset.train_inputs), len(dataset.test_inputs)
    data = Data(
        np.concatenate([dataset.train_inputs, dataset.test_inputs]),
        np.concatenate([dataset.train_targets, dataset.test_targets]),
        np.arange(train, dtype=np.int32),
        np.arange(train, train + test, dtype=np.int32),
        dataset.mean,
        dataset.std,
    )
    task = make_task(Part("classification"), dataset)
    supernet = make_supernet(space)
    return Bench(space, task, data, supernet, batch_size=batch_size, shift=shift)


def spreads(accuracies: np.ndarray) -> tuple[float, float]:
    """Returns the standard deviations between networks and between trainings of one network.

    Args:
      accuracies: `[networks, seeds]`.
    """
    seeds = accuracies.shape[1]
    within = accuracies.var(axis=1, ddof=1).mean()
    between = accuracies.mean(axis=1).var(ddof=1) - within / seeds
    return float(np.sqrt(max(between, 0.0))), float(np.sqrt(within))


def main():
    """Trains the networks and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="data source by its name")
    parser.add_argument("--args", type=json.loads, default={}, help="its options, as JSON")
    parser.add_argument("--shift", type=int, default=1, help="augmentation, in pixels")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200, help="rounded to whole epochs")
    parser.add_argument("--percentiles", type=float, nargs=2, default=(45.0, 55.0))
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1)
    words = parser.parse_args()

    dataset = load_data(DataConfig(name=words.data, args=words.args, shift=words.shift))
    space = make_space(
        "nasbench201", {"channels": words.channels, "cells": words.cells},
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
    )  # fmt: skip
    networks, macs = networks_of_one_cost(space, words.networks, words.percentiles, seed=0)
    bench = make_bench(dataset, space, shift=words.shift, batch_size=64)
    per_epoch = len(dataset.train_inputs) // bench.batch_size
    evaluator = ShortTraining(epochs=max(1, round(words.steps / per_epoch)), weight_decay=5e-3)
    arrays = evaluator.arrays(bench)
    train = jax.jit(lambda arrays, networks, key: evaluator.evaluate(bench, arrays, networks, key))

    keys = jax.random.split(jax.random.key(0), words.seeds)
    start = time.process_time()
    train = train.lower(arrays, networks, keys[0]).compile()
    compiled = time.process_time()
    found = [train(arrays, networks, key)["accuracy"] for key in keys]
    accuracies = 100 * np.stack([np.asarray(one) for one in found], axis=1)
    taken = time.process_time() - compiled

    between, within = spreads(accuracies)
    pairs = itertools.combinations(accuracies.T, 2)
    taus = [kendall(one, other) for one, other in pairs]
    means, steps = accuracies.mean(axis=1), evaluator.epochs * per_epoch
    print(f"{describe_device()} {describe_software()}")
    print(
        f"{words.data} {words.args}: images {dataset.input_shape}, "
        f"{len(dataset.train_inputs)} train, {len(dataset.test_inputs)} test"
    )
    print(
        f"{len(networks)} networks of {macs.min():.4g} to {macs.max():.4g} MACs, "
        f"{words.seeds} seeds, {steps} steps; compiled in {compiled - start:.0f} s of CPU time, "
        f"{1000 * taken / (steps * accuracies.size):.2f} ms of it a step"
    )
    print(
        f"test accuracy {means.mean():.2f} %, networks {means.min():.2f} to {means.max():.2f}; "
        f"standard deviation between networks {between:.2f}, between trainings {within:.2f}, "
        f"ratio {between / within:.2f}"
    )
    print(
        f"Kendall's tau between two seeds {np.mean(taus):.2f} ({min(taus):.2f} to {max(taus):.2f}),"
        f" of the mean with MACs {kendall(macs, means):.2f}"
    )


if __name__ == "__main__":
    main()
