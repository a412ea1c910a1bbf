"""A cost model for a new device or runtime, left out one after another, beside a ridge.

    python benchmarks/transfer_devices.py --data FOLDER [--draws 10] [--first 100]
        [--devices NAME ...] [--out FOLDER]

`FOLDER` holds `nb201_latency_help.npz` and `nb201_pi5_pixel.npz`. Each device is predicted from a
few random samples of it and HELP's nine training devices, without the device itself. The runtimes
of the Raspberry Pi 5 and the Pixel are unlike all of these; only the cells that were measured there
count, not those that took the figures of an isomorphic one. `transfer` is compared, on the same
samples, with a ridge on the source devices' additive predictions: Spearman over 4,000 other cells,
paired over the draws, and the share of these cells inside the 90 % intervals. Seeds of the draws
start at `--first`. Writes `transfer_devices.json` and `transfer_devices.md` after every device.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
from transfer import Simple

from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.metrics import coverage, spearman
from hwnas_jax.cost.judge.protocols import Task, help_split, source_rows
from hwnas_jax.cost.models.prior import learn_prior

SIZES = (5, 10, 20)
TESTED = 4000
LEVEL = 0.05


def targets(folder):
    """Yields the name of every target, its costs, and the rows that were measured on it."""
    helped = load_table(folder / "nb201_latency_help.npz")
    every = np.arange(len(helped.architectures))
    for device in helped.devices:
        yield device, helped.values["latency_ms"][helped.row(device)], every
    pixel = load_table(folder / "nb201_pi5_pixel.npz", task="cifar100")
    assert np.array_equal(pixel.architectures, helped.architectures)
    with np.load(folder / "nb201_pi5_pixel.npz", allow_pickle=False) as file:
        measured = np.flatnonzero(file["rep_idx"] == every)
    for device in pixel.devices:
        yield device, pixel.values["latency_ms"][pixel.row(device)], measured


def judge(table, prior, simple, costs, rows, size, seed):
    """Returns the Spearman of both models, and the coverage and half width of our intervals."""
    rng = np.random.default_rng(seed)
    samples = rng.choice(rows, size, replace=False)
    rest = np.setdiff1d(rng.choice(rows, min(TESTED, len(rows)), replace=False), samples)
    posterior = prior.condition(table.architectures[samples], costs[samples])
    features = np.c_[np.ones(len(rest)), prior.features(table.architectures[rest])]
    mean = features @ posterior.mean
    variance = ((features @ posterior.covariance) * features).sum(axis=1)
    std = np.sqrt(np.maximum(variance, 0) + posterior.noise)
    return {
        "transfer": spearman(costs[rest], mean),
        "ridge": spearman(costs[rest], simple.source_ridge(samples, costs[samples])[rest]),
        "coverage": coverage(costs[rest], mean, std, 0.9),
        "width": float(np.median(1.645 * std) / np.median(costs[rest])),
    }


def worse(rows):
    """Returns the one-sided probability that `transfer` only seems worse than the ridge."""
    gain = np.array([row["transfer"] - row["ridge"] for row in rows])
    return float(scipy.stats.ttest_1samp(gain, 0, alternative="less").pvalue)


def markdown(found):
    """Returns a table of the devices, and what holds over all of them."""
    lines = [
        "| device | samples | ridge | `transfer` | difference (s.e.) | in 90 % intervals "
        "| half width |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    tests = {}
    for (device, size), rows in found.items():
        mean = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
        gain = np.array([row["transfer"] - row["ridge"] for row in rows])
        tests[device, size] = worse(rows)
        lines.append(
            f"| {device} | {size} | {mean['ridge']:.3f} | {mean['transfer']:.3f} "
            f"| {gain.mean():+.3f} ({gain.std(ddof=1) / np.sqrt(len(gain)):.3f}) "
            f"| {mean['coverage']:.2f} | {mean['width']:.0%} |"
        )
    for size in SIZES:
        here = [rows for (_, n), rows in found.items() if n == size]
        if not here:
            continue
        means = {key: [np.mean([row[key] for row in rows]) for rows in here] for key in here[0][0]}
        outside = sum(not 0.85 <= value <= 0.95 for value in means["coverage"])
        lost = sum(tests[key] < LEVEL for key in tests if key[1] == size)
        lines.append(
            f"\n{size} samples, {len(here)} devices: Spearman {np.mean(means['transfer']):.4f}, "
            f"ridge {np.mean(means['ridge']):.4f}; worse with p < {LEVEL} on {lost}, least p "
            f"{min(v for k, v in tests.items() if k[1] == size):.4f}; coverage "
            f"{np.mean(means['coverage']):.3f} ({min(means['coverage']):.2f} to "
            f"{max(means['coverage']):.2f}), outside 85 to 95 % on {outside}"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first", type=int, default=100, help="seed of the first draw")
    parser.add_argument("--devices", nargs="+", help="in this order; all when left out")
    parser.add_argument("--out", type=Path, default=Path("bench-transfer-devices"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = load_table(arguments.data / "nb201_latency_help.npz")
    known, rows, held = help_split(table).sources, source_rows(table), {}
    found = {}
    every = {device: rest for device, *rest in targets(arguments.data)}
    for device in arguments.devices or every:
        costs, measured = every[device]
        sources = tuple(name for name in known if name != device)
        if sources not in held:
            task = Task(sources, (device,))
            held[sources] = learn_prior(table, sources, rows=rows), Simple(table, task, rows)
        for size in SIZES:
            seeds = range(arguments.first, arguments.first + arguments.draws)
            found[device, size] = [
                judge(table, *held[sources], costs.astype(float), measured, size, seed)
                for seed in seeds
            ]
        print(f"{device} done", flush=True)
        plain = [{"device": d, "samples": n, "draws": each} for (d, n), each in found.items()]
        (arguments.out / "transfer_devices.json").write_text(json.dumps(plain, indent=1) + "\n")
        (arguments.out / "transfer_devices.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
