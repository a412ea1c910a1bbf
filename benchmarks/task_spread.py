"""Do networks differ on a data set by more than the noise of their training?

    python benchmarks/task_spread.py cluttered_digits [--args '{"clutter": 2}'] [--networks 12]

Draws networks of NAS-Bench-201's cells whose multiply-accumulates lie between two percentiles of
the space, so that all cost about the same. Each is trained from several seeds, as long and as hard
as a derived network is trained, and tested. A search is worth something only where the mean
accuracies of networks spread by more than the accuracies of one network over its seeds.

The spread between networks is the standard deviation of their true means: the variance of the
measured means less the part of it that comes from the seeds. Kendall's tau between seeds says how
well the first training of each network predicts the order after the second.
"""

import argparse
import itertools
import json
import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from hwnas_jax.config import DataConfig, RetrainConfig
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


def train_all(bench: Bench, networks: np.ndarray, seeds: int, least_steps: int) -> np.ndarray:
    """Returns test accuracies in percent, `[networks, seeds]`; prints how long that took.

    Args:
      bench: trains and tests.
      networks: `int32[n, D]`.
      seeds: how often each is trained; a seed draws the same batches for all networks.
      least_steps: of each training, rounded to whole epochs.
    """
    assert bench.data is not None
    per_epoch, settings = len(bench.data.weight_half) // bench.batch_size, RetrainConfig()
    evaluator = ShortTraining(
        epochs=max(1, round(least_steps / per_epoch)),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    arrays = evaluator.arrays(bench)
    keys = jax.random.split(jax.random.key(0), seeds)

    @jax.jit
    def evaluate(arrays, networks, key):
        return evaluator.evaluate(bench, arrays, networks, 0, key)["accuracy"]

    program = evaluate.lower(arrays, networks, keys[0]).compile()
    start = time.process_time()
    accuracies = 100 * np.stack([np.asarray(program(arrays, networks, key)) for key in keys], 1)
    steps = evaluator.epochs * per_epoch
    taken_ms = 1000 * (time.process_time() - start) / (steps * accuracies.size)
    print(
        f"{len(networks)} networks, {seeds} seeds, {steps} steps of {bench.batch_size} images; "
        f"{taken_ms:.2f} ms of CPU time a step"
    )
    return accuracies


def main():
    """Trains the networks and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="source of images in classes, by its name")
    parser.add_argument("--args", type=json.loads, default={}, help="its options, as JSON")
    parser.add_argument("--shift", type=int, default=1, help="augmentation, in pixels")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200, help="rounded to whole epochs")
    parser.add_argument("--percentiles", type=float, nargs=2, default=(45.0, 55.0))
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1)
    words = parser.parse_args()

    print(f"{describe_device()} {describe_software()}")
    dataset = load_data(DataConfig(name=words.data, args=words.args, shift=words.shift))
    print(
        f"{words.data} {words.args}: images {dataset.input_shape}, "
        f"{len(dataset.train_inputs)} to train on, {len(dataset.test_inputs)} to test on"
    )
    space = make_space(
        "nasbench201", {"channels": words.channels, "cells": words.cells},
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
    )  # fmt: skip
    networks, macs = networks_of_one_cost(space, words.networks, words.percentiles, seed=0)
    bench = make_bench(dataset, space, shift=words.shift, batch_size=RetrainConfig().batch_size)
    accuracies = train_all(bench, networks, words.seeds, words.steps)

    means = accuracies.mean(axis=1)
    for row in np.argsort(-means):
        each = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies[row])
        print(
            f"{means[row]:.2f} % ({each})  {macs[row]:,.0f} MACs  {space.to_string(networks[row])}"
        )
    between, within = spreads(accuracies)
    print(
        f"mean accuracy {means.mean():.2f} %, of single networks {means.min():.2f} to "
        f"{means.max():.2f} %\nstandard deviation between networks {between:.2f}, between "
        f"trainings of one {within:.2f}: ratio {between / within:.2f}"
    )
    taus = [kendall(one, other) for one, other in itertools.combinations(accuracies.T, 2)]
    print(
        f"Kendall's tau between two seeds {np.mean(taus):.2f} ({min(taus):.2f} to {max(taus):.2f})"
    )
    if np.ptp(macs):
        print(f"Kendall's tau of the mean accuracies with the MACs {kendall(macs, means):.2f}")


if __name__ == "__main__":
    main()
