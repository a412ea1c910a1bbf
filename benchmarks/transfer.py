"""Cost models for a new device from few samples, under the published protocols.

    python benchmarks/transfer.py --data FOLDER [--draws 10] [--out FOLDER] [--only cells F1 ...]
        [--sizes 20 ...] [--skip "transfer, chosen" ...]

`FOLDER` holds `nb201_latency_help.npz` and `fbnet_latency_help.npz`. Compared are the model that
`hwnas cost transfer` fits, on random and on chosen samples, and three simple models on the same
random samples: a Bayesian additive model with the source devices' weights as its prior, a ridge on
the source devices' additive predictions, and a ridge on these and on how often each option occurs,
whose penalty is the best by leave-one-out. Writes `transfer.json` and `transfer.md`.
`transfer_devices.py` leaves out one device after another instead.

Protocols: cells as HELP (samples from 0..899, test on 900..1899, both without the fastest and the
slowest tenth of the device; sources see 0..899). FBNet with HELP's devices at 10 samples and
NASFLAT's splits at 20: samples from the whole table, test on all the rest, sources see the first
800. Chosen samples are taken from a random half of those that a draw could take, so that they
differ between draws.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.metrics import coverage, spearman
from hwnas_jax.cost.judge.protocols import Task, fbnet_tasks, help_cells, help_split, source_rows
from hwnas_jax.cost.models.prior import TransferConfig, choose_samples, learn_prior
from hwnas_jax.cost.models.sources import one_hot

OURS, CHOSEN, ADDITIVE, RIDGE = "transfer, random", "transfer, chosen", "additive", "source ridge"
COUNTS = "ridge on counts and sources"
PENALTIES = np.logspace(0, 3, 25)
PUBLISHED = {
    ("cells", 10): {"HELP, published": 0.932},
    ("FD", 10): {"HELP, published": 0.910},
    ("FD", 20): {"NASFLAT, published": 0.961},
    ("F1", 20): {"NASFLAT, published": 0.577},
    ("F2", 20): {"NASFLAT, published": 0.809},
    ("F3", 20): {"NASFLAT, published": 0.871},
    ("F4", 20): {"NASFLAT, published": 0.814},
    ("FA", 20): {"NASFLAT, published": 0.734},
}


class Simple:
    """The simple models of one set of sources."""

    def __init__(self, table, task, rows):
        encoded = one_hot(table.space, table.architectures)
        self.encoded = encoded - encoded[rows].mean(axis=0)
        weights, missed = [], []
        for device in task.sources:
            costs = table.values["latency_ms"][table.row(device)][rows]
            weight = ridge(self.encoded[rows], costs / costs.mean() - 1, 0.1)
            weights.append(weight)
            missed.append(np.mean((costs / costs.mean() - 1 - self.encoded[rows] @ weight) ** 2))
        self.weights = np.array(weights)
        self.noise = float(np.median(missed))
        counts = encoded.reshape(len(encoded), table.space.num_decisions, -1).sum(axis=1)
        both = np.c_[counts, self.encoded @ self.weights.T]
        both -= both.mean(axis=0)
        self.both = both[:, both.std(axis=0) > 0] / both.std(axis=0)[both.std(axis=0) > 0]

    def additive(self, samples, costs):
        """Prior weights: mean and covariance over the sources; closed-form posterior."""
        mean, apart = self.weights.mean(axis=0), self.weights - self.weights.mean(axis=0)
        covariance = apart.T @ apart / max(len(apart) - 1, 1) + 1e-4 * np.eye(len(mean))
        seen = self.encoded[samples]
        scale = costs.mean() / (1 + seen @ mean).mean()
        gram = seen @ covariance @ seen.T + self.noise * np.eye(len(samples))
        left = costs / scale - 1 - seen @ mean
        return self.encoded @ (mean + covariance @ seen.T @ np.linalg.solve(gram, left))

    def source_ridge(self, samples, costs):
        """Prior weight 1/V on each source's additive prediction, penalty 0.03."""
        predicted = 1 + self.encoded @ self.weights.T
        count = predicted.shape[1]
        even = np.full(count, 1 / count)
        seen = predicted[samples]
        left = costs / costs.mean() * (seen @ even).mean() - seen @ even
        gram = seen.T @ seen + 0.03 * np.eye(count)
        return predicted @ (even + np.linalg.solve(gram, seen.T @ left))

    def counts_ridge(self, samples, costs):
        """Option counts and source predictions, standardised; penalty by leave-one-out."""
        seen, left = self.both[samples], costs - costs.mean()
        centred = seen - seen.mean(axis=0)
        gram, found = centred @ centred.T, []
        for penalty in PENALTIES:
            hat = gram @ np.linalg.inv(gram + penalty * np.eye(len(gram))) + 1 / len(gram)
            found.append((((left - hat @ left) / (1 - np.diag(hat))) ** 2).sum())
        return self.both @ ridge(centred, left, PENALTIES[int(np.argmin(found))])


def ridge(features, targets, penalty):
    gram = features.T @ features + penalty * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ targets)


