"""Whether a search that begins with a trained network needs fewer steps than one from nothing.

    python benchmarks/recycling.py [--seeds 5] [--steps 600] [--epochs 20] [--out bench-recycling]

Digits, cells of NAS-Bench-201 with 8 channels. For every seed a small search of 4 channels ends in
a trained network. It grows to 8 channels (Net2Net) and becomes the path that it is in the supernet
of the next search, which has half of the steps. Beside it stand a search from nothing with all
steps, one with half of them, and one with half of them whose network, the same that the recycled
search trains, also begins its training with the trained network's weights. All networks are
trained for the same number of epochs and have the same budget of multiply-accumulates. Printed are
the test accuracies by seed, and their differences to the search with all steps, with 95 %
intervals over the seeds (Student's t). The runs lie in the folder of results, and are continued
where they were stopped. The defaults take about 25 minutes on one core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import stats

from hwnas_jax.config import Config, override
from hwnas_jax.display import Terminal
from hwnas_jax.registry import Part
from hwnas_jax.runs.run import Run

ARMS = ("fresh", "fresh, half", "recycled, half", "recycled twice, half")


def config_of(options: argparse.Namespace, seed: int, channels: int, steps: int) -> Config:
    """Returns a search with a counted budget, so that nothing is timed."""
    return override(
        Config(), name="recycling", seed=seed, data__name="digits", target__metric="macs",
        cost__model=Part("analytic"),
        space__args={"channels": channels, "cells": 1}, search__steps=steps,
        search__warmup_steps=steps // 2, search__steps_per_dispatch=min(50, steps // 2),
        derive__rule=Part("most_probable"), derive__confirm=0, derive__controls=(),
        retrain__epochs=options.epochs, parallel__devices=1,
    )  # fmt: skip


def run_of(folder: Path, config: Config) -> Run:
    """Returns a run that has retrained its network, new or continued."""
    display = Terminal()
    new = not folder.exists()
    run = Run.create(config, folder, display=display) if new else Run.open(folder, display=display)
    run.all(until="retrain")
    return run


def of_seed(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Returns the test accuracy of every arm."""
    where = options.out / f"seed{seed}"
    where.mkdir(parents=True, exist_ok=True)
    half = options.steps // 2
    small = run_of(where / "small", config_of(options, seed, 4, half))
    whole, part = (config_of(options, seed, 8, steps) for steps in (options.steps, half))
    known = str(small.folder)
    recycled = override(part, search__start_from=known, search__start_with="network")
    configs = {
        "fresh": whole,
        "fresh, half": part,
        "recycled, half": recycled,
        "recycled twice, half": override(recycled, retrain__start_from=known),
    }
    return {
        arm: run_of(where / arm.replace(", ", "-").replace(" ", "-"), config).network()[
            "test_metric"
        ]
        for arm, config in configs.items()
    }


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Returns the mean and the limits of its 95 % interval; without spread they are equal."""
    mean, error = float(values.mean()), float(stats.sem(values)) if len(values) > 1 else np.nan
    reach = error * float(stats.t.ppf(0.975, max(1, len(values) - 1)))
    return mean, mean - reach, mean + reach


def main():
    """Runs all seeds and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("bench-recycling"))
    options = parser.parse_args()
    found = [of_seed(options, seed) for seed in range(options.seeds)]
    (options.out / "recycling.json").write_text(json.dumps(found, indent=1))
    display = Terminal()
    rows = [[str(seed), *(f"{one[arm]:.1%}" for arm in ARMS)] for seed, one in enumerate(found)]
    display.table("test accuracy by seed", ["seed", *ARMS], rows)
    whole = np.array([one["fresh"] for one in found])
    rows = []
    for arm in ARMS[1:]:
        mean, low, high = interval(np.array([one[arm] for one in found]) - whole)
        rows.append([arm, f"{100 * mean:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"])
    display.table(
        f"difference to {options.steps} fresh steps, points", ["arm", "mean", "95 %"], rows
    )


if __name__ == "__main__":
    main()
