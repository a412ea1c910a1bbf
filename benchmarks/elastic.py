"""Twenty budgets from one elastic supernet, against twenty gradient searches.

    python benchmarks/elastic.py FOLDER [--seeds 0 1] [--steps 1200] [--training 400]

Handwritten digits, the space `channels` at a small size, and counted multiply-accumulates, so that
no timing is in the costs. Budgets are percentiles of the space. For every seed there are four ways:

elastic   one supernet for networks of all sizes, then the best of every budget by a predictor and
          evolution (`hwnas derive --targets`).
uniform   the same with a supernet that is trained by one random path a step, four times as many
          steps, so that as many networks are trained in all.
searches  a gradient search for every budget, of as many steps each; they share their warm-up, and
          what is most probable within the budget is derived.
random    a network drawn within the budget.

Every network is trained from new weights for `--training` steps in the same way and then tested.
Printed are the processor's time of each way until its networks are chosen, compilation included,
the mean test accuracy, and the area under the front (cost up to the highest budget, accuracy above
chance) in percent, with differences paired over the seeds and their 95 % interval by Student's t.
What is known is kept in `elastic.json` of the folder, so that a stopped run goes on.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy

from hwnas_jax.config import Config, override
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.files.json_files import write_json
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.registry import Part
from hwnas_jax.report.pareto_front import Reference, hypervolume
from hwnas_jax.runs.any_budget import by_rule, by_supernet
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.search.candidates import cost_range
from hwnas_jax.search.evaluators import Data
from hwnas_jax.search.judge import Judge
from hwnas_jax.spaces.core.supernet import make_supernet

FILE = "elastic.json"
CHANCE = 0.1
NETWORKS = 4
"""Networks that a step of the elastic supernet trains."""

WAYS = ("elastic", "uniform", "searches", "random")


def config_of(options: argparse.Namespace, seed: int) -> Config:
    """Returns the experiment."""
    return override(
        Config(name="elastic"), seed=seed, data__name="digits", space__name="channels",
        space__args={
            "fractions": "0.4,0.7,1.0", "width": 0.25, "stages": 3, "depth": 3, "divisor": 1,
            "expansion": 3, "halvings": 2, "head": 256,
        },
        cost__model=Part("analytic"), target__metric="macs", search__steps=options.steps,
        search__warmup_steps=options.steps * 2 // 3, derive__rule=Part("most_probable"),
        derive__confirm=0, parallel__devices=1,
    )  # fmt: skip


def chosen(way: str, options: argparse.Namespace, seed: int, folder: Path) -> list[dict]:
    """Returns the networks of one way, each with its budget, its cost and its share of the time."""
    config, began = config_of(options, seed), time.process_time()
    if way == "elastic":
        config = override(
            config, search__warmup_steps=options.steps, search__elastic__networks=NETWORKS
        )
    if way == "uniform":  # that of a strategy is trained by its random paths alone
        config = override(
            config, search__steps=NETWORKS * options.steps, search__rounds=1,
            search__strategy=Part("random", {"each": 1}),
        )  # fmt: skip
    run = Run.create(config, folder / "one")
    budgets = budgets_of(run, options.budgets)
    if way == "searches":
        run = Run.create(config, folder / "sweep", wanted=Wanted(targets=tuple(budgets)))
    if way != "random":
        run.search()
    if way in ("elastic", "uniform"):
        found = [(one.architecture, one.cost) for one in by_supernet(run, 0, budgets)]
    elif way == "searches":
        first = [by_rule(run, number, ())[0] for number in range(len(budgets))]
        found = [(one.architecture, one.cost) for one in first]
    else:
        rng = np.random.default_rng(seed)
        drawn = np.unique(run.space.random(rng, 4096), axis=0)
        costs = predict_architectures(run.cost_model, drawn, run.space.num_options)["macs"]
        rows = [rng.choice(np.flatnonzero(costs <= budget)) for budget in budgets]
        found = [(drawn[row], costs[row]) for row in rows]
    seconds = (time.process_time() - began) / len(budgets)
    return [
        {"seed": seed, "way": way, "budget": budget, "network": network.tolist(),
         "string": run.space.to_string(network), "cost": float(cost), "seconds": seconds}
        for budget, (network, cost) in zip(budgets, found, strict=True)
    ]  # fmt: skip


def budgets_of(run: Run, count: int) -> list[float]:
    """Returns the budgets, the lowest first."""
    reachable = cost_range(run.space, run.cost_model, "macs", seed=0)
    return [reachable.at(percentile) for percentile in np.linspace(3, 97, count)]


def tested(run: Run, networks: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Returns the test accuracy of networks that are trained from new weights, `float[n]`."""
    data = run.dataset
    inputs = np.concatenate([data.train_inputs, data.test_inputs])
    targets = np.concatenate([data.train_targets, data.test_targets])
    rows = np.arange(len(inputs), dtype=np.int32)
    count = len(data.train_inputs)
    both = Data(inputs, targets, rows[:count], rows[count:], data.mean, data.std)
    judge = Judge(run.space, make_supernet(run.space), run.task, run.config)
    searched = judge.searched(both, probabilities=None, prior=None, weights=None, seed=seed)
    return searched.train(None, networks, steps, quiet, seed=seed)["accuracy"]


def main() -> None:
    """Searches, trains, tests and compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--training", type=int, default=400)
    parser.add_argument("--budgets", type=int, default=20)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / FILE
    rows = json.loads(path.read_text())["networks"] if path.exists() else []
    for seed in options.seeds:
        for way in WAYS:
            if not any((row["seed"], row["way"]) == (seed, way) for row in rows):
                with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                    rows += chosen(way, options, seed, Path(folder))
                write_json(path, {"networks": rows})
        own = [row for row in rows if row["seed"] == seed]
        if any("accuracy" not in row for row in own):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                run = Run.create(config_of(options, seed), Path(folder) / "run")
                networks = np.unique([row["network"] for row in own], axis=0).astype(np.int32)
                values = tested(run, networks, options.training, seed)
            by_network = dict(zip(map(tuple, networks.tolist()), values.tolist(), strict=True))
            for row in own:
                row["accuracy"] = by_network[tuple(row["network"])]
            write_json(path, {"networks": rows})
        print(f"seed {seed} is done", flush=True)
    compare([row for row in rows if row["seed"] in options.seeds])


def compare(rows: list[dict]) -> None:
    """Prints the figures of every way, and how it differs from the searches."""
    seeds = sorted({row["seed"] for row in rows})
    highest = max(row["budget"] for row in rows)

    def area(own):
        points = [np.array([row[name] for row in own]) for name in ("cost", "accuracy")]
        return 100 * hypervolume(*points, Reference(highest, CHANCE)) / (highest * (1 - CHANCE))

    figures = {
        "processor time, s": lambda own: sum(row["seconds"] for row in own),
        "mean accuracy, %": lambda own: 100 * np.mean([row["accuracy"] for row in own]),
        "area under the front, %": area,
    }
    for name, figure in figures.items():
        print(name)
        values = {
            way: np.array([figure([r for r in rows if (r["seed"], r["way"]) == (seed, way)])
                           for seed in seeds])
            for way in WAYS
        }  # fmt: skip
        for way, own in values.items():
            difference = own - values["searches"]
            half = np.nan
            if len(seeds) > 1:
                half = scipy.stats.t.ppf(0.975, len(seeds) - 1) * scipy.stats.sem(difference)
            print(
                f"  {way:9} {own.mean():8.2f}   beside searches {difference.mean():+8.2f} "
                f"± {half:.2f}"
            )


if __name__ == "__main__":
    main()
