"""Does elimination by evidence find better networks than chance, and what do binary cells cost?

    HWNAS_DATA=FOLDER python benchmarks/elimination.py [--parts table training] [--seeds 50]
        [--trained 0 1 2] [--data digits fashion_mnist] [--out FILE.json]

The part `table` looks cells of NAS-Bench-201 up (CIFAR-100), whose validation accuracy is told with
normal noise of several deviations. It runs elimination by mean scores and by their upper bounds,
elimination that ignores the scores, evolution and random search, all with as many queries as an
elimination takes and from the same seeds, without a limit and within limits on the published
latency of a device. Elimination answers with the cell that is left; beside it stands the cell with
the best score that was told, which is the answer of the other two. Printed are test accuracies in
percent, with the deviation over the seeds and the difference to elimination that ignores the
scores, with its 95 % interval by Student's t over the pairs of one seed.

The part `training` searches binary cells of space `bnas`, and the same cells at full precision,
under a limit on multiply-adds: by elimination on a supernet that is trained on between the
eliminations, and by a gradient search of equal cost. An evaluation of a batch costs a forward pass,
a step of the weights or of the architecture three. What is found is trained from scratch, beside a
random cell under the limit, at the precision it was searched for. The binary cell that elimination
leaves is trained at full precision too, for the ratio of sizes. Printed are test accuracies and
stored sizes. FOLDER holds `nb201_accuracy.npz`, `nb201_latency_help.npz` and
the folder `fashion_mnist`.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from precision import size_kib, space_of, trained

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, DataConfig, RetrainConfig, SearchConfig, TargetConfig, override
from hwnas_jax.cost import AnalyticModel, predict_architectures
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.data import load_data
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.registry import Part
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import make_members
from hwnas_jax.runs.strategy_search import search_by_strategy
from hwnas_jax.search.candidates import within_budget
from hwnas_jax.search.derivation import MostProbable
from hwnas_jax.search.evaluators import Bench
from hwnas_jax.search.strategies import (
    Elimination,
    RandomSearch,
    RegularisedEvolution,
    Told,
    best_so_far,
    no_budget,
    quick_keys,
    run_strategy,
)
from hwnas_jax.spaces.core import published
from hwnas_jax.tabular import Table, look_up
from hwnas_jax.tabular.base import make_column
from hwnas_jax.tasks import Classification

CELLS = published.nasbench201()
BENCH = Bench(CELLS, Classification())
BASELINE = "elimination, drop=random"
METHODS = {
    BASELINE: Elimination(drop="random"),
    "elimination": Elimination(),
    "elimination, bound=0": Elimination(bound=0.0),
    "elimination, bound=1": Elimination(bound=1.0),
    "evolution": RegularisedEvolution(),
    "random": RandomSearch(),
}
QUERIES = METHODS[BASELINE].phases(CELLS.mask)[-1] + 1
FORWARD_PASSES_OF_A_STEP = 3


def program_of(strategy):
    """Returns `(keys, columns, noise, limit) -> (left, best, over)`, compiled for all seeds.

    `left` and `best` are test accuracies, `float32[S]`: of what was asked for last, and of what had
    the best score within the limit. `over` is the share of queries over the limit.
    """

    def search(key, columns, noise, limit):
        def ahead(rows):
            cost = look_up(CELLS, {"cost": columns["cost"]}, rows)["cost"]
            return no_budget(rows)._replace(cost=cost, excess=jnp.maximum(cost / limit - 1, 0))

        def evaluate(rows, fidelity, key):
            found = look_up(CELLS, columns, rows)
            score = found["accuracy"] + noise * jax.random.normal(key, (len(rows),))
            outlook = ahead(rows)
            return Told(score, outlook.excess, outlook.cost), {"test": found["test"]}

        mask = jnp.asarray(CELLS.mask)
        history = run_strategy(strategy, key, mask, evaluate, QUERIES, ahead)[1]
        best = best_so_far(history).metrics["test"][-1]
        return history.metrics["test"][-1, -1], best, (history.told.excess > 0).mean()

    return jax.jit(jax.vmap(search, (0, None, None, None)))


def on_table(options):
    """Prints and returns the figures of the table, a row for each method, limit and noise."""
    arrays = Table("nb201_accuracy", data_set="cifar100").arrays(BENCH)
    latency = load_observations("nb201_latency_help", device=options.device).observations
    costs = latency.values["latency_ms"]
    columns = jax.device_put({
        "accuracy": arrays["accuracy_0"], "test": arrays["test_accuracy"],
        "cost": make_column(CELLS, latency.architectures, costs),
    })  # fmt: skip
    test = look_up(CELLS, {"test": columns["test"]}, latency.architectures)["test"]
    keys, rows = quick_keys(0, options.seeds), []
    programs = {name: program_of(strategy) for name, strategy in METHODS.items()}
    for percentile in (100, *options.percentiles):
        limit = float(np.percentile(costs, percentile))
        top = 100 * float(np.nanmax(np.asarray(test)[costs <= limit]))
        what = f"at most {limit:.4g} ms on {options.device}" if percentile < 100 else "no limit"
        print(f"\n{what}: the best has {top:.2f}")
        for noise in options.noise:
            base = None
            for name, program in programs.items():
                left, best, over = map(np.asarray, program(keys, columns, noise / 100, limit))
                left, best = 100 * left.astype(float), 100 * best.astype(float)
                answer = left if name.startswith("elimination") else best
                base = answer if base is None else base
                rows.append({
                    "percentile": percentile, "limit_ms": limit, "noise": noise, "method": name,
                    "answer": answer.mean(), "std": answer.std(ddof=1), "best": best.mean(),
                    "over": float(over.mean()), "gain": interval(answer - base), "top": top,
                })  # fmt: skip
                gain, half = rows[-1]["gain"]
                print(
                    f"noise {noise:4g}  {name:<26} answers {answer.mean():5.2f} ± "
                    f"{answer.std(ddof=1):4.2f}, by random elimination {gain:+5.2f} ± {half:.2f}; "
                    f"best told {best.mean():5.2f} ± {best.std(ddof=1):4.2f}; over the limit "
                    f"{over.mean():.0%} of {QUERIES}",
                    flush=True,
                )
    return rows


def interval(gains):
    """Returns the mean of paired differences and half of its 95 % interval."""
    if not np.ptp(gains):
        return float(gains.mean()), 0.0
    half = scipy.stats.t.ppf(0.975, len(gains) - 1) * scipy.stats.sem(gains)
    return float(gains.mean()), float(half)


SETTINGS = {
    "digits": {"data__shift": 1, "retrain__epochs": 60},
    "fashion_mnist": {
        "data__name": "idx", "data__shift": 1, "data__flip": True, "retrain__epochs": 1,
        "retrain__validation_fraction": 0.05,
    },
}  # fmt: skip


def config_of(data, options, seed):
    """Returns the config of the trainings of a data set."""
    config = Config(
        data=DataConfig(name="digits"),
        search=SearchConfig(
            steps=options.steps, warmup_steps=options.steps // 4, batch_size=64,
            steps_per_dispatch=50, rounds=QUERIES, strategy=Part("elimination"),
            evaluator=Part("supernet", {"batches": options.batches}),
        ),
        target=TargetConfig(metric="macs"),
        budget=Part("upper_bound"),
        retrain=RetrainConfig(batch_size=64, learning_rate=0.1, weight_decay=1e-3),
    )  # fmt: skip
    config = override(config, seed=seed, parallel__devices=1, **SETTINGS[data])
    if data == "fashion_mnist":
        config = override(config, data__path=str(Path(os.environ["HWNAS_DATA"]) / data))
    if options.epochs:
        config = override(config, retrain__epochs=options.epochs)
    return config


def by_elimination(space, dataset, model, target, config):
    """Returns the cell that elimination leaves, and the forward passes that it took."""
    members = make_members([target], [config.seed])
    found = search_by_strategy(space, dataset, model, members, config)
    passes = FORWARD_PASSES_OF_A_STEP * config.search.steps
    return found.networks[0, -1], passes + QUERIES * config.search.evaluator.args["batches"]


def by_gradient(space, dataset, model, target, config, passes):
    """Returns the likeliest cell of a gradient search, and the forward passes that it took.

    A quarter of its steps are warm-up, and each of the others is followed by an architecture step.
    """
    steps = round(passes / (1.75 * FORWARD_PASSES_OF_A_STEP))
    config = override(
        config,
        search__steps=steps,
        search__warmup_steps=steps // 4,
        search__strategy=Part("gradient"),
    )
    result = search_architecture(space, dataset, model, target, config)
    candidates = within_budget(
        space, model, target, BUDGETS.make(config.budget), seed=config.seed,
        probabilities=result.probabilities, prior=result.methods.prior(),
    )  # fmt: skip
    likeliest = candidates.networks[MostProbable().scores(candidates).argmax()]
    return likeliest, FORWARD_PASSES_OF_A_STEP * (2 * steps - steps // 4)


def cells_of(space, dataset, config, percentile):
    """Yields what each method finds under the limit: its name, the cell, and forward passes."""
    model = AnalyticModel.count(space)
    every = np.unique(space.canonical(space.enumerate()), axis=0)
    macs = predict_architectures(model, every, space.num_options)["macs"]
    limit = float(np.percentile(macs, percentile))
    given = space, dataset, model, Target("macs", limit), config
    started = time.perf_counter()
    left, passes = by_elimination(*given)
    print(f"elimination took {time.perf_counter() - started:.0f} s", flush=True)
    yield "elimination", left, passes
    started = time.perf_counter()
    likeliest, spent = by_gradient(*given, passes)
    print(f"the gradient search took {time.perf_counter() - started:.0f} s", flush=True)
    yield "gradient", likeliest, spent
    inside = every[macs <= limit]
    yield "random", inside[np.random.default_rng(config.seed).integers(len(inside))], 0


def by_training(options):
    """Prints and returns a row for each data set, seed, cell found and precision trained at."""
    rows = []
    for data in options.data:
        dataset = load_data(config_of(data, options, 0).data)
        args = {"channels": options.channels, "cells": 1, "partial": options.partial}
        spaces = {
            precision: space_of("bnas", dataset, {**args, "binary": precision == "binary"})
            for precision in ("binary", "full precision")
        }
        for seed in options.trained:
            config = config_of(data, options, seed)
            for searched, space in spaces.items():
                for method, cell, passes in cells_of(space, dataset, config, options.percentile):
                    both = (searched, method) == ("binary", "elimination")
                    for precision in spaces if both else (searched,):
                        own, started = spaces[precision], time.perf_counter()
                        rows.append({
                            "data": data, "seed": seed, "searched": searched, "method": method,
                            "trained": precision, "cell": own.to_string(cell),
                            "forward_passes": passes, "size_kib": size_kib(own, cell),
                            "test_accuracy": trained(own, cell, dataset, config, 1),
                            "seconds": round(time.perf_counter() - started, 1),
                        })  # fmt: skip
                        print(json.dumps(rows[-1]), flush=True)
    for data in options.data:
        print(f"\n| {data}: searched | by | trained | accuracy | size KiB | forward passes |")
        print("|---|---|---|---:|---:|---:|")
        own = [row for row in rows if row["data"] == data]
        for group in dict.fromkeys((r["searched"], r["method"], r["trained"]) for r in own):
            some = [r for r in own if (r["searched"], r["method"], r["trained"]) == group]
            mean = {
                name: np.mean([row[name] for row in some])
                for name in ("test_accuracy", "size_kib", "forward_passes")
            }
            spread = np.std([row["test_accuracy"] for row in some])
            print(
                f"| {' | '.join(group)} | {mean['test_accuracy']:.2%} ({spread:.2%}) | "
                f"{mean['size_kib']:.1f} | {mean['forward_passes']:.0f} |"
            )
    return rows


def main():
    """Runs the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=("table", "training"), default=["table"])
    parser.add_argument("--seeds", type=int, default=50, help="of the part table")
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 1, 3, 10], help="points")
    parser.add_argument("--device", default="gold_6226")
    parser.add_argument("--percentiles", type=float, nargs="+", default=[25, 50])
    parser.add_argument("--trained", type=int, nargs="+", default=[0, 1, 2], help="seeds")
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--partial", type=int, default=1)
    parser.add_argument("--percentile", type=float, default=75, help="of the multiply-adds")
    parser.add_argument("--steps", type=int, default=1200, help="of the weights in elimination")
    parser.add_argument("--batches", type=int, default=8, help="that judge an architecture")
    parser.add_argument("--epochs", type=int, help="of a training from scratch")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    print(f"{describe_device()} {describe_software()}")
    started, result = time.perf_counter(), {}
    if "table" in options.parts:
        result["table"] = on_table(options)
    if "training" in options.parts:
        result["training"] = by_training(options)
    print(f"{time.perf_counter() - started:.0f} s")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
