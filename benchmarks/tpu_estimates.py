"""200 networks of NAS-Bench-201 by the TPU compiler, a cost model fitted to them, and their ranks.

    pip install 'hwnas_jax[tpu]'
    python benchmarks/tpu_estimates.py --data FOLDER [--accelerators] [--out tpu_estimates.json]

No TPU is needed and nothing runs on one: every latency here is an estimate. The space has its
standard size (C=16, N=5, images 32x32x3, 10 classes). What was compiled is kept, so that a second
run takes seconds; `--fresh` compiles everything again, for the time that it takes.

The cost model is fitted to 150 of the networks and judged on the other 50, over ten draws of them;
its hyperparameters are the defaults of the config. Ranks are compared, where FOLDER holds
`nb201_latency_help.npz`, with latencies that were measured on a CPU (gold_6226) and on a GPU
(titan_rtx_256), and with multiply-accumulates; with `--accelerators` also with simulated ones.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from hwnas_jax.cost import AnalyticModel, mape, predict_architectures, spearman
from hwnas_jax.cost.measure.design import choose_networks
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.cost.simulate.accelerator import TEMPLATES, Accelerator
from hwnas_jax.cost.simulate.compiler import TPU, kept_in
from hwnas_jax.cost.simulate.estimates import estimate
from hwnas_jax.display import Terminal
from hwnas_jax.files.json_files import write_json
from hwnas_jax.registry import Part
from hwnas_jax.spaces import make_space

DRAWS = 10
DEVICES = ("gold_6226", "titan_rtx_256", "pixel2", "eyeriss")


def quality(space, observations, model, held_out):
    """Returns Spearman and MAPE of each draw, `float64[2, DRAWS]`, and the seconds of a fit."""
    scores, started = [], time.perf_counter()
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(observations))
        test, train = order[:held_out], order[held_out:]
        fitted = fit_model(Part(model), space, observations.subset(train), seed=draw)
        judged = observations.subset(test)
        predicted = predict_architectures(fitted, judged.architectures, space.num_options)
        truth = judged.values["latency_ms"]
        scores.append((spearman(truth, predicted["latency_ms"]),
                       mape(truth, predicted["latency_ms"])))  # fmt: skip
    return np.array(scores).T, (time.perf_counter() - started) / DRAWS


def columns(space, architectures, data):
    """Returns what else is known of the networks, by name."""
    weights = space.canonical(architectures)
    counted = predict_architectures(AnalyticModel.count(space), weights, space.num_options)
    known = {"MACs that run": counted["macs"]}
    path = data / "nb201_latency_help.npz" if data else None
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as table:
            rows = {tuple(row): number for number, row in enumerate(table["ops"].tolist())}
            where = [rows[tuple(row)] for row in architectures.tolist()]
            devices = table["devices"].tolist()
            for name in DEVICES:
                known[name] = table["latency_ms"][devices.index(name)][where]
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with nb201_latency_help.npz")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--topology", default="v5e:1x1")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--models", nargs="+", default=["gaussian", "mlp", "analytic"])
    parser.add_argument("--accelerators", action="store_true", help="simulate accelerators too")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--fresh", action="store_true", help="keep nothing of other runs")
    options = parser.parse_args()
    if options.fresh:
        os.environ["HWNAS_CACHE"] = tempfile.mkdtemp(prefix="hwnas_estimates_")
    space = make_space(
        "nasbench201", {"channels": 16, "cells": 5}, input_shape=(32, 32, 3), num_outputs=10
    )
    architectures = choose_networks(space, options.networks, 0, np.random.default_rng(0))
    tpu = TPU(options.topology, options.batch, options.dtype)
    kept = kept_in(space, tpu)
    before = len(list(kept.glob("*.json"))) if kept.is_dir() else 0
    display, started = Terminal(), time.perf_counter()
    with display.stage("compile") as report:
        found = estimate(space, architectures, tpu, workers=options.workers, progress=report)
    seconds = time.perf_counter() - started
    compiled = len(list(kept.glob("*.json"))) - before
    display.say(f"{compiled} of {len(architectures)} networks compiled in {seconds:.0f} s")
    observations = found.observations(space)
    result = {"topology": tpu.topology, "batch_size": tpu.batch_size, "dtype": tpu.dtype,
              "compiled": compiled, "seconds": seconds, "software": found.software,
              "models": {}, "spearman": {}}  # fmt: skip
    rows = []
    for model in options.models:
        scores, each = quality(space, observations, model, options.held_out)
        (rank, error), (spread, _) = scores.mean(axis=1), scores.std(axis=1, ddof=1)
        rows.append((model, f"{rank:.4f}", f"{spread:.4f}", f"{scores[0].min():.4f}",
                     f"{error:.2%}", f"{each:.1f} s"))  # fmt: skip
        result["models"][model] = {"spearman": scores[0].tolist(), "mape": scores[1].tolist()}
    train = len(architectures) - options.held_out
    display.table(
        f"{tpu.topology}: fitted to {train}, judged on {options.held_out}, {DRAWS} draws",
        ("model", "Spearman", "s.d.", "least", "MAPE", "fit"), rows,
    )  # fmt: skip
    known = {f"{tpu.topology} estimate": found.latencies_ms}
    known |= columns(space, architectures, options.data)
    if options.accelerators:
        for template in TEMPLATES:
            with display.stage("simulate") as report:
                each = estimate(space, architectures, Accelerator(template),
                                workers=options.workers, progress=report)  # fmt: skip
            known[f"{template} simulated"] = each.latencies_ms
            known[f"{template} energy"] = each.medians("energy_mj")
    table = {a: {b: spearman(known[a], known[b]) for b in known} for a in known}
    result["spearman"] = table
    display.table(
        f"Spearman over {len(architectures)} networks", ("", *known),
        [(a, *(f"{table[a][b]:.3f}" for b in known)) for a in known],
    )  # fmt: skip
    spread = found.latencies_ms.max() / found.latencies_ms.min()
    display.say(f"estimates range over a factor of {spread:.1f}")
    if options.out is not None:
        write_json(options.out, json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
