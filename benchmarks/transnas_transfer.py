"""Does what a search learned on one task of TransNAS-Bench-101 help on another?

    HWNAS_DATA=FOLDER python benchmarks/transnas_transfer.py [--space cells]
        [--strategies evolution] [--source-queries 100] [--queries 20] [--first 10] [--seeds 20]

A search of the source task asks for so many networks. The search of the target task then begins
with the best of these in place of random ones (`warm`). With a predictor it may also be told, as a
number of every network, what a predictor of the source's scores says of it (`warm, told`). `mixed`
begins with the best of the source for one half and with the largest networks for the other. Beside
them stand the same search from random networks (`cold`), and from those with the most
multiply-adds, of equals those with the most parameters (`largest`). Two rows do not search the
target: they ask there for the best of the source (`source only`), and for the largest in turn
(`size only`).

All select by the validation images of the target. What counts is the place of the selected network
among all networks of the space, in percent of them, zero for the best: by the validation images,
which say how well the search did, and by the test images, which say what it was worth. `all` is the
place by test images of what a search would select that asks for every network. Printed are means
over all pairs of two tasks and over the seeds, and differences paired by both. The intervals
resample the seeds. FOLDER holds `transnas101_micro.npz` and `transnas101_macro.npz`.
"""

import argparse
import dataclasses
import itertools
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.registry import Part
from hwnas_jax.runs.compare.statistics import interval
from hwnas_jax.search.evaluators import judged_only
from hwnas_jax.search.predictors import PREDICTORS
from hwnas_jax.search.strategies import (
    STRATEGIES,
    Outlook,
    Strategy,
    Told,
    best_so_far,
    run_strategy,
)
from hwnas_jax.tabular import load_benchmark, look_up
from hwnas_jax.tabular.base import SPLITS, numbers_of

FILES = {"cells": "transnas101_micro", "macro": "transnas101_macro"}
TASKS = (
    "class_object", "class_scene", "room_layout", "jigsaw", "segmentsemantic", "normal",
    "autoencoder",
)  # fmt: skip
ARMS = ("cold", "largest", "warm", "warm, told", "mixed", "source only", "size only")


@dataclasses.dataclass(frozen=True, eq=False)
class Beginning(Strategy):
    """A strategy that is told given networks first, `int32[k, D]`, in place of its own."""

    name, summary = "beginning", "begins with given networks"
    inner: Strategy
    first: jax.Array

    @property
    def each(self):
        return self.inner.each

    def init(self, key, mask):
        return self.inner.init(key, mask), jnp.zeros((), jnp.int32)

    def ask(self, state, key, ahead):
        own, seen = state
        places = seen + jnp.arange(self.each)
        given = self.first[jnp.minimum(places, len(self.first) - 1)]
        is_given = (places < len(self.first))[:, None]
        return jnp.where(is_given, given, self.inner.ask(own, key, ahead))

    def tell(self, state, architectures, told):
        own, seen = state
        return self.inner.tell(own, architectures, told), seen + self.each


