"""What a finished search is worth on a second device.

    python benchmarks/second_device.py table --data FOLDER [--draws 10] [--samples 10]
        [--adapt 100] [--out FOLDER]
    python benchmarks/second_device.py measured [--config digits] [--seeds 3] [--out FOLDER]
        [--second --profile.runtime onnxruntime] [--options …]

`table`: every pair of the 27 devices of `nb201_latency_help.npz`, with the test accuracies of
`nb201_accuracy.npz`. The front of the first device is taken for the second: the share of the second
device's hypervolume that it keeps, and what the verdict of `hwnas transfer --samples` says of that
pair after a few networks drawn at random, over several draws. For `--adapt` pairs drawn at random
the first device's costs are adapted to the same samples (`transfer`), and the front by these
predictions is held against the exact one too. Hypervolumes are measured from the dearest cell and
the median accuracy.

`measured`: for each seed a search on this machine's JAX, its transfer to the second device, and a
fresh search there, all from the command line. It writes the share of time, whether networks keep
the budget when measured, and the accuracy of both. Words after `--second` choose the second device,
words after `--options` are passed to every search.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy

from hwnas_jax.cost import predict_architectures
from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.metrics import spearman
from hwnas_jax.cost.judge.proxy import PROXY, THRESHOLD, rank_agreement
from hwnas_jax.cost.models.prior import TransferConfig, learn_prior
from hwnas_jax.cost.models.transfer import TransferModel
from hwnas_jax.report.pareto_front import Reference, hypervolume, on_front
from hwnas_jax.tabular import load_benchmark

METRIC = "latency_ms"
GOOD = 0.95
"""Share of the exact front's hypervolume from which on a pair counts as good."""


def share_kept(chosen, costs, accuracy):
    """Returns the share of the exact front's hypervolume that chosen cells (`bool[N]`) have."""
    corner = Reference(float(costs.max()), float(np.median(accuracy)))
    whole = hypervolume(costs, accuracy, corner)
    return hypervolume(costs[chosen], accuracy[chosen], corner) / whole


def pairs_of(table, accuracy, options):
    """Returns a row for every ordered pair of devices."""
    costs = table.values[METRIC].astype(float)
    fronts = [on_front(one, accuracy) for one in costs]
    rng, rows = np.random.default_rng(options.seed), []
    for one, proxy in enumerate(table.devices):
        for two, target in enumerate(table.devices):
            if one == two:
                continue
            draws = [
                rng.choice(len(accuracy), options.samples, replace=False)
                for _ in range(options.draws)
            ]
            found = [rank_agreement(costs[one, draw], costs[two, draw]) for draw in draws]
            rows.append(
                {
                    "proxy": proxy,
                    "target": target,
                    "spearman": spearman(costs[two], costs[one]),
                    "reused": share_kept(fronts[one], costs[two], accuracy),
                    "low": [a.low for a in found],
                    "verdicts": [a.verdict() for a in found],
                    "draws": [draw.tolist() for draw in draws],
                }
            )
    return rows


def adapt(table, accuracy, rows, options):
    """Adds to pairs drawn at random what the adapted model's front is worth, of the first draw."""
    costs = table.values[METRIC].astype(float)
    rng = np.random.default_rng(options.seed + 1)
    some = rng.choice(len(rows), min(options.adapt, len(rows)), replace=False)
    priors = {}
    for done, number in enumerate(sorted(some), 1):
        row = rows[number]
        if row["proxy"] not in priors:
            priors.clear()
            known = {METRIC: costs[[table.row(row["proxy"])]]}
            alone = CostTable(PROXY, table.space, table.architectures, (PROXY,), known)
            config = TransferConfig(hypotheses=128)
            priors[row["proxy"]] = learn_prior(alone, (PROXY,), config, metric=METRIC)
        target, draw = costs[table.row(row["target"])], np.array(row["draws"][0])
        samples = Observations(table.architectures[draw], {METRIC: target[draw]})
        model = TransferModel.of([priors[row["proxy"]]], samples)
        cost = predict_architectures(model, table.architectures, table.space.num_options)[METRIC]
        row["adapted_spearman"] = spearman(target, cost)
        row["adapted"] = share_kept(on_front(cost, accuracy), target, accuracy)
        print(f"{done}/{len(some)} {row['proxy']} {row['target']}", flush=True)


def separates(rows):
    """Returns the probability that the lower bound of a good pair is above that of a bad one."""
    good = np.array([low for row in rows if row["reused"] >= GOOD for low in row["low"]])
    bad = np.array([low for row in rows if row["reused"] < GOOD for low in row["low"]])
    if not len(good) or not len(bad):
        return float("nan")
    return float(scipy.stats.mannwhitneyu(good, bad).statistic / (len(good) * len(bad)))


