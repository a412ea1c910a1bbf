"""What one supernet for several tasks costs, and whether its cells are good for each of them.

    python benchmarks/several_tasks.py steps
    HWNAS_DATA=FOLDER python benchmarks/several_tasks.py cells RUNS_FOLDER [--seeds 0 1 2]
        [--percentiles 40 75] [--steps 3000]

The data are the made scenes (16x16), the space is that of TransNAS-Bench-101's cells at 8 channels.

`steps` times a weight step and an architecture step of a supernet with the heads of three tasks,
and of one for each of the tasks alone. All take turns in one process, and a ratio is the median
over the turns with its quartiles.

`cells` searches under limits on multiply-adds: once for all three tasks, and once for each alone.
The cells that were found, and those of the controls of the same limit (`most_macs`, `random`,
`no_search`), are looked up in the published results of every task: the percentile among the cells
that use 97 to 100 % of the limit. Scenes are no photographs of rooms, so this says what the made
tasks are worth as a stand-in, too. FOLDER holds `transnas101_micro.npz`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import scipy

from hwnas_jax.cli import main as hwnas
from hwnas_jax.config import Config, ParallelConfig, Part, override
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.data.batches import Batch
from hwnas_jax.data.scenes import Scenes
from hwnas_jax.parallel.replicas import AXIS, Replicas
from hwnas_jax.runs.on_table import evaluate_on_table
from hwnas_jax.runs.run import Run
from hwnas_jax.search.gradient import make_search
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces import make_space
from hwnas_jax.tabular import load_benchmark
from hwnas_jax.tasks import make_task

TASKS = ("class_object", "segmentsemantic", "autoencoder")
SPACE = {"channels": 8, "macro": "41414", "stem_halvings": 0}


def turn_of(tasks, options):
    """Returns a function that takes some steps of the supernet for some tasks."""
    data = Scenes(tasks=tasks, examples=2 * options.batch + 20).load()
    task = make_task(Part(data.task), data)
    space = make_space(
        "transnas_cell", SPACE, input_shape=data.input_shape, num_outputs=data.num_outputs,
        outputs=task.outputs(data.num_outputs),
    )  # fmt: skip
    config = override(
        Config(), search__relaxation=Part(options.relaxation), search__steps=1000,
        search__warmup_steps=0,
    )  # fmt: skip
    search = make_search(make_methods(space, task, config), config.search)
    replicas = Replicas.from_config(ParallelConfig(devices=1))
    rows = np.arange(2 * options.batch).reshape(2, options.batch) % len(data.train_inputs)
    keys = jax.random.split(jax.random.key(2), options.batch)
    batches = {
        half: Batch(
            (data.train_inputs[rows[n]] / 255).astype(np.float32), data.train_targets[rows[n]], keys
        )
        for n, half in enumerate(("weight", "arch"))
    }

    def steps(state, given):
        def step(state, _):
            return search.step(state, given["batches"], given["cost_model"], AXIS)

        return jax.lax.scan(step, state, length=options.length)

    given = replicas.share({"batches": batches, "cost_model": AnalyticModel.count(space)})
    state = [replicas.place(jax.jit(search.init)(jax.random.key(1), {"macs": 1e8}))]
    dispatch = replicas.compile(steps)

    def turn():
        state[0], info = dispatch(state[0], given)
        jax.block_until_ready((state[0], info))

    turn()
    return turn


def time_steps(options):
    """Prints what a step of the supernet for all tasks takes beside those for one each."""
    arms = {"all three": turn_of(TASKS, options), **{t: turn_of((t,), options) for t in TASKS}}
    seconds = {name: [] for name in arms}
    for _ in range(options.turns):
        for name, turn in arms.items():
            start = time.perf_counter()
            turn()
            seconds[name].append((time.perf_counter() - start) / options.length)
    for name, values in seconds.items():
        ratios = np.array(seconds["all three"]) / np.array(values)
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        print(
            f"{name:<16} {1e3 * np.median(values):7.2f} ms a step; all three take {middle:.2f} "
            f"times as long ({low:.2f} to {high:.2f})"
        )


def sweep(folder, tasks, options):
    """Searches cells for some tasks, unless that is done."""
    if not (folder / "networks.json").exists():
        status = hwnas([
            "sweep", "transnas_cell", *(["--resume"] if folder.exists() else ["--run-dir"]),
            str(folder),
            *([] if folder.exists() else [
                "--data.name", "scenes", "--data.args.tasks", json.dumps(tasks),
                "--cost.model", "analytic", "--target.metric", "macs", "--budget", "upper_bound",
                "--percentiles", *options.percentiles, "--seeds", *options.seeds,
                "--search.steps", str(options.steps), "--derive.confirm", "0", "--no-retrain",
                "--derive.rule", options.rule,
                "--derive.controls", "random", "most_macs", "no_search",
            ]),
            "--until", "derive",
        ])  # fmt: skip
        if status:
            sys.exit(status)
    return Run.open(folder)


def look_up(options):
    """Prints where the cells of every search stand in the results of every task."""
    rows = []
    for name, tasks in {"all three": TASKS, **{task: (task,) for task in TASKS}}.items():
        run = sweep(options.folder / name.replace(" ", "_"), tasks, options)
        seeds = {member.label: member.seed for member in run.members}
        for task in TASKS:
            table = load_benchmark("transnas101_micro", data_set=task)
            for row in evaluate_on_table(run, table, sample=0)["networks"]:
                rows.append(row | {"searched": name, "task": task, "seed": seeds[row["search"]]})
    for task in TASKS:
        print(f"\n{task}: percentile among the cells that use 97 to 100 % of the limit")
        mine = by_seed(rows, task, "all three", "search")
        arms = [("all three", "search"), (task, "search")]
        arms += [("all three", origin) for origin in ("most_macs", "random", "no_search")]
        for searched, origin in arms:
            values = by_seed(rows, task, searched, origin)
            line = f"  {origin:<10} {searched if origin == 'search' else '':<16}"
            line += f"{values.mean():6.1f}"
            if (searched, origin) != ("all three", "search"):
                gains = mine - values
                half = scipy.stats.t.ppf(0.975, len(gains) - 1) * scipy.stats.sem(gains)
                line += f"   all three are better by {gains.mean():6.1f} ± {half:.1f}"
            print(line)


def by_seed(rows, task, searched, origin):
    """Returns the mean percentile over the limits of each seed."""
    chosen = [
        row for row in rows
        if (row["task"], row["searched"], row["origin"]) == (task, searched, origin)
    ]  # fmt: skip
    return np.array([
        np.mean([row["window_percentile"] for row in chosen if row["seed"] == seed])
        for seed in sorted({row["seed"] for row in chosen})
    ])  # fmt: skip


def main():
    """Times steps, or looks cells up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    steps = commands.add_parser("steps")
    steps.add_argument("--batch", type=int, default=64)
    steps.add_argument("--length", type=int, default=10, help="steps in a turn")
    steps.add_argument("--turns", type=int, default=15)
    steps.add_argument("--relaxation", default="sampled_path")
    cells = commands.add_parser("cells")
    cells.add_argument("folder", type=Path)
    cells.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    cells.add_argument("--percentiles", nargs="+", default=["40", "75"])
    cells.add_argument("--steps", type=int, default=3000)
    cells.add_argument("--rule", default="best_by_supernet")
    options = parser.parse_args()
    print(describe_device(), describe_software())
    (time_steps if options.command == "steps" else look_up)(options)


if __name__ == "__main__":
    main()
