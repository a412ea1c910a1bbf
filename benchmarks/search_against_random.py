"""Are networks that a search derived better than random ones, when both are trained to the end?

    HWNAS_DATA=FOLDER python benchmarks/search_against_random.py RUN_FOLDER [--epochs 10]

RUN_FOLDER is that of a finished `search_on_table.py`. Beside every search of it stands random
search with as many trainings: networks drawn at random within the same limit, as many as the short
trainings and the supernet of the search could have paid for, trained shortly and halved in the same
way. What either derives first is trained from scratch for so many epochs, with the same settings
and seed, and tested. Printed are the accuracies, the difference paired over the seeds (the limits
averaged) with its 95 % interval by Student's t, and the area under the front that the limits of a
seed make: predicted cost up to the highest limit, accuracy above chance. What is known is kept in
`against_random.json` of the run folder, so that a stopped run goes on.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
import scipy

from hwnas_jax.config import RetrainConfig, override
from hwnas_jax.files.json_files import write_json
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.registry import Part
from hwnas_jax.report.pareto_front import Reference, hypervolume
from hwnas_jax.runs.controls import passes_of_search
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.proposals import Proposals
from hwnas_jax.runs.retrain import train
from hwnas_jax.runs.run import Run
from hwnas_jax.search.derivation import DERIVATIONS

FILE = "against_random.json"
CHANCE = 0.1


def by_random_search(run, number):
    """Returns the network that random search with as many trainings derives, and its cost."""
    member, found = run.members[number], Found.load(run.folder, run.space, len(run.members))
    rule = DERIVATIONS.make(run.config.derive.rule)
    rule = rule.with_more_passes(passes_of_search(run.config, run.space))
    args = {"trainings": rule.trainings, "steps": rule.steps, "by_size": False, "by_supernet": 0}
    config = override(run.config, derive__rule=Part("halving", args))
    # As many draws as it trains: the order among candidates is by chance where no sign is asked.
    proposals = Proposals(run.space, run.dataset, run.cost_model, config, found)
    best = proposals.of(number, member.target, member.seed)[0]
    return best.architecture, best.predicted


def main():
    """Derives, trains and compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    run = Run.open(options.folder)
    config = override(
        run.config, retrain=RetrainConfig(epochs=options.epochs, weight_decay=5e-4),
        parallel__devices=1,
    )  # fmt: skip
    networks = json.loads((options.folder / "networks.json").read_text())["networks"]
    searched = {one["search"]: one for one in networks if one["origin"] == "search"}
    path = options.folder / FILE
    known = json.loads(path.read_text()) if path.exists() else {}
    for number, member in enumerate(run.members):
        for origin in ("search", "random"):
            label = f"{member.label}-{origin}"
            if label in known:
                continue
            if origin == "search":
                entry = searched[member.label]
                network = run.space.from_names(entry["architecture"])
                cost = entry["predicted"]
            else:
                network, cost = by_random_search(run, number)
            trained = train(
                functools.partial(run.space.network, network), run.dataset,
                override(config, seed=member.seed), label=label, seed=1000 * member.seed,
                progress=quiet,
            )  # fmt: skip
            known[label] = {
                "seed": member.seed, "limit": member.target.value, "origin": origin,
                "cost": float(cost), "string": run.space.to_string(network),
                "accuracy": float(trained.test_metric), "epochs": options.epochs,
            }  # fmt: skip
            write_json(path, known)
            print(label, json.dumps(known[label]), flush=True)
    compare(list(known.values()))


def compare(rows):
    """Prints means, paired differences and areas."""
    seeds = sorted({row["seed"] for row in rows})
    highest = max(row["limit"] for row in rows)

    def of(origin, figure):
        chosen = [[r for r in rows if (r["seed"], r["origin"]) == (s, origin)] for s in seeds]
        return np.array([figure(own) for own in chosen])

    figures = {
        "accuracy, percent": lambda own: 100 * np.mean([row["accuracy"] for row in own]),
        "area under the front, percent": lambda own: 100 * hypervolume(
            np.array([row["cost"] for row in own]), np.array([row["accuracy"] for row in own]),
            Reference(highest, CHANCE),
        ) / (highest * (1 - CHANCE)),
    }  # fmt: skip
    for name, figure in figures.items():
        ours, theirs = of("search", figure), of("random", figure)
        half = scipy.stats.t.ppf(0.975, len(seeds) - 1) * scipy.stats.sem(ours - theirs)
        print(
            f"{name}: search {ours.mean():.2f}, random search {theirs.mean():.2f}; better by "
            f"{(ours - theirs).mean():.2f} ± {half:.2f} over {len(seeds)} seeds"
        )


if __name__ == "__main__":
    main()
