"""Compares ways to choose the networks that a search measures on its way.

    python benchmarks/measure_during_search.py nb201_latency_help.npz nb201_accuracy.npz

The published latencies of a device take the place of measuring it. A distribution over
architectures that trades accuracy for latency at the budget takes the place of a search, and
becomes sharper from round to round. First a model is fitted to a random sample of networks. In
each of three rounds more networks are then measured, and the model is fitted again. They are those
of `most_informative`, or as many drawn from the distribution, or as many drawn uniformly.

A way is judged by the relative error of its model on networks that were not measured: the mean
under the final distribution, over the networks within a tenth of the budget.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost import MLPEnsemble, Observations, predict_architectures
from hwnas_jax.relax import softmax_probabilities
from hwnas_jax.search.candidates import likely_networks
from hwnas_jax.search.refine import most_informative
from hwnas_jax.spaces import make_space

SHARPNESS = (4.0, 8.0, 16.0)
WAYS = ("nothing more", "uniform", "drawn", "most informative")


def tilted(space, table, accuracy, latency, budget):
    """Returns logits of unit sharpness that favour accuracy, with the budget in the mean."""

    def effects(values):
        rows = [
            [values[table[:, d] == k].mean() for k in range(space.num_options)]
            for d in range(space.num_decisions)
        ]
        return (np.array(rows) - values.mean()) / values.std()

    gain, price = effects(accuracy), effects(latency)
    low, high = -10.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        logits = SHARPNESS[-1] * (gain - middle * price)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        share = np.exp(logs[np.arange(space.num_decisions), table].sum(-1))
        low, high = (middle, high) if share @ latency > budget else (low, middle)
    return gain - middle * price


def softmax(space, logits):
    """Returns the probabilities that logits `[D, K]` stand for."""
    return np.asarray(softmax_probabilities(logits, space.mask))


def run(space, table, latency, logits, target, way, options, seed):
    """Returns the error after three rounds of measuring."""
    rng = np.random.default_rng(seed)
    forms, group = np.unique(space.canonical(table), axis=0, return_inverse=True)
    costs = np.zeros(len(forms))
    np.add.at(costs, group.reshape(-1), latency / np.bincount(group.reshape(-1))[group.reshape(-1)])
    number = {tuple(row): i for i, row in enumerate(forms.tolist())}
    seen = rng.choice(len(forms), options.networks, replace=False).tolist()

    own = MLPEnsemble.Options(members=4, steps=options.steps)

    def fitted():
        observed = Observations(forms[seen], {"latency_ms": costs[seen]})
        return MLPEnsemble.fit(space, observed, own, seed=seed)

    model = fitted()
    for sharpness in SHARPNESS if way != "nothing more" else ():
        share, prior = softmax(space, sharpness * logits), softmax(space, 0 * logits)
        networks, logs, _ = likely_networks(space, share, prior, seed=seed)
        left = np.array([number[tuple(row)] for row in networks.tolist()])
        chance = np.exp(logs)
        chance[np.isin(left, seen)] = 0.0
        if way == "most informative":
            chosen = most_informative(
                space, model, [target], share[None], prior, forms[seen], options.each, seed=seed
            )
            seen += [number[tuple(row)] for row in chosen.tolist()]
        else:
            weight = chance if way == "drawn" else (chance > 0).astype(float)
            seen += rng.choice(left, options.each, replace=False, p=weight / weight.sum()).tolist()
        model = fitted()
    share, prior = softmax(space, SHARPNESS[-1] * logits), softmax(space, 0 * logits)
    networks, logs, _ = likely_networks(space, share, prior, seed=seed)
    rows = np.array([number[tuple(row)] for row in networks.tolist()])
    share = np.exp(logs) * (np.abs(costs[rows] / target.value - 1) < 0.1)
    share[np.isin(rows, seen)] = 0.0
    predicted = predict_architectures(model, networks, space.num_options)["latency_ms"]
    return float((share * np.abs(predicted / costs[rows] - 1)).sum() / share.sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("latency", type=Path, help="nb201_latency_help.npz")
    parser.add_argument("accuracy", type=Path, help="nb201_accuracy.npz")
    parser.add_argument("--devices", nargs="+", default=["raspi4", "pixel3", "eyeriss"])
    parser.add_argument("--networks", type=int, default=60, help="measured before the search")
    parser.add_argument("--each", type=int, default=5, help="measured in each of three rounds")
    parser.add_argument("--steps", type=int, default=600, help="of the model's training")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    space = make_space(
        "nasbench201", {"channels": 16, "cells": 5}, input_shape=(32, 32, 3), num_outputs=10
    )
    with np.load(options.latency) as file, np.load(options.accuracy) as accuracies:
        table, devices = file["ops"].astype(np.int32), file["devices"].tolist()
        latencies, accuracy = file["latency_ms"].astype(float), accuracies["cifar10valid_valid_200"]
    rows = []
    print("| device | measured in the search | mean error near the budget | spread over seeds |")
    print("|---|---|---:|---:|")
    for device in options.devices:
        latency = latencies[devices.index(device)]
        target = Target("latency_ms", float(np.median(latency)))
        logits = tilted(space, table, accuracy, latency, target.value)
        for way in WAYS:
            errors = [
                run(space, table, latency, logits, target, way, options, seed)
                for seed in range(options.seeds)
            ]
            rows.append({"device": device, "way": way, "errors": errors})
            mean, spread = np.mean(errors), np.std(errors)
            print(f"| {device} | {way} | {mean:.2%} | {spread:.2%} |", flush=True)
    if options.out:
        settings = {key: str(value) for key, value in vars(options).items()}
        options.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