def evaluate(table, task, sizes, draws, config, *, cells, skipped=()):
    """Returns by samples, method and device the Spearman of each draw, and the coverage of ours.

    `skipped` are those of our two ways to take samples that are left out.
    """
    rows = source_rows(table)
    started = time.perf_counter()
    prior = learn_prior(table, task.sources, config, rows=rows)
    learned_s = time.perf_counter() - started
    simple = Simple(table, task, rows)
    features = np.c_[np.ones(len(table.architectures)), prior.features(table.architectures)]
    scores, covered = {}, {}
    for size in sizes:
        for device in task.targets:
            costs = table.values["latency_ms"][table.row(device)]
            pool, test = help_cells(costs) if cells else (np.arange(len(costs)),) * 2
            for draw in range(draws):
                rng = np.random.default_rng(draw)
                random = rng.choice(pool, size, replace=False)
                half = rng.permutation(pool)[: len(pool) // 2]
                taken = {} if OURS in skipped else {OURS: random}
                if CHOSEN not in skipped:
                    taken[CHOSEN] = half[choose_samples(prior, table.architectures[half], size)]
                for method, samples in taken.items():
                    rest = np.setdiff1d(test, samples)
                    posterior = prior.condition(table.architectures[samples], costs[samples])
                    mean = features[rest] @ posterior.mean
                    wide = ((features[rest] @ posterior.covariance) * features[rest]).sum(axis=1)
                    std = np.sqrt(np.maximum(wide, 0) + posterior.noise)
                    _add(scores, (size, method, device), spearman(costs[rest], mean))
                    _add(covered, (size, method, device), coverage(costs[rest], mean, std, 0.9))
                rest = np.setdiff1d(test, random)
                for method, fit in (
                    (ADDITIVE, simple.additive), (RIDGE, simple.source_ridge),
                    (COUNTS, simple.counts_ridge),
                ):  # fmt: skip
                    said = fit(random, costs[random])[rest]
                    _add(scores, (size, method, device), spearman(costs[rest], said))
    return scores, covered, learned_s


def _add(found, key, value):
    found.setdefault(key, []).append(value)


def summarise(name, task, scores, covered, learned_s):
    """Returns plain values: per samples and method the devices' means, and mean and spread."""
    rows = []
    for size, method in sorted({key[:2] for key in scores}):
        each = np.array([scores[size, method, device] for device in task.targets])
        row = {
            "task": name, "samples": size, "method": method,
            "devices": dict(zip(task.targets, each.mean(axis=1).tolist(), strict=True)),
            "mean": float(each.mean()), "spread": float(each.mean(axis=0).std(ddof=1)),
            "draws": each.shape[1], "learned_s": learned_s,
        }  # fmt: skip
        if (size, method, task.targets[0]) in covered:
            row["coverage"] = {
                device: float(np.mean(covered[size, method, device])) for device in task.targets
            }
        rows.append(row)
    return rows


def markdown(rows):
    """Returns one table a task, and the geometric means over the FBNet tasks."""
    lines = []
    for task, size in dict.fromkeys((row["task"], row["samples"]) for row in rows):
        here = [row for row in rows if (row["task"], row["samples"]) == (task, size)]
        devices = list(here[0]["devices"])
        lines += [f"\n### {task}, {size} samples, {here[0]['draws']} draws\n",
                  f"| method | {' | '.join(devices)} | mean (s.d. over draws) |",
                  f"|---{'|---' * (len(devices) + 1)}|"]  # fmt: skip
        for row in here:
            cells = " | ".join(f"{row['devices'][device]:.3f}" for device in devices)
            lines.append(f"| {row['method']} | {cells} | {row['mean']:.4f} ({row['spread']:.4f}) |")
        for name, value in PUBLISHED.get((task, size), {}).items():
            lines.append(f"| {name} |{' |' * len(devices)} {value:.3f} |")
        for row in here:
            if "coverage" in row:
                cells = " | ".join(f"{row['coverage'][device]:.2f}" for device in devices)
                lines.append(f"| in 90 % intervals: {row['method']} | {cells} | "
                             f"{np.mean(list(row['coverage'].values())):.2f} |")  # fmt: skip
    tasks = [task for task in dict.fromkeys(row["task"] for row in rows) if task.startswith("F")]
    for size in sorted({row["samples"] for row in rows}):
        found = {row["task"] for row in rows if row["samples"] == size} & set(tasks)
        if len(found) < 6:
            continue
        lines += [f"\n### FBNet, geometric mean over {' '.join(tasks)}, {size} samples\n",
                  "| method | mean |", "|---|---|"]  # fmt: skip
        for method in dict.fromkeys(row["method"] for row in rows):
            means = [
                row["mean"]
                for row in rows
                if (row["samples"], row["method"]) == (size, method) and row["task"] in found
            ]
            lines.append(f"| {method} | {np.exp(np.mean(np.log(means))):.4f} |")
        if size == 20:
            lines.append("| NASFLAT, published | 0.785 |")
    return "\n".join(lines).lstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("bench-transfer"))
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of samples; those published")
    parser.add_argument("--skip", nargs="+", choices=(OURS, CHOSEN), default=())
    parser.add_argument("--only", nargs="+", help="cells, FD, F1, F2, F3, F4, FA")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cells = load_table(arguments.data / "nb201_latency_help.npz")
    blocks = load_table(arguments.data / "fbnet_latency_help.npz")
    runs: dict[str, tuple[object, Task, tuple[int, ...]]] = {
        "cells": (cells, help_split(cells), (10, 20, 50))
    }
    for name, task in fbnet_tasks(blocks).items():
        runs[name] = (blocks, task, (10, 20, 50) if name == "FD" else (10, 20))
    rows, config = [], TransferConfig()
    for name, (table, task, sizes) in runs.items():
        if arguments.only and name not in arguments.only:
            continue
        found = evaluate(
            table, task, arguments.sizes or sizes, arguments.draws, config,
            cells=name == "cells", skipped=arguments.skip,
        )  # fmt: skip
        rows += summarise(name, task, *found)
        print(f"{name} done", flush=True)
        (arguments.out / "transfer.json").write_text(json.dumps(rows, indent=1) + "\n")
        (arguments.out / "transfer.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
