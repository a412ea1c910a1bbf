"""Do blocks that imitate a teacher rank networks better than a supernet trained from end to end?

    HWNAS_DATA=FOLDER python benchmarks/blockwise.py [--space nasbench201] [--seeds 0 1 2]
        [--steps 2000] [--networks 200] [--epochs 10]
    python benchmarks/blockwise.py --devices 3

Images of CIFAR-10 at 16x16 pixels, spaces and networks are those of `supernet_ranks.py`. For each
seed a teacher is trained first: NAS-Bench-201's residual cell, with twice the channels of the
student, for `--epochs`. Then the blocks are trained for `--steps` steps, and a supernet by single
paths drawn uniformly for as many. Kendall's tau with the published accuracies is printed for the
summed loss of the blocks and for the supernet's validation loss, over networks of the whole space
and over those that use 97 to 100 % of a limit. Both rate on as many held-out batches. The last
lines give the mean over the seeds of the differences, and its 95 % interval by Student's t.

With `--devices N` it instead trains the blocks for some steps on one device and on N, in turns,
and prints the ratio of the two times. On a CPU, N devices are N threads of one machine.
"""

import argparse
import os
import sys
import time

if "--devices" in sys.argv:
    count = sys.argv[sys.argv.index("--devices") + 1]
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}"

import jax
import numpy as np
import scipy
from ranking import trained_supernet
from supernet_ranks import CELLS, LAYERS, TABLES, networks_of, setting

from hwnas_jax.config import override
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.runs.blockwise_search import rating_inputs, train_blocks
from hwnas_jax.runs.gradient_search import examples_of
from hwnas_jax.runs.retrain import train
from hwnas_jax.search.blockwise.imitation import LOSSES
from hwnas_jax.search.blockwise.options import Blockwise
from hwnas_jax.search.blockwise.rating import make_rating
from hwnas_jax.search.blockwise.teacher import teacher_of
from hwnas_jax.search.judge import Judge
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import make_task

RESIDUAL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
OPTIONS = Blockwise("the residual network")


def student(name, seed, steps):
    """Returns the config, the images and the space, whose stages are those of the teacher."""
    config, dataset, space = setting(name, seed)
    config = override(config, search__steps=steps, search__warmup_steps=0)
    if name == LAYERS:
        args = {**space.args, "halvings": 2}
        space = make_space(
            name, args, input_shape=dataset.input_shape, num_outputs=dataset.num_outputs
        )
    return config, dataset, space


def trained_teacher(dataset, config, epochs):
    """Returns the trained teacher and its test accuracy."""
    space = make_space(
        CELLS, {"channels": 16, "cells": 1},
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
    )  # fmt: skip
    cell = space.from_string(RESIDUAL)
    config = override(config, retrain__epochs=epochs, parallel__devices=1)
    found = train(lambda rngs: space.network(cell, rngs), dataset, config, seed=config.seed)
    return teacher_of(found.network, dataset.input_shape, OPTIONS.teacher), found.test_metric


def summed_losses(space, dataset, teacher, config, rows):
    """Returns the summed loss of the blocks of networks `int32[N, D]`, `float[N]`."""
    state = train_blocks(space, dataset, teacher, OPTIONS, config, progress=quiet)
    supernet, batches = make_supernet(space), rating_inputs(dataset, OPTIONS, config)
    total = np.zeros(len(rows))
    for number, block in enumerate(space.cut_blocks):
        own, places = np.unique(rows[:, list(block.decisions)], axis=0, return_inverse=True)
        learned = jax.tree.map(lambda leaf: leaf[number], state.student)  # noqa: B023
        # A cell is one choice; the layers of a stage are all combined, and looked up.
        cells = [np.zeros((1, 0), np.int32), own] if space.name == CELLS else None
        rate = make_rating(
            space, supernet, teacher.features, LOSSES[OPTIONS.loss], number, choices=cells
        )
        losses = np.asarray(rate(learned, teacher.state, batches))
        if cells is None:
            shape = [len(space.decisions[d].options) for d in block.decisions]
            places = np.ravel_multi_index(rows[:, list(block.decisions)].T, shape)
        total += losses[places.reshape(-1)]
    return total


def taus(options, seed):
    """Returns tau of the blocks and of the supernet, over the space and inside the window."""
    config, dataset, space = student(options.space, seed, options.steps)
    teacher, accuracy = trained_teacher(dataset, config, options.epochs)
    groups = networks_of(space, options, seed)
    rows = np.concatenate([group.rows for group in groups])
    ends = [len(groups[0].rows)]
    blocks = np.split(-summed_losses(space, dataset, teacher, config, rows), ends)
    weights = trained_supernet(space, dataset, config, options.steps, fair=False)
    judge = Judge(space, make_supernet(space), make_task(config.task, dataset), config)
    searched = judge.searched(
        examples_of(dataset, config, seed=seed), probabilities=None, prior=None, weights=weights,
        seed=seed,
    )  # fmt: skip
    whole = np.split(-np.asarray(searched.judge(weights, rows)["loss"]), ends)
    found = np.array(
        [
            [kendall(group.accuracy, score) for group, score in zip(groups, scores, strict=True)]
            for scores in (blocks, whole)
        ]
    )
    print(
        f"seed {seed}, teacher {accuracy:.3f}: blocks {found[0, 0]:.3f}, in the window "
        f"{found[0, 1]:.3f}; supernet {found[1, 0]:.3f}, in the window {found[1, 1]:.3f}",
        flush=True,
    )
    return found


def compare_devices(options):
    """Prints how much faster the blocks train side by side than one after another."""
    config, dataset, space = student(options.space, 0, options.steps)
    teacher, _ = trained_teacher(dataset, config, 1)
    ratios = []
    for turn in range(options.turns):
        seconds = {}
        for devices in (1, options.devices):
            own = override(config, parallel__devices=devices)
            marks = []
            train_blocks(
                space, dataset, teacher, OPTIONS, own,
                progress=lambda *_: marks.append(time.perf_counter()),  # noqa: B023
            )  # fmt: skip
            # The first call after the start compiles.
            seconds[devices] = marks[-1] - marks[1]
        ratios.append(seconds[1] / seconds[options.devices])
        print(f"turn {turn}: one after another / side by side = {ratios[-1]:.2f}", flush=True)
    print(f"median {np.median(ratios):.2f} of {options.devices} devices on {os.cpu_count()} cores")


def main():
    """Prints a line for each seed, and the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=list(TABLES), default=CELLS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--percentile", type=float, default=65.0)
    parser.add_argument("--device", default="gold_6226")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--devices", type=int)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    if options.devices:
        compare_devices(options)
        return
    found = np.array([taus(options, seed) for seed in options.seeds])
    for number, where in enumerate(("the whole space", "the window")):
        gain = found[:, 0, number] - found[:, 1, number]
        half = np.inf
        if len(gain) > 1:
            half = scipy.stats.t.ppf(0.975, len(gain) - 1) * scipy.stats.sem(gain)
        print(
            f"{where}: blocks {found[:, 0, number].mean():.3f}, supernet "
            f"{found[:, 1, number].mean():.3f}, difference {gain.mean():+.3f} +- {half:.3f}"
        )


if __name__ == "__main__":
    main()
