"""Searches on NAS-Bench-201: what they find, and how long 500 seeds take in one program.

    HWNAS_DATA=folder python benchmarks/evolution.py [--path nb201_accuracy] [--seeds 500]

First the accuracies, in percent, mean and deviation over the seeds, of every classic strategy.
`selected on test` chooses and reports by the same column, which is optimistic, and is how such
tables are mostly used; `selected on validation` reports the test accuracy of what has the best
validation accuracy. Strategies of several fidelities select on 12 epochs first; what they find is
given after as many full trainings as the others took, where 12 epochs count as 0.06 of one.

Then time: all seeds of random search, local search and evolution as one compiled program beside the
same algorithms as plain loops in Python that look their scores up in the same table. Both return
all architectures and scores. They run in turns; the ratio is that of each turn, as median and
range, by the wall clock and, since other programs may run, by the CPU time of this process.
Compiling is timed once and is not part of it.
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
    NSGA2,
    QUICK,
    Hyperband,
    LocalSearch,
    RandomSearch,
    RegularisedEvolution,
    ReinforceSearch,
    SuccessiveHalving,
    best_so_far,
    no_budget,
    quick_keys,
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


def draw(rng, widths, score_of, evaluations):
    """Returns what random search evaluates, and the scores; plain Python, as `evolve`."""
    asked = [tuple(rng.randrange(width) for width in widths) for _ in range(evaluations)]
    return asked, [score_of(cell) for cell in asked]


def climb(rng, widths, score_of, evaluations, *, starts=10):
    """Returns what local search evaluates, in order, and the scores; plain Python, as `evolve`.

    Args:
      rng: a `random.Random`.
      widths: how many options each decision has.
      score_of: `tuple of options -> float`, higher is better.
      evaluations: how many architectures are evaluated.
      starts: random architectures that each climb begins with.
    """
    asked, scores = [], []

    def neighbours(cell):
        return [
            (*cell[:decision], option, *cell[decision + 1 :])
            for decision, own in enumerate(cell)
            for option in range(widths[decision])
            if option != own
        ]

    while len(asked) < evaluations:
        begun = [tuple(rng.randrange(width) for width in widths) for _ in range(starts)]
        heights = [score_of(cell) for cell in begun]
        asked += begun
        scores += heights
        height, centre = max(zip(heights, begun, strict=True), key=lambda pair: pair[0])
        left, known = neighbours(centre), {centre}
        rng.shuffle(left)
        while left and len(asked) < evaluations:
            cell = left.pop()
            score = score_of(cell)
            asked.append(cell)
            scores.append(score)
            known.add(cell)
            if score > height:
                height, centre = score, cell
                left = [other for other in neighbours(cell) if other not in known]
                rng.shuffle(left)
    return asked[:evaluations], scores[:evaluations]


def searching(strategy, columns, rounds):
    """Returns `key -> History` of a search without a budget; pure."""

    def search(key):
        evaluate = make_evaluate(Table("in memory"), BENCH, columns, no_budget)
        return run_strategy(strategy, key, jnp.asarray(SPACE.mask), evaluate, rounds)[1]

    return search


def figures(path, seeds):
    """Prints what every strategy finds on every data set."""
    print(
        "strategy            selected on  data set        "
        + "".join(f"best of {n:<10}" for n in EVALUATIONS)
    )
    for strategy in (
        RandomSearch(), LocalSearch(), RegularisedEvolution(), ReinforceSearch(), NSGA2(),
        SuccessiveHalving(), Hyperband(),
    ):  # fmt: skip
        rounds = max(EVALUATIONS) * (1 if strategy.fidelities == 1 else 4)

        @jax.jit
        def program(keys, columns, strategy=strategy, rounds=rounds):
            def search(key):
                history = searching(strategy, columns, rounds)(key)
                return best_so_far(history).metrics["test_accuracy"], history.fidelity[:, 0]

            return jax.vmap(search)(keys)

        for split in ("test", "validation"):
            for data_set in DATA_SETS:
                table = Table(path, data_set=data_set, split=split)
                best, level = program(quick_keys(0, seeds), table.arrays(BENCH))
                shares = np.array(table.fidelities(BENCH))
                spent = shares[np.asarray(level)].cumsum(axis=1)
                shown = ""
                for count in EVALUATIONS:
                    last = (spent < count + 1e-3).sum(axis=1) - 1
                    found = 100 * np.asarray(best)[np.arange(seeds), last]
                    shown += f"{found.mean():6.2f} ± {found.std():4.2f}     "
                print(f"{strategy.name:<19} {split:<12} {data_set:<14} {shown}", flush=True)


PLAIN = {"random": draw, "local_search": climb, "evolution": evolve}
TIMED = {
    "random": RandomSearch(tries=1),
    "local_search": LocalSearch(tries=1),
    "evolution": RegularisedEvolution(tries=1),
}
"""There is no budget, and so nothing is drawn twice."""


def times(path, seeds, turns, evaluations=100):
    """Prints how long programs and plain loops take, in turns."""
    columns = jax.device_put(Table(path, split="test").arrays(BENCH))
    table = np.asarray(columns["accuracy_0"]).reshape([len(d.options) for d in SPACE.decisions])

    def plain(names, turn):
        for name in names:
            for seed in range(seeds):
                rng = random.Random(turn * seeds + seed)
                PLAIN[name](rng, table.shape, lambda cell: float(table[cell]), evaluations)

    for names in (*([name] for name in TIMED), list(TIMED)):
        for generator in ("quick", "threefry2x32"):

            @jax.jit
            def program(keys, columns, names=tuple(names)):
                found = [
                    jax.vmap(searching(TIMED[name], columns, evaluations))(keys) for name in names
                ]
                return [(history.architectures, history.told.score) for history in found]

            def make_keys(turn, generator=generator):
                implementation = QUICK if generator == "quick" else generator
                key = jax.random.key(turn, impl=implementation)
                return jax.block_until_ready(jax.random.split(key, seeds))

            start = time.perf_counter()
            compiled = program.lower(make_keys(0), columns).compile()
            compile_s = time.perf_counter() - start
            jax.block_until_ready(compiled(make_keys(0), columns))
            rows = []
            for turn in range(turns):
                keys = make_keys(turn)
                clocks = [_clocks()]
                jax.block_until_ready(compiled(keys, columns))
                clocks.append(_clocks())
                plain(names, turn)
                clocks.append(_clocks())
                rows.append(np.diff(clocks, axis=0))
            print(f"{' + '.join(names)}, {generator} keys: compiled in {compile_s:.1f} s")
            for place, clock in enumerate(("wall", "CPU")):
                own, other = np.array(rows)[:, :, place].T
                print(
                    f"  {clock} time: program {_spread(own)} s, plain loops {_spread(other)} s, "
                    f"plain loops / program {_spread(other / own)}",
                    flush=True,
                )


def _clocks():
    return time.perf_counter(), time.process_time()


def _spread(values):
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main():
    """Runs both parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--path", default="nb201_accuracy")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--turns", type=int, default=7)
    words = parser.parse_args()
    print(f"{describe_device()} {describe_software()}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} processes on {os.cpu_count()} cores")
    figures(words.path, words.seeds)
    times(words.path, words.seeds, words.turns)


if __name__ == "__main__":
    main()
