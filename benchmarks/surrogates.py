"""Searches that learn a predictor of accuracy, on NAS-Bench-201: what they find in few queries.

    HWNAS_DATA=FOLDER python benchmarks/surrogates.py [--data-set cifar100] [--queries 100]
        [--seeds 20] [--limits titan_rtx_256:21 gold_6226:11 eyeriss:7] [--only gaussian bananas]

Every strategy asks for the validation accuracy of as many cells, and the test accuracy of the one
with the best is reported, in percent: mean and deviation over the seeds, which run together in one
program. First without a limit, then under limits on a published latency that all strategies know
exactly for every cell. `best` is the highest test accuracy of all cells that keep the limit, and
`chosen` the test accuracy of that with the best validation accuracy: what a search would report
that asks for every cell. FOLDER holds `nb201_accuracy.npz` and `nb201_latency_help.npz`.
"""

import argparse
import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.readers.load import load_table
from hwnas_jax.cost.models.base import as_drawn
from hwnas_jax.cost.models.multilinear import expectation
from hwnas_jax.search.evaluators import Bench, make_ahead, make_evaluate
from hwnas_jax.search.strategies import (
    Bananas,
    GradientSurrogate,
    Outlook,
    RandomSearch,
    RegularisedEvolution,
    SoftAhead,
    SurrogateSearch,
    best_so_far,
    run_strategy,
)
from hwnas_jax.spaces.core import published
from hwnas_jax.tabular import Table, look_up
from hwnas_jax.tasks import Classification

SPACE = published.nasbench201()
BENCH = Bench(SPACE, Classification())
FREE = "no limit"


def strategies(queries):
    """Returns the strategies by name, all with places to remember every query."""
    of_networks = {"memory": queries, "each": 10}
    own = {"memory": queries}
    return {
        "random": RandomSearch(),
        "evolution": RegularisedEvolution(),
        "bananas": Bananas(memory=queries),
        "gradient_surrogate": GradientSurrogate(**own),
        "surrogate gaussian improvement": SurrogateSearch(**own),
        "surrogate gaussian confidence": SurrogateSearch(infill="upper_confidence", **own),
        "surrogate gaussian thompson": SurrogateSearch(infill="thompson", **own),
        "surrogate gaussian offline": SurrogateSearch(initial=queries // 2, refit=False, **own),
        "surrogate ridge improvement": SurrogateSearch(predictor="ridge", **own),
        "surrogate ranker improvement": SurrogateSearch(predictor="ranker", **of_networks),
        "surrogate ensemble improvement": SurrogateSearch(predictor="ensemble", **of_networks),
    }


def knows(latency_ms, limit_ms):
    """Returns what a strategy may look at that knows the latency of every cell."""
    table = latency_ms.reshape([len(decision.options) for decision in SPACE.decisions])

    def look(architectures):
        cost = look_up(SPACE, {"ms": latency_ms}, architectures)["ms"]
        excess = jnp.maximum(cost / limit_ms - 1, 0)
        return Outlook(cost, excess, (excess <= 0).astype(jnp.float32), cost[:, None])

    def expected(key, share):
        del key
        return jnp.maximum(expectation(table, as_drawn(share)) / limit_ms - 1, 0)

    return make_ahead(SPACE, SoftAhead(look, expected))


def make_program(strategy, queries, seeds):
    """Returns `(columns, latency, limit) -> metrics of the best cell`, `float32[seeds]` each."""

    def search(key, columns, latency_ms, limit_ms):
        ahead = knows(latency_ms, limit_ms)
        evaluate = make_evaluate(Table("in memory"), BENCH, columns, ahead)
        rounds = -(-queries // strategy.each)
        mask = jnp.asarray(SPACE.mask)
        best = best_so_far(run_strategy(strategy, key, mask, evaluate, rounds, ahead)[1])
        return jax.tree.map(lambda leaf: leaf[queries - 1], best)

    keys = jax.random.split(jax.random.key(0), seeds)
    program = jax.jit(jax.vmap(search, (0, None, None, None)))
    return lambda *arguments: jax.tree.map(np.asarray, program(keys, *arguments))


def settings(limits, columns):
    """Returns latency and limit of every setting by its name, and prints the best there is."""
    number = SPACE.enumerate() @ 5 ** np.arange(5, -1, -1)
    every = {FREE: (np.ones(len(number), np.float32), np.float32(np.inf))}
    table = load_table("nb201_latency_help")
    rows = table.architectures @ 5 ** np.arange(5, -1, -1)
    for name, _, limit in (words.partition(":") for words in limits):
        latency_ms = np.full(len(number), np.nan, np.float32)
        latency_ms[rows] = table.observations(name).values["latency_ms"]
        every[f"{name} {limit} ms"] = latency_ms, np.float32(limit)
    for name, (latency_ms, limit_ms) in every.items():
        meets = latency_ms <= limit_ms
        test = 100 * np.where(meets, columns["test_accuracy"], -np.inf)
        chosen = test[np.argmax(np.where(meets, columns["accuracy_0"], -np.inf))]
        print(
            f"{name}: best {test.max():.2f}, chosen {chosen:.2f}, {meets.mean():.0%} of the cells"
        )
    return every


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-set", default="cifar100")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--limits", nargs="*", default=["titan_rtx_256:21", "gold_6226:11", "eyeriss:7"]
    )
    parser.add_argument(
        "--only", nargs="*", help="strategies with one of these words in their name"
    )
    words = parser.parse_args()
    print(f"{describe_device()} {describe_software()}")
    columns = Table("nb201_accuracy", data_set=words.data_set).arrays(BENCH)
    every = settings(words.limits, columns)
    print(f"{words.data_set}, {words.queries} queries, {words.seeds} seeds")
    print(f"{'strategy':<32}" + "".join(f"{name:<24}" for name in every) + "over the limit   CPU s")
    for name, strategy in strategies(words.queries).items():
        if words.only and not any(word in name for word in words.only):
            continue
        start = time.process_time()
        program = make_program(strategy, words.queries, words.seeds)
        found = [program(columns, *setting) for setting in every.values()]
        tests = [100 * best.metrics["test_accuracy"] for best in found]
        over = sum(int((best.told.excess > 0).sum()) for best in found)
        shown = "".join(f"{f'{test.mean():.2f} ± {test.std():.2f}':<24}" for test in tests)
        print(f"{name:<32}{shown}{over:<17}{time.process_time() - start:.0f}", flush=True)


if __name__ == "__main__":
    main()