def markdown(rows, options):
    """Returns what the verdicts are worth."""
    shares = {"safe": [], "unsure": [], "unsafe": []}
    for row in rows:
        for verdict in row["verdicts"]:
            shares[verdict].append(row["reused"])
    every = [row["reused"] for row in rows]
    lines = [
        f"{len(rows)} pairs, {options.draws} draws of {options.samples} samples, threshold "
        f"{THRESHOLD}. Reused fronts keep {np.mean(every):.3f} of the hypervolume (least "
        f"{min(every):.3f}); {np.mean(np.array(every) >= GOOD):.0%} of the pairs keep {GOOD:.0%}. "
        f"A good pair's lower bound lies above a bad one's with probability {separates(rows):.3f}.",
        "",
        f"| verdict | share of draws | mean kept | least kept | at least {GOOD:.0%} kept |",
        "|---|---|---|---|---|",
    ]
    total = sum(map(len, shares.values()))
    for verdict, held in shares.items():
        if held:
            lines.append(
                f"| {verdict} | {len(held) / total:.1%} | {np.mean(held):.3f} | {min(held):.3f} "
                f"| {np.mean(np.array(held) >= GOOD):.1%} |"
            )
    adapted = [row for row in rows if "adapted" in row]
    groups = {"all": adapted}
    for verdict in shares:
        groups[verdict] = [row for row in adapted if row["verdicts"][0] == verdict]
    if adapted:
        lines += ["", "| first draw says | pairs | reused front keeps (least) | adapted (least) "
                  "| Spearman of proxy | of adapted |", "|---|---|---|---|---|---|"]  # fmt: skip
    for name, some in groups.items():
        if some:
            mean = {
                key: np.mean([row[key] for row in some])
                for key in ("reused", "adapted", "spearman", "adapted_spearman")
            }
            lines.append(
                f"| {name} | {len(some)} | {mean['reused']:.3f} "
                f"({min(row['reused'] for row in some):.3f}) | {mean['adapted']:.3f} "
                f"({min(row['adapted'] for row in some):.3f}) | {mean['spearman']:.3f} "
                f"| {mean['adapted_spearman']:.3f} |"
            )
    return "\n".join(lines) + "\n"


def on_table(options):
    """The part on published tables."""
    table = load_table(options.data / "nb201_latency_help.npz")
    bench = load_benchmark(options.data / "nb201_accuracy.npz", data_set="cifar10")
    cells, values = bench.listed(bench.report)
    known = {cell.tobytes(): value for cell, value in zip(cells.astype(int), values, strict=True)}
    order = table.architectures.astype(int)
    accuracy = np.array([known[cell.tobytes()] for cell in order], float)
    rows = pairs_of(table, accuracy, options)
    for path, text in (
        ("second_device.json", json.dumps(rows)), ("second_device.md", markdown(rows, options)),
    ):  # fmt: skip
        (options.out / path).write_text(text)
    print(markdown(rows, options), flush=True)
    adapt(table, accuracy, rows, options)
    (options.out / "second_device.json").write_text(json.dumps(rows))
    (options.out / "second_device.md").write_text(markdown(rows, options))
    print(markdown(rows, options))


def hwnas(*words):
    """Runs a command to its end; returns its wall time in seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "hwnas_jax", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"hwnas {' '.join(words)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def of_run(folder):
    """Returns the seconds of a run's stages, and what its selected network measured and scored."""
    stages = json.loads((folder / "stages.json").read_text())
    networks = json.loads((folder / "networks.json").read_text())["networks"]
    own = [one for one in networks if one["origin"] == "search"]
    best = next((one for one in own if one.get("selected")), own[0])
    keys = ("string", "target", "predicted", "measured", "meets_budget", "test_metric")
    return {
        "seconds": {name: stage["seconds"] for name, stage in stages.items() if name != "stages"},
        **{key: best.get(key) for key in keys},
    }


def measured(options):
    """The part that searches and measures on this machine."""
    found = []
    for seed in range(options.seeds):
        folders = {n: options.out / f"{n}-seed{seed}" for n in ("first", "transferred", "fresh")}
        own = ["--seed", str(seed), *options.options]
        hwnas("search", options.config, "--run-dir", str(folders["first"]), *own)
        hwnas("transfer", str(folders["first"]), "--run-dir", str(folders["transferred"]),
              *options.second)  # fmt: skip
        hwnas("search", options.config, "--run-dir", str(folders["fresh"]), "--measurements",
              str(folders["transferred"] / "measurements.json"), *own, *options.second)  # fmt: skip
        row = {name: of_run(folder) for name, folder in folders.items()}
        spent = {name: one["seconds"]["search"] for name, one in row.items()}
        row["share_of_search"] = spent["transferred"] / spent["first"]
        found.append(row)
        (options.out / "second_device_measured.json").write_text(json.dumps(found, indent=1))
        print(
            f"seed {seed}: the transfer took {row['share_of_search']:.1%} of the search; "
            + "; ".join(
                f"{name} {one['test_metric']:.4f}, budget "
                f"{'kept' if one['meets_budget'] else 'missed'}" for name, one in row.items()
                if isinstance(one, dict)
            ),
            flush=True,
        )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("table")
    one.add_argument("--data", type=Path, required=True)
    one.add_argument("--draws", type=int, default=10)
    one.add_argument("--samples", type=int, default=10)
    one.add_argument("--adapt", type=int, default=100, help="pairs whose costs are adapted")
    one.add_argument("--seed", type=int, default=0)
    two = kinds.add_parser("measured")
    two.add_argument("--config", default="digits")
    two.add_argument("--seeds", type=int, default=3)
    for each, out in ((one, "bench-second-device"), (two, "bench-second-device-measured")):
        each.add_argument("--out", type=Path, default=Path(out))
    words, passed = sys.argv[1:], {"--second": [], "--options": []}
    for flag in ("--options", "--second"):
        if flag in words:
            at = words.index(flag)
            passed[flag], words = words[at + 1 :], words[:at]
    options = parser.parse_args(words)
    options.second = passed["--second"] or ["--profile.runtime", "onnxruntime"]
    options.options = passed["--options"]
    options.out.mkdir(parents=True, exist_ok=True)
    (on_table if options.kind == "table" else measured)(options)


if __name__ == "__main__":
    main()
