"""Does a search on CIFAR-10 find better cells than its controls, by a table of trained accuracies?

    HWNAS_DATA=FOLDER python benchmarks/search_on_table.py RUN_FOLDER [--space nasbench_macro]
        [--percentiles 40 75] [--seeds 5 6 7 8 9] [--device gold_6226]
        [-- any options of hwnas sweep]

Searches on images of 16x16 pixels (`cifar10_images.py`). Cells of NAS-Bench-201, at 8 channels and
one cell a stage, are searched under limits on the latency that a published table gives for the
cells on a device: a cost model is fitted to 900 of them. Networks of NAS-Bench-Macro, at a quarter
of their width, are searched under limits on multiply-adds. What the searches and their controls
derive is then looked up in the published accuracies: the percentile among all networks that use 97
to 100 % of the limit, and the regret to the best feasible one. FOLDER holds `cifar10_jpeg.npz`,
`nb201_latency_help.npz`, `nb201_accuracy.npz` and `nasbench_macro_cifar10.npz`.

The differences between the search and each control are paired: of one seed they are averaged over
the limits, and the interval is Student's t over the seeds.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import scipy

from hwnas_jax.cli import main as hwnas
from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.runs.on_table import evaluate_on_table
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.tabular import load_benchmark

SIZE, CHANNELS, CELLS, SAMPLE = 16, 8, 1, 900
CELLS_OF, LAYERS_OF = "nasbench201", "nasbench_macro"
HERE = Path(__file__).resolve().parent


def words_of(options):
    """Returns the words of the space and its costs; writes the measurements of cells."""
    if options.space == LAYERS_OF:
        return [
            "--space.name", LAYERS_OF, "--space.args.width", "0.25", "--cost.model", "analytic",
            "--target.metric", "macs",
        ]  # fmt: skip
    measurements = options.folder.with_suffix(".csv")
    write_measurements(measurements, options.device)
    return [
        "--space.args.channels", str(CHANNELS), "--space.args.cells", str(CELLS),
        "--measurements", str(measurements),
    ]  # fmt: skip


def write_measurements(path, device):
    """Writes the published latencies of 900 cells as measurements of the space that is searched."""
    space = NasBench201(input_shape=(SIZE, SIZE, 3), num_outputs=10, channels=CHANNELS, cells=CELLS)
    table = load_observations("nb201_latency_help", device=device).observations
    cells = table.architectures
    rows = np.unique(space.canonical(cells), axis=0, return_index=True)[1]
    rows = np.random.default_rng(0).permutation(rows)[:SAMPLE]
    lines = [
        f"# space: {json.dumps(space.spec)}", f"# device: {device}", "# batch_size: 1",
        "# runtime: published", "architecture,latency_ms",
    ]  # fmt: skip
    latency = table.values["latency_ms"]
    lines += [f"{space.to_string(cells[row])},{latency[row]:.6g}" for row in rows]
    path.write_text("\n".join(lines) + "\n")


def paired(rows, key, sign):
    """Prints means by origin, and the paired difference of the search to every control."""
    origins = list(dict.fromkeys(row["origin"] for row in rows))
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    mean = {
        origin: np.array([
            np.mean([row[key] for row in rows if row["origin"] == origin and row["seed"] == seed])
            for seed in seeds
        ])
        for origin in origins
    }  # fmt: skip
    for origin in origins:
        line = f"{key:<20} {origin:<10} {mean[origin].mean():7.2f} over {len(seeds)} seeds"
        if origin != "search":
            gains = sign * (mean["search"] - mean[origin])
            line += f"; the search is better by {gains.mean():6.2f}"
            if len(seeds) > 1:
                half = scipy.stats.t.ppf(0.975, len(seeds) - 1) * scipy.stats.sem(gains)
                line += f" ± {half:.2f}"
        print(line)


def main():
    """Searches, derives and looks up."""
    words, own = sys.argv[1:], []
    if "--" in words:
        words, own = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--space", choices=(CELLS_OF, LAYERS_OF), default=CELLS_OF)
    parser.add_argument("--percentiles", nargs="+", default=["40", "75"])
    parser.add_argument("--seeds", nargs="+", default=["5", "6", "7", "8", "9"])
    parser.add_argument("--device", default="gold_6226")
    parser.add_argument("--sample", type=int, default=100, help="cells that each supernet ranks")
    options = parser.parse_args(words)
    images = Path(os.environ["HWNAS_DATA"]) / "cifar10_jpeg.npz"
    if not (options.folder / "networks.json").exists():
        status = hwnas([
            "sweep", "digits", "--run-dir", str(options.folder),
            "--data.name", f"{HERE / 'cifar10_images.py'}:Cifar10Images",
            "--data.path", str(images), "--data.shift", "2", "--data.flip",
            *words_of(options), "--percentiles", *options.percentiles,
            "--seeds", *options.seeds, "--derive.confirm", "0", "--no-retrain",
            "--until", "derive", "--derive.controls", "random", "most_macs", "no_search", *own,
        ])  # fmt: skip
        if status:
            sys.exit(status)
    run, published, table = Run.open(options.folder), None, "nasbench_macro_cifar10"
    if options.space == CELLS_OF:
        published = load_observations("nb201_latency_help", device=options.device)
        table = "nb201_accuracy"
    found = evaluate_on_table(
        run, load_benchmark(table), published=published, sample=options.sample
    )
    seeds = {member.label: member.seed for member in run.members}
    rows = [
        row | {
            "seed": seeds[row["search"]], "accuracy": 100 * row["quality"],
            "regret": 100 * row["regret"],
        }
        for row in found["networks"]
    ]  # fmt: skip
    for row in rows:
        seen = row.get("published_cost")
        print(
            f"{row['search']:<16} {row['origin']:<10} {row['string']} {row['accuracy']:.2f} "
            f"percentile {row['window_percentile']:.0f} regret {row['regret']:.2f} "
            f"predicted {row['predicted']:.4g}" + (f", published {seen:.4g}" if seen else "")
        )
    for origin, means in found["origins"].items():
        over = means["over_limit"], means.get("over_limit_published", "unknown")
        print(f"{origin}: over the limit as predicted {over[0]}, as published {over[1]}")
    paired(rows, "window_percentile", 1)
    paired(rows, "regret", -1)
    for search in found["searches"]:
        for rank in search["ranks"]:
            print(search["search"], json.dumps(rank))


if __name__ == "__main__":
    main()
