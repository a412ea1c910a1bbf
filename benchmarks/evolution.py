"""Searches on NAS-Bench-201: what they find, and how long 200 seeds take in one program.

    HWNAS_DATA=folder python benchmarks/evolution.py [--path nb201_accuracy] [--seeds 200]

First the accuracies, in percent, mean and deviation over the seeds, of random search and of
regularised evolution. `selected on test` chooses and reports by the same column, which is
optimistic, and is how such tables are mostly used; `selected on validation` reports the test
accuracy of what has the best validation accuracy.

Then wall time: all seeds of evolution as one compiled program beside the same algorithm as a plain
loop in Python that looks its scores up in the same table. The two run in turns; the ratio is that
of each turn, as median and range. Compiling is timed once and is not part of it.
"""

import argparse
import collections
import os
import random
import statistics
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.search.evaluators import Bench, make_evaluate
from hwnas_jax.search.strategies import (
    RandomSearch,
    RegularisedEvolution,
    best_so_far,
    no_budget,
    run_strategy,
)
from hwnas_jax.spaces.core import published
from hwnas_jax.tabular import Table
from hwnas_jax.tasks import Classification

DATA_SETS = ("cifar10", "cifar100", "imagenet16_120")
EVALUATIONS = (100, 200)
SPACE = published.nasbench201()
BENCH = Bench(SPACE, Classification())


def evolve(rng, widths, score_of, evaluations, *, population=10, sample=3):
    """Returns what regularised evolution evaluates, in order, and the scores; plain Python.

    Args:
      rng: a `random.Random`.
      widths: how many options each decision has.
      score_of: `tuple of options -> float`, higher is better.
      evaluations: how many architectures are evaluated.
      population: places of the queue.
      sample: members drawn for each parent.
    """
    queue = collections.deque()
    asked, scores = [], []
    for _ in range(evaluations):
        if len(queue) < population:
            child = tuple(rng.randrange(width) for width in widths)
        else:
            drawn = [rng.choice(queue) for _ in range(sample)]
            _, parent = max(drawn, key=lambda member: member[0])
            decision = rng.randrange(len(widths))
            others = [o for o in range(widths[decision]) if o != parent[decision]]
            child = (*parent[:decision], rng.choice(others), *parent[decision + 1 :])
            queue.popleft()
        score = score_of(child)
        queue.append((score, child))
        asked.append(child)
        scores.append(score)
    return asked, scores


def make_program(strategy, columns, seeds, evaluations):
    """Returns the compiled `(keys, columns) -> test accuracy of the best so far`, and its time."""

    def search(key, columns):
        evaluate = make_evaluate(Table("in memory"), BENCH, columns, no_budget)
        mask = jnp.asarray(SPACE.mask)
        history = run_strategy(strategy, key, mask, evaluate, evaluations)[1]
        return best_so_far(history).metrics["test_accuracy"]

    keys = jax.random.split(jax.random.key(0), seeds)
    start = time.perf_counter()
    program = jax.jit(jax.vmap(search, (0, None))).lower(keys, columns).compile()
    return program, time.perf_counter() - start


def figures(path, seeds):
    """Prints what random search and evolution find on every data set."""
    print(
        "strategy   selected on  data set        "
        + "".join(f"best of {n:<10}" for n in EVALUATIONS)
    )
    for strategy in (RandomSearch(), RegularisedEvolution()):
        program = None
        for split in ("test", "validation"):
            for data_set in DATA_SETS:
                columns = Table(path, data_set=data_set, split=split).arrays(BENCH)
                if program is None:
                    program, _ = make_program(strategy, columns, seeds, max(EVALUATIONS))
                found = 100 * np.asarray(
                    program(jax.random.split(jax.random.key(0), seeds), columns)
                )
                shown = "".join(
                    f"{found[:, n - 1].mean():6.2f} ± {found[:, n - 1].std():4.2f}     "
                    for n in EVALUATIONS
                )
                print(f"{strategy.name:<10} {split:<12} {data_set:<14} {shown}")


def wall_times(path, seeds, turns):
    """Prints how long the program and the plain loop take, in turns."""
    columns = Table(path, split="test").arrays(BENCH)
    table = columns["accuracy_0"].reshape([len(d.options) for d in SPACE.decisions])
    for evaluations in EVALUATIONS:
        program, compile_s = make_program(RegularisedEvolution(), columns, seeds, evaluations)
        placed = jax.device_put(columns)
        jax.block_until_ready(program(jax.random.split(jax.random.key(0), seeds), placed))
        times = []
        for turn in range(turns):
            keys = jax.block_until_ready(jax.random.split(jax.random.key(turn), seeds))
            start = time.perf_counter()
            jax.block_until_ready(program(keys, placed))
            middle = time.perf_counter()
            for seed in range(seeds):
                rng = random.Random(turn * seeds + seed)
                evolve(rng, table.shape, lambda cell: float(table[cell]), evaluations)
            times.append((middle - start, time.perf_counter() - middle))
        ours, plain = zip(*times, strict=True)
        ratios = [other / own for own, other in times]
        print(
            f"{seeds} seeds of {evaluations} evaluations: compiled in {compile_s:.1f} s; "
            f"program {_spread(ours)} s, plain loop {_spread(plain)} s, "
            f"plain loop / program {_spread(ratios)}"
        )


def _spread(values):
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main():
    """Runs both parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--path", default="nb201_accuracy")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--turns", type=int, default=7)
    words = parser.parse_args()
    print(f"{describe_device()} {describe_software()}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} processes on {os.cpu_count()} cores")
    figures(words.path, words.seeds)
    wall_times(words.path, words.seeds, words.turns)


if __name__ == "__main__":
    main()