class Field:
    """One space with the tables of all tasks.

    Attributes:
      space: of all tables.
      networks: `int32[N, D]`, what the tables have, each different network once.
      columns: by task, `(validation, test)`, a column each.
      largest: `int32[N, D]`, the networks by their size.
    """

    def __init__(self, path):
        tables = {task: load_benchmark(path, data_set=task) for task in TASKS}
        first = tables[TASKS[0]]
        self.space = first.space
        every, _ = first.listed(first.report)
        self.networks = np.unique(self.space.canonical(every), axis=0).astype(np.int32)
        self.columns = {
            task: (table.metrics[table.select()], table.metrics[table.report])
            for task, table in tables.items()
        }
        counts = predict_architectures(
            AnalyticModel.count(self.space), self.networks, self.space.num_options
        )
        self.largest = self.networks[np.lexsort((-counts["params"], -counts["macs"]))]

    def values(self, task, split):
        """Returns what all networks reach, `float32[N]`."""
        column = self.columns[task][SPLITS.index(split)]
        return np.asarray(look_up(self.space, {split: column}, self.networks)[split])

    def places(self, task, split, values):
        """Returns which percentage of the networks is better than each of `values`."""
        every = np.sort(self.values(task, split))
        above = len(every) - np.searchsorted(every, np.asarray(values) + 1e-7, "right")
        return 100 * above / len(every)

    def ceiling(self):
        """Returns the mean place by test images of each task's best by validation images."""
        best = {task: np.argmax(self.values(task, "validation")) for task in TASKS}
        tests = [self.places(t, "test", self.values(t, "test")[row]) for t, row in best.items()]
        return np.mean(tests)

    def program(self, strategy, queries, told=False):
        """Returns `(keys, first, (validation, test), hints) -> asked, scores, selected`.

        What is selected after each query has a value for each split, `float32[S, queries]`. Each
        search has networks to begin with, `int32[S, k, D]`, where `first` is not None, and hints,
        `float32[S, A]`, which are features of the networks where `told` says so.
        """
        space, mask = self.space, jnp.asarray(self.space.mask)

        def search(key, first, columns, hints):
            def ahead(rows):
                known = ~jnp.isnan(look_up(space, {"": columns[0]}, rows)[""])
                features = space.describe(rows)
                if told:
                    hint = look_up(space, {"": hints}, rows)[""]
                    features = jnp.concatenate([features, jnp.nan_to_num(hint)[:, None]], axis=1)
                zeros = jnp.zeros(len(rows))
                return Outlook(zeros, jnp.where(known, 0.0, jnp.inf), zeros + known, features)

            def judge(rows, fidelity, key):
                found = look_up(space, dict(zip(SPLITS, columns, strict=True)), rows)
                zeros = jnp.zeros(len(rows))
                return judged_only(Told(found["validation"], zeros, zeros)), found

            own = strategy if first is None else Beginning(strategy, first)
            history = run_strategy(own, key, mask, judge, -(-queries // strategy.each), ahead)[1]
            asked = history.architectures.reshape(-1, len(mask))[:queries]
            scores = jnp.where(history.told.excess <= 0, history.told.score, -jnp.inf)
            return asked, scores.reshape(-1)[:queries], best_so_far(history).metrics

        given = (0, 0, None, 0) if told else (0, 0, None, None)
        return jax.jit(jax.vmap(search, given))

    def best_of(self, asked, scores, count):
        """Returns the best different networks of each search, `int32[S, count, D]`, by score."""
        found = []
        for rows, values in zip(self.space_forms(asked), np.asarray(scores), strict=True):
            order = np.argsort(-values, kind="stable")
            _, at = np.unique(rows[order], axis=0, return_index=True)
            best = rows[order][np.sort(at)]
            found.append(best[np.minimum(np.arange(count), len(best) - 1)])
        return np.stack(found).astype(np.int32)

    def mixed(self, best, count):
        """Returns `int32[S, count, D]`: half of them the best of each search, then the largest."""
        found = []
        for rows in best[:, : count // 2]:
            both = np.concatenate([rows, self.largest[:count]])
            _, at = np.unique(both, axis=0, return_index=True)
            found.append(both[np.sort(at)[:count]])
        return np.stack(found)

    def space_forms(self, asked):
        """Returns networks, `int[S, E, D]`, in the form that equal ones share."""
        asked = np.asarray(asked)
        return self.space.canonical(asked.reshape(-1, asked.shape[-1])).reshape(asked.shape)

    def hints(self, asked, scores):
        """Returns what a Gaussian process on the source's scores says of all, `float32[S, A]`.

        They are as long as all one-hot options of a network together.
        """
        learner, every = PREDICTORS.make(Part("gaussian")), jnp.asarray(self.networks)
        size = int(np.prod([len(decision.options) for decision in self.space.decisions]))
        rows = numbers_of(self.space, self.networks)

        def one(asked, scores):
            known = jnp.isfinite(scores)
            features = self.space.describe(asked)
            fitted = learner.fit(jax.random.key(0), features, jnp.where(known, scores, 0), known)
            mean = learner.predict(fitted, self.space.describe(every))[0]
            scaled = (mean - mean.mean()) / mean.std() * len(self.space.decisions) ** 0.5
            return jnp.full(size, jnp.nan).at[rows].set(scaled)

        return jax.jit(jax.vmap(one))(asked, scores)


def by_arm(field, name, words):
    """Returns the places of what each arm selects, `{(queries, split): {arm: [pairs, S]}}`."""
    seeds, count, most = words.seeds, words.first, max(words.queries)
    strategy = STRATEGIES.make(Part.parse(name))
    keys = jax.random.split(jax.random.key(0), seeds)
    target_keys = jax.random.split(jax.random.key(1), seeds)
    cold = field.program(strategy, words.source_queries)
    few = field.program(strategy, most)
    asks = field.program(STRATEGIES.make(Part("random")), most)
    learns = hasattr(strategy, "learner")
    told = field.program(strategy, most, told=True) if learns else None
    sources = {}
    for task in TASKS:
        asked, scores, _ = cold(keys, None, field.columns[task], None)
        hints = field.hints(asked, scores) if learns else None
        sources[task] = field.best_of(asked, scores, most), hints
    alone = {}
    largest = jnp.asarray(np.broadcast_to(field.largest, (seeds, *field.largest.shape)))
    for task in TASKS:
        columns = field.columns[task]
        alone[task] = {
            "cold": few(target_keys, None, columns, None),
            "largest": few(target_keys, largest[:, :count], columns, None),
            "size only": asks(target_keys, largest[:, :most], columns, None),
        }
    arms = [arm for arm in ARMS if arm != "warm, told" or learns]
    places = {
        (queries, split): {arm: [] for arm in arms}
        for split, queries in itertools.product(SPLITS, words.queries)
    }
    for source, target in itertools.permutations(TASKS, 2):
        columns, (best, hints) = field.columns[target], sources[source]
        found = alone[target] | {
            "warm": few(target_keys, best[:, :count], columns, None),
            "mixed": few(target_keys, field.mixed(best, count), columns, None),
            "source only": asks(target_keys, best, columns, None),
        }
        if told is not None:
            found["warm, told"] = told(target_keys, best[:, :count], columns, hints)
        for (queries, split), by_name in places.items():
            for arm, rows in by_name.items():
                values = found[arm][2][split][:, queries - 1]
                rows.append(field.places(target, split, values))
    return jax.tree.map(np.array, places, is_leaf=lambda leaf: isinstance(leaf, list))


def show(places):
    """Prints the mean place of every arm, and how far the warm ones lie below the others."""
    for arm, rows in places.items():
        low, high = interval(rows.mean(axis=0))
        print(f"  {arm:<12} place {rows.mean():6.2f} % ({low:.2f} to {high:.2f})")
    for arm in ("warm", "warm, told", "mixed"):
        for other in ("cold", "largest", "size only", "source only", "warm"):
            if arm in places and arm != other:
                gain = places[other] - places[arm]
                low, high = interval(gain.mean(axis=0))
                better = (gain.mean(axis=1) > 0).sum()
                print(
                    f"  {arm} gains over {other}: {gain.mean():+.2f} ({low:+.2f} to {high:+.2f}), "
                    f"in {better} of {len(gain)} pairs",
                    flush=True,
                )


def matrix(places):
    """Prints what `warm` gains over `cold` for every pair; a row for each source."""
    gain = iter((places["cold"] - places["warm"]).mean(axis=1))
    print("  gain of warm over cold, by source (rows) and target:")
    print(" " * 19 + "".join(f"{task[:11]:>12}" for task in TASKS))
    for source in TASKS:
        shown = ["" if source == target else f"{next(gain):+.2f}" for target in TASKS]
        print(f"  {source:<17}" + "".join(f"{text:>12}" for text in shown), flush=True)


def main():
    """Prints every arm for every strategy on every space."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument(
        "--strategies", nargs="+", default=["evolution", "surrogate,predictor=ridge,memory=100"]
    )
    parser.add_argument("--source-queries", type=int, default=100)
    parser.add_argument("--queries", type=int, nargs="+", default=[20, 30])
    parser.add_argument("--first", type=int, default=10, help="networks to begin with")
    parser.add_argument("--seeds", type=int, default=20)
    words = parser.parse_args()
    print(f"{describe_device()} {describe_software()}")
    for name in words.space:
        field = Field(FILES[name])
        print(
            f"{name}: {len(field.networks)} networks, all: {field.ceiling():.2f} % by test images"
        )
        for strategy in words.strategies:
            for (queries, split), places in by_arm(field, strategy, words).items():
                print(f"{name}, {strategy}, {queries} queries, {words.seeds} seeds, by {split}")
                show(places)
                matrix(places)


if __name__ == "__main__":
    main()
