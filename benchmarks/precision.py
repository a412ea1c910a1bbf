"""Mixed against uniform bits of equal bit operations, and binary cells beside full precision.

    python benchmarks/precision.py --idx FOLDER [--seeds 0 1 2] [--retrains 3] [--out FILE.json]

Each seed searches bits under the bit operations of a uniform network. It trains three networks
from scratch: the one it finds, the uniform network, and one whose bits are drawn at random under
the same budget. All are trained by one recipe, a few times each, and the accuracy of a seed is the
mean over these trainings. There are two backbones. One doubles its width where it halves the
image, so that its layers cost about the same. The other keeps its width, so that the first two of
six layers cost 12 times (Fashion-MNIST) or 16 times (digits) as much as the last two.

Binary cells are searched under a size in the same way. They are trained at one bit, plainly (XNOR)
and with projections (PCNN), and at full precision.

`--idx` is a folder of Fashion-MNIST's files; without it only the digits are used.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import jax
import numpy as np

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import (
    Config,
    DataConfig,
    Part,
    RetrainConfig,
    SearchConfig,
    TargetConfig,
    override,
)
from hwnas_jax.cost import AnalyticModel, predict_architectures
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.models.bits import size_bits
from hwnas_jax.data import load_data
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.retrain import train
from hwnas_jax.search.candidates import within_budget
from hwnas_jax.search.derivation import MostProbable
from hwnas_jax.spaces import make_space

TOLERANCE = 0.01
DIGITS = Config(
    data=DataConfig(name="digits", shift=1),
    search=SearchConfig(
        relaxation=Part("gumbel_softmax", {"learning_rate": 0.05}), steps=1200,
        warmup_steps=300, batch_size=64, steps_per_dispatch=100,
    ),
    target=TargetConfig(metric="bit_operations"),
    budget=Part("dual_ascent", {"tolerance": TOLERANCE}),
    retrain=RetrainConfig(epochs=60, batch_size=64, learning_rate=0.1, weight_decay=1e-3),
)  # fmt: skip
BITS = {"weights": "1,2,3,4", "activations": "2,3,4"}
# Per data set: changes of the config, the backbones, and the cells.
SETTINGS = {
    "digits": (
        {},
        {"widening": {"channels": 4}, "even": {"channels": 6, "growth": 1}},
        {"channels": 8, "cells": 1},
    ),
    "fashion_mnist": (
        {
            "data__name": "idx", "data__shift": 1, "data__flip": True, "search__steps": 4000,
            "search__warmup_steps": 1000, "retrain__epochs": 8, "retrain__batch_size": 128,
            "retrain__validation_fraction": 0.05,
        },
        {
            "widening": {"channels": 4, "stem_stride": 2},
            "even": {"channels": 6, "growth": 1, "stem_stride": 2},
        },
        None,
    ),
}  # fmt: skip


def setting(name, idx, seed):
    changes = SETTINGS[name][0]
    config = override(DIGITS, seed=seed, parallel__devices=1, **changes)
    return override(config, data__path=str(idx)) if name == "fashion_mnist" else config


def space_of(name, dataset, args):
    return make_space(name, args, input_shape=dataset.input_shape, num_outputs=dataset.num_outputs)


def found(space, dataset, metric, budget, config):
    """Returns the likeliest architecture under the budget after a search, and a random one."""
    model, target = AnalyticModel.count(space), Target(metric, budget)
    result = search_architecture(space, dataset, model, target, config)
    candidates = within_budget(
        space, model, target, BUDGETS.make(config.budget), seed=config.seed,
        probabilities=result.probabilities, prior=result.methods.prior(),
    )  # fmt: skip
    likeliest = MostProbable().scores(candidates).argmax()
    chance = np.random.default_rng(config.seed).integers(len(candidates.networks))
    return {"search": candidates.networks[likeliest], "random": candidates.networks[chance]}


def trained(space, architecture, dataset, config, retrains):
    """Returns the mean test accuracy of trainings that differ in their seed alone."""
    return float(np.mean([
        train(
            lambda rngs: space.network(architecture, rngs), dataset, config,
            seed=1000 * (1 + config.seed) + number,
        ).test_metric
        for number in range(retrains)
    ]))  # fmt: skip


def mixed_bits(name, dataset, options, backbone, uniform):
    """Returns a row per seed and origin: what the network is, costs, and reaches."""
    space = space_of("edmips", dataset, {**SETTINGS[name][1][backbone], **BITS})
    same = space.uniform(uniform, uniform)
    model = AnalyticModel.count(space)
    budget = float(predict_architectures(model, same[None], space.num_options)["bit_operations"][0])
    rows = []
    for seed in options.seeds:
        config = setting(name, options.idx, seed)
        networks = {"uniform": same, **found(space, dataset, "bit_operations", budget, config)}
        for origin, architecture in networks.items():
            costs = predict_architectures(model, architecture[None], space.num_options)
            rows.append({
                "data": name, "backbone": backbone, "uniform_bits": uniform, "seed": seed,
                "origin": origin,
                "architecture": space.to_string(architecture),
                "bit_operations": float(costs["bit_operations"][0]),
                "size_kib": float(costs["size_kib"][0]),
                "test_accuracy": trained(space, architecture, dataset, config, options.retrains),
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def size_kib(space, architecture):
    """Returns the stored size of a network of full precision or not."""
    operations, places = space.operations()
    return (
        sum(
            place.count * size_bits(operations[place.operation])
            for place in places
            if all(architecture[row] == column for row, column in place.when)
        )
        / 8192
    )


def binary_cells(name, dataset, options):
    """Returns a row per seed and precision of the cells that a search under a size finds."""
    args = SETTINGS[name][2]
    spaces = {
        "binary": space_of("bnas", dataset, {**args, "binary": True}),
        "binary, projected": space_of("bnas", dataset, {**args, "projected": True}),
        "full precision": space_of("bnas", dataset, {**args, "binary": False}),
    }
    space = spaces["binary"]
    sizes = predict_architectures(
        AnalyticModel.count(space), space.enumerate(), space.num_options
    )["size_kib"]  # fmt: skip
    budget, rows = float(np.percentile(sizes, 75)), []
    for seed in options.seeds:
        config = override(setting(name, options.idx, seed), target__metric="size_kib")
        architecture = found(space, dataset, "size_kib", budget, config)["search"]
        for precision, own in spaces.items():
            rows.append({
                "data": name, "seed": seed, "precision": precision,
                "architecture": own.to_string(architecture),
                "size_kib": size_kib(own, architecture),
                "test_accuracy": trained(own, architecture, dataset, config, options.retrains),
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def summary(rows, key):
    """Returns per group the mean, the standard deviation over seeds, and the sizes."""
    groups = {}
    for row in rows:
        group = row["data"], row.get("backbone"), row.get("uniform_bits"), row[key]
        groups.setdefault(group, []).append(row)
    return [
        {
            "data": data, "backbone": backbone, "uniform_bits": bits, key: which,
            "mean": float(np.mean([row["test_accuracy"] for row in group])),
            "std": float(np.std([row["test_accuracy"] for row in group], ddof=1))
            if len(group) > 1 else None,
            "size_kib": [round(row["size_kib"], 2) for row in group],
            "bit_operations": [row.get("bit_operations") for row in group],
        }
        for (data, backbone, bits, which), group in groups.items()
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--idx", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--retrains", type=int, default=3, help="trainings per network")
    parser.add_argument("--uniform", type=int, nargs="+", default=[2])
    backbones = list(SETTINGS["digits"][1])
    parser.add_argument("--backbones", nargs="+", choices=backbones, default=backbones)
    parser.add_argument("--parts", nargs="+", default=["bits", "binary"])
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    names = options.data or (list(SETTINGS) if options.idx else ["digits"])
    started, bits, cells = time.perf_counter(), [], []
    for name in names:
        dataset = load_data(setting(name, options.idx, 0).data)
        if "bits" in options.parts:
            for backbone, uniform in itertools.product(options.backbones, options.uniform):
                bits += mixed_bits(name, dataset, options, backbone, uniform)
        if "binary" in options.parts and SETTINGS[name][2]:
            cells += binary_cells(name, dataset, options)
    result = {
        "device": describe_device(), "software": describe_software(),
        "seconds": round(time.perf_counter() - started, 1),
        "mixed": summary(bits, "origin"), "binary": summary(cells, "precision"),
        "networks": bits + cells,
    }  # fmt: skip
    print("| data | network | accuracy | size KiB |\n|---|---|---:|---:|")
    for row in result["mixed"] + result["binary"]:
        which = row.get("origin") or row["precision"]
        bits_of = f" ({row['backbone']}, {row['uniform_bits']} bits)" if row["backbone"] else ""
        spread = "" if row["std"] is None else f" +- {row['std']:.2%}"
        size = np.mean(row["size_kib"])
        print(f"| {row['data']} | {which}{bits_of} | {row['mean']:.2%}{spread} | {size:.2f} |")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
