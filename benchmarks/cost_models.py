"""Judges cost models on published NAS-Bench-201 latencies: accuracy, intervals, gradients.

    python benchmarks/cost_models.py [--table nb201_latency_help] [--draws 10] [--out cost_models]

Needs the table (a path, or a name in the folder HWNAS_DATA). Each model is fitted to 900 random
cells and tested on all 14,725 others, ten times on the devices that are hard to predict; gradients
are compared with exact enumeration on the test devices of HELP. Writes <out>.json and <out>.md.
How close any model could come is judged from replicates: swapping the two inner nodes of a cell
whose edge between them is `none` gives the same network under another number.
"""

import argparse
from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.study import Study, run_study, temperature_rows
from hwnas_jax.files.json_files import write_json
from hwnas_jax.registry import Part
from hwnas_jax.spaces.nasbench201 import EDGES, OPERATIONS

HARD = ("raspi4", "pixel3", "silver_4114")
TARGETS = {"raspi4": (0.70, 0.965), "pixel3": (0.70, 0.96), "silver_4114": (0.80, None)}
WITHIN = 0.1


def replicates(architectures: np.ndarray) -> np.ndarray:
    """Returns the rows `int[n, 2]` of cells that are one network with its inner nodes swapped."""
    swapped_edges = [EDGES.index(pair) for pair in ((2, 0), (1, 0), (2, 1), (3, 0), (3, 2), (3, 1))]
    rows = {tuple(row): number for number, row in enumerate(architectures.tolist())}
    pairs = [
        (number, rows[tuple(row[edge] for edge in swapped_edges)])
        for row, number in rows.items()
        if row[EDGES.index((2, 1))] == OPERATIONS.index("none")
    ]
    return np.array([pair for pair in pairs if pair[0] < pair[1]])


def noise(table: CostTable, device: str) -> dict[str, float]:
    """Returns what the replicates of a device say about its noise.

    `bound` is above the share within 10 % that any function of the network can reach: with
    independent noise, both of a pair are within reach of one prediction with at least the square
    of that share (Jensen), and then they are within 1.1 / 0.9 of each other.
    """
    pairs = replicates(table.architectures)
    latency = table.values["latency_ms"][table.row(device)][pairs]
    latency = latency[~np.isnan(latency).any(axis=1)]
    ratio = latency.max(axis=1) / latency.min(axis=1)
    logs = np.log(ratio) / np.sqrt(2)
    return {
        "pairs": len(ratio),
        "median_ratio": float(np.median(ratio)),
        "sd_of_log": float(np.sqrt((logs**2).mean())),
        "if_normal": float((logs <= np.log1p(WITHIN)).mean()),
        "bound": float(np.sqrt((ratio <= (1 + WITHIN) / (1 - WITHIN)).mean())),
    }


def accuracy_lines(study: Study, noises: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "| device | model | within 1 / 5 / 10 % | Spearman | Kendall | MAPE "
        "| in 50 / 90 % intervals | fit s | replicates: normal / bound |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in study.summary():
        within = " / ".join(
            f"{100 * line[f'within_{p}']:.1f} ± {100 * (line[f'within_{p}_sd'] or 0):.1f}"
            for p in (1, 5, 10)
        )
        covered = " / ".join(
            "-" if line[f"covered_{p}"] is None else f"{100 * line[f'covered_{p}']:.1f}"
            for p in (50, 90)
        )
        noisy = noises[line["device"]]
        lines.append(
            f"| {line['device']} | {line['model']} | {within} | {line['spearman']:.4f} ± "
            f"{line['spearman_sd'] or 0:.4f} | {line['kendall']:.4f} | {line['mape']:.1%} "
            f"| {covered} | {line['fit_s']:.1f} | {noisy['if_normal']:.3f} / {noisy['bound']:.3f} |"
        )
    return lines


def gradient_lines(study: Study) -> list[str]:
    lines = [
        "| device | model | temperature | cosine by logits | the table's noise allows "
        "| cosine by gates | relaxation gap | error of the expected cost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in temperature_rows(study):
        lines.append(
            f"| {row['device']} | {row['model']} | {row['temperature']:g} "
            f"| {row['by_logits']:.4f} | {row['ceiling']:.4f} | {row['by_gates']:.4f} "
            f"| {row['gap']:.3%} | {row['error']:.2%} |"
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", default="nb201_latency_help")
    parser.add_argument("--models", nargs="+", default=["gaussian", "bayesian"])
    parser.add_argument("--devices", nargs="*", default=None, help="of the gradients; HELP's six")
    parser.add_argument("--hard", nargs="*", default=list(HARD), help="devices of the accuracy")
    parser.add_argument("--train", type=int, default=900)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("cost_models"))
    options = parser.parse_args()
    table = load_table(options.table)
    devices = options.devices if options.devices is not None else table.splits["test"]
    done = lambda n, total, what: print(f"{n} of {total} {what}", flush=True)  # noqa: E731
    models = [Part(name) for name in options.models]
    common = {"train": options.train, "progress": done}
    accuracy = run_study(table, options.hard, models, draws=options.draws,
                         fidelity_draws=2, **common)  # fmt: skip
    gradients = run_study(table, devices, models, draws=1, fidelity_draws=200, **common)
    noises = {device: noise(table, device) for device in (*options.hard, *devices)}
    found = {"accuracy": accuracy.to_dict(), "gradients": gradients.to_dict(), "noise": noises}
    write_json(options.out.with_suffix(".json"), found)
    lines = [
        f"# Cost models on {table.source}",
        "",
        f"Fitted to {options.train} random cells, tested on all others; mean and standard "
        f"deviation of {options.draws} draws. Replicates: share within 10 % if their noise is "
        "normal, and the bound for any noise.",
        "",
        *accuracy_lines(accuracy, noises),
        "",
        "One draw, on the devices whose gradients are compared:",
        "",
        *accuracy_lines(gradients, noises),
        "",
        "Gradients against exact enumeration, means over 200 standard normal logits:",
        "",
        *gradient_lines(gradients),
    ]
    options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
