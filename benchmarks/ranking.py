"""What ranks cells of NAS-Bench-201 as their published accuracies do, on CIFAR-10?

    HWNAS_DATA=FOLDER python benchmarks/ranking.py [--networks 64] [--percentile 65] [--seed 0]

Draws cells that use 97 to 100 % of a limit on published latency, and prints Kendall's tau with the
published accuracies of: multiply-adds; the validation loss of supernets trained by paths drawn
uniformly or fairly, for several numbers of steps; and the validation loss after short trainings of
each cell, from new weights and from those of a supernet. Every line is printed once more for those
of the cells that have the most multiply-adds, and together with multiply-adds (mean ranks). FOLDER
and images are those of `search_on_table.py`.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import scipy

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, DataConfig, SearchConfig, SpaceConfig, override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.data import load_data
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.runs.gradient_search import examples_of, search_architecture
from hwnas_jax.search.candidates import counts_of
from hwnas_jax.search.judge import Judge
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import load_benchmark
from hwnas_jax.tabular.base import numbers_of
from hwnas_jax.tasks import make_task

HERE = Path(__file__).resolve().parent
SUPERNETS = (2000, 6000)
TRAININGS = (200, 800)
WARM = (100, 400)


def trained_supernet(space, dataset, config, steps, *, fair):
    """Returns the weights of a supernet trained for so many passes of a batch."""
    changes = {"search__steps": steps + 1, "search__warmup_steps": steps}
    if fair:
        changes |= {"search__fair": True, "search__draws": 5, "search__batch_size": 65}
    model = AnalyticModel.count(space)
    result = search_architecture(
        space, dataset, model, Target("macs", 1e9), override(config, **changes)
    )
    return np.asarray(result.state.weights)


def cells_on_cifar10(seed):
    """Returns the config, the images of 16x16 pixels and the space of the cells."""
    config = Config(
        seed=seed,
        space=SpaceConfig("nasbench201", {"channels": 8, "cells": 1}),
        data=DataConfig(
            f"{HERE / 'cifar10_images.py'}:Cifar10Images", {"size": 16},
            path=str(Path(os.environ["HWNAS_DATA"]) / "cifar10_jpeg.npz"), shift=2, flip=True,
        ),
        search=SearchConfig(steps_per_dispatch=100),
    )  # fmt: skip
    dataset = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args,
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
    )  # fmt: skip
    return config, dataset, space


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--percentile", type=float, default=65.0)
    parser.add_argument("--device", default="gold_6226")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config, dataset, space = cells_on_cifar10(options.seed)
    cells, accuracy = window_of(space, options)
    macs = counts_of(space, cells)["macs"]
    most = np.argsort(-macs, kind="stable")[: len(cells) // 2]
    print(f"{len(cells)} cells, accuracy {accuracy.mean():.2f} ({accuracy.std():.2f})")

    def show(name, score, seconds=0.0):
        both = scipy.stats.rankdata(score) + scipy.stats.rankdata(macs)
        taus = kendall(accuracy, score), kendall(accuracy, both)
        within = kendall(accuracy[most], score[most])
        best = (accuracy < accuracy[np.argmax(score)]).mean()
        print(
            f"{name:<34} tau {taus[0]:6.3f}, with multiply-adds {taus[1]:6.3f}, among the half "
            f"with the most {within:6.3f}; the best is better than {best:4.0%}; {seconds:.0f} s",
            flush=True,
        )

    show("multiply-adds", macs)
    judge = Judge(space, make_supernet(space), make_task(config.task, dataset), config)

    def searched(weights):
        examples = examples_of(dataset, config, seed=options.seed)
        return judge.searched(
            examples, probabilities=None, prior=None, weights=weights, seed=options.seed
        )

    weights = None
    for fair in (False, True):
        for steps in SUPERNETS:
            start = time.perf_counter()
            weights = trained_supernet(space, dataset, config, steps, fair=fair)
            middle = time.perf_counter() - start
            loss = searched(weights).judge(weights, cells)["loss"]
            show(f"supernet, {'fair' if fair else 'uniform'}, {steps} steps", -loss, middle)
    for start_from, lengths in ((None, TRAININGS), (weights, WARM)):
        for steps in lengths:
            start = time.perf_counter()
            told = searched(weights).train(start_from, cells, steps, quiet, seed=options.seed)
            kind = "new weights" if start_from is None else "the last supernet's"
            seconds = time.perf_counter() - start
            show(f"{steps} steps from {kind}", -told["loss"], seconds)
            show("  and by its training loss too", -told["loss"] - told["training_loss"], seconds)


def window_of(space, options):
    """Returns the cells `int32[N, D]` and their published accuracies."""
    observed = load_observations("nb201_latency_help", device=options.device).observations
    table = load_benchmark("nb201_accuracy")
    cells = np.unique(space.canonical(observed.architectures), axis=0)
    latency = np.empty(len(numbers_of(space, observed.architectures)))
    latency[numbers_of(space, observed.architectures)] = observed.values["latency_ms"]
    own = latency[numbers_of(space, cells)]
    limit = np.percentile(own, options.percentile)
    inside = cells[(own <= limit) & (own >= 0.97 * limit)]
    inside = np.random.default_rng(options.seed).permutation(inside)[: options.networks]
    return inside, 100 * table.metrics[table.report][numbers_of(space, inside)]


if __name__ == "__main__":
    main()
