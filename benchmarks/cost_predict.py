"""Times cost models: architectures a second in a batch, and one differentiated prediction.

    python benchmarks/cost_predict.py [--models mlp gaussian] [--out cost_predict.json]

Every model is fitted to 200 NAS-Bench-201 cells with counted costs, since its speed depends on
shapes alone. A batch is a million random cells; the differentiated prediction is value and
gradient at uniform gates, and of the mean over 16 gates, as a search step asks for.
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost import AnalyticModel, Observations, predict_architectures
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.models import COST_MODELS
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.spaces import make_space

NETWORKS, BATCH, ROUNDS, CALLS, GATES = 200, 1 << 20, 5, 200, 16


def observations(space):
    rows = space.random(np.random.default_rng(0), NETWORKS)
    macs = predict_architectures(AnalyticModel.count(space), rows, space.num_options)["macs"]
    return Observations(rows, {"latency_ms": 1 + macs / macs.mean()})


def gradient_ms(model, shape):
    """Returns the median milliseconds of value and gradient at one gate, and at the mean of 16."""

    def mean(weights):
        return jax.vmap(lambda weight: model.predict(weight)["latency_ms"])(weights).mean()

    times = []
    for gates in (1, GATES):
        ask = jax.jit(jax.value_and_grad(mean))
        weights = jnp.full((gates, *shape), 1 / shape[1])
        jax.block_until_ready(ask(weights))
        rounds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(CALLS):
                jax.block_until_ready(ask(weights))
            rounds.append(1e3 * (time.perf_counter() - start) / CALLS)
        times.append(statistics.median(rounds))
    return times


def measure(space, models, given):
    """Yields a row for each model; `given` are options of the models that have such."""
    known = observations(space)
    batch = space.random(np.random.default_rng(1), BATCH)
    for name in models:
        own = [field.name for field in dataclasses.fields(COST_MODELS[name].Options)]
        part = Part(name, {key: value for key, value in given.items() if key in own})
        try:
            start = time.perf_counter()
            model = fit_model(part, space, known)
            jax.block_until_ready(model)
            fit_s = time.perf_counter() - start
        except UserError as error:
            print(f"{name}: not fitted, {error}")
            continue
        predict_architectures(model, batch[:20_000], space.num_options)
        rates = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            predict_architectures(model, batch, space.num_options)
            rates.append(BATCH / (time.perf_counter() - start))
        one, many = gradient_ms(model, space.mask.shape)
        yield {
            "model": name, "rate": statistics.median(rates), "best_rate": max(rates),
            "gradient_ms": one, f"gradient_{GATES}_ms": many, "fit_s": fit_s,
        }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--models", nargs="+", choices=list(COST_MODELS), default=list(COST_MODELS),
        help="attention takes minutes",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100, help="of training; not part of the rate")
    options = parser.parse_args()
    space = make_space(
        "nasbench201", {"channels": 16, "cells": 5}, input_shape=(32, 32, 3), num_outputs=10
    )
    given = {key: getattr(options, key) for key in ("members", "hidden", "steps")}
    rows = []
    print("| model | architectures/s | best | gradient ms | mean of 16 ms | fit s |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in measure(space, options.models, given):
        rows.append(row)
        print(
            f"| {row['model']} | {row['rate']:,.0f} | {row['best_rate']:,.0f} | "
            f"{row['gradient_ms']:.3f} | {row[f'gradient_{GATES}_ms']:.3f} | {row['fit_s']:.1f} |",
            flush=True,
        )
    if options.out:
        result = {
            "device": describe_device(), "software": describe_software(), "batch": BATCH,
            **given, "rows": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
