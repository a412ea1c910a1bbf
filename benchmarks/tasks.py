"""What a search finds for tasks of many kinds, beside random networks and a fixed one.

    python benchmarks/tasks.py [classification darcy ...] [--seeds 0 1 2] [--out bench-tasks]
        [--space nasbench201] [--effort 1.0] [--show]

For every task and seed the whole path is gone: the device is profiled, a search runs under a budget
on latency (the median that is predicted over the space), and what it derives is trained from
scratch, tested and measured. Beside it stand, each trained with the same settings and seed:

random  what random search with as many trainings derives: networks drawn within the same budget,
        as many as the short trainings and the supernet of the search could have paid for, trained
        shortly and halved by the same rule.
wide    a wide residual network of six 3x3 convolutions in blocks of two, which is the backbone that
        DASH searches on. Nothing of it is searched but its width: it has the most channels with
        which it keeps the same budget when it is timed in turn with the network that was found.

The table has means over the seeds, and the difference paired over the seeds with its 95 % interval
by Student's t, signed so that more is better for the search. It is written to `tasks.md` and
`tasks.json` of the folder of results after every seed. What is there is not done again, so that a
benchmark that was stopped goes on; `--show` only writes the table again. `--effort 0.1` takes a
tenth of all steps and epochs, which tries the script out and shows nothing else.

Darcy flow, whose images are the largest, took 7 min 50 s for one seed on 2 CPU cores of a busy
machine, with a cold compilation cache: 545 s of CPU time.
"""

import argparse
import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from search_against_random import by_random_search

from hwnas_jax.config import Config, DataConfig, SpaceConfig, override
from hwnas_jax.cost import load_measurements
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.measure.calls import compiled_calls
from hwnas_jax.cost.measure.networks import measure_networks
from hwnas_jax.cost.measure.runtimes import make_runtime
from hwnas_jax.cost.measure.timing import StoppingRule, sample_interleaved
from hwnas_jax.data.nasbench360.definitions import TASKS360
from hwnas_jax.display import Terminal
from hwnas_jax.files.json_files import write_json
from hwnas_jax.registry import Part
from hwnas_jax.report.difference import over_seeds
from hwnas_jax.report.task_metric import TaskMetric
from hwnas_jax.runs.retrain import train
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces import make_space
from hwnas_jax.tasks import described

CHANNELS = 8
SEQUENCES = SpaceConfig(
    name="dash",
    args={"channels": CHANNELS, "blocks": 1, "kernels": "3,7,11", "dilations": "1,3,7"},
)
IMAGES = {
    "nasbench201": SpaceConfig(name="nasbench201", args={"channels": CHANNELS, "cells": 1}),
    "dash": SpaceConfig(
        name="dash",
        args={"channels": CHANNELS, "blocks": 1, "kernels": "3,5,7", "dilations": "1,3"},
    ),
}
ORIGINS = ("searched", "random", "wide")
WIDEST = 64
FILE = "compared.json"


class Task(NamedTuple):
    """A task as it is learned here.

    Attributes:
      data: where it is learned from.
      epochs: of the last training.
      sequences: whether its inputs are sequences, which are searched in a space of their own.
    """

    data: DataConfig
    epochs: int = 30
    sequences: bool = False


def _made(name: str, **args: Any) -> DataConfig:
    return DataConfig(name=name, args=args)


TASKS = {
    "classification": Task(_made("cluttered_digits"), 8),
    "multi_label": Task(_made("digits_multi_label", repeats=1)),
    "regression": Task(_made("gratings", examples=2000)),
    "segmentation": Task(_made("digit_scenes")),
    "surfaces": Task(_made("scenes", tasks="segmentsemantic", examples=1500)),
    "normals": Task(_made("scenes", tasks="normal", examples=1500)),
    "autoencoding": Task(_made("digit_scenes", learn="image")),
    "darcy": Task(_made("darcy", coordinates=True), 20),
    "heartbeats": Task(_made("ecg_like", examples=2000), sequences=True),
    "gestures": Task(_made("emg_like", examples=2000), sequences=True),
    "several": Task(_made("scenes", examples=1500)),
}


def config_of(name: str, seed: int, options: argparse.Namespace) -> Config:
    """Returns the experiment of a task and a seed."""
    task, effort = TASKS[name], options.effort
    warmup = max(1, round(10 * effort)) * 40
    space = SEQUENCES if task.sequences else IMAGES[options.space]
    config = override(
        Config(), name=name, seed=seed, data=task.data, space=space, parallel__devices=1,
        profile__networks=24, profile__batch_size=32,
        search__warmup_steps=warmup, search__steps=2 * warmup, search__batch_size=32,
        search__steps_per_dispatch=20,
        derive__rule=Part("halving", {"steps": max(4, round(80 * effort))}), derive__confirm=0,
        derive__controls=(), retrain__batch_size=32,
        retrain__epochs=max(1, round(task.epochs * effort)),
    )  # fmt: skip
    # All kernels of DASH are mixed into one, so that drawing a single one would save nothing.
    mixed = space.name == "dash"
    return override(config, search__relaxation=Part("gumbel_softmax")) if mixed else config


def compare(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Returns what the three networks of a task and a seed reach and cost.

    What the file of results holds already is taken from there.
    """
    folder, started = options.out / f"{name}-{seed}", time.process_time()
    config = config_of(name, seed, options)
    run = Run.open(folder, display=Terminal()) if folder.exists() else Run.create(
        config, folder, display=Terminal()
    )  # fmt: skip
    if (run.config.space, run.config.retrain) != (config.space, config.retrain):
        raise SystemExit(f"{folder} holds a run of other settings: name another --out")
    run.all(until="measure")
    path = folder / FILE
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    entry = run.network()
    known |= {
        "task": name, "seed": seed, "effort": options.effort, "space": run.space.name,
        "target_ms": run.target.value, "metric": described(run.task, run.dataset),
        "searched": _row(entry["string"], entry["test_metric"], entry["measured"]),
    }  # fmt: skip
    for origin, make in (("random", random_network), ("wide", wide_network)):
        if origin not in known:
            known[origin] = make(run, entry)
            write_json(path, known)
    if "cpu_s" not in known:
        known["cpu_s"] = round(time.process_time() - started)
        write_json(path, known)
    return known


def _row(string: str, value: float, latency_ms: float) -> dict[str, Any]:
    return {"string": string, "value": float(value), "latency_ms": float(latency_ms)}


def _trained(run: Run, build: Any, entry: dict[str, Any], label: str) -> float:
    """Returns the test metric of a network that is trained as the one that was found."""
    trained = train(build, run.dataset, run.config, label=label, seed=entry["training_seed"])
    return trained.test_metric


def random_network(run: Run, entry: dict[str, Any]) -> dict[str, Any]:
    """Returns what random search with as many trainings reaches."""
    network, _ = by_random_search(run, 0)
    value = _trained(run, functools.partial(run.space.network, network), entry, "random")
    measured = measure_networks(
        run.space, network[None], load_measurements(run.folder / "measurements.json", run.space),
        run.config.profile, seed=run.config.seed, around_ms=run.target.value,
    )  # fmt: skip
    return _row(run.space.to_string(network), value, measured.corrected[0].median)


def wide_network(run: Run, entry: dict[str, Any]) -> dict[str, Any]:
    """Returns what a wide residual network reaches that takes as long as the budget allows."""
    data, architecture = run.dataset, np.zeros(6, np.int32)

    def space_of(channels):
        return make_space(
            "dash", {"channels": channels, "blocks": 1, "kernels": "3", "dilations": "1"},
            input_shape=data.input_shape, num_outputs=data.num_outputs,
            outputs=run.task.outputs(data.num_outputs),
        )  # fmt: skip

    @functools.cache
    def latency_ms(channels):
        return entry["measured"] * ratio_of(run, space_of(channels), architecture, entry)

    channels = widest(lambda width: latency_ms(width) <= run.target.value)
    build = functools.partial(space_of(channels).network, architecture)
    value = _trained(run, build, entry, "wide")
    return _row(f"{channels} channels", value, latency_ms(channels))


def widest(fits: Any, most: int = WIDEST) -> int:
    """Returns the largest width that fits, by doubling and then halving the interval.

    Args:
      fits: whether a width does; a wider one than one that does not fit is not asked for.
      most: the largest that is asked for.

    Returns:
      At least one, whether that fits or not.
    """
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def ratio_of(run: Run, space: Any, architecture: np.ndarray, entry: dict[str, Any]) -> float:
    """Returns how many times as long a network takes as the one that was found, timed in turn."""
    profile = run.config.profile
    runtime, found = make_runtime(profile), run.space.from_names(entry["architecture"])
    (one,), _ = compiled_calls(runtime, run.space, found[None], {}, profile.batch_size)
    (other,), _ = compiled_calls(runtime, space, architecture[None], {}, profile.batch_size)
    rule = StoppingRule(profile.measure_rounds, profile.max_rounds, profile.precision)
    timed = sample_interleaved(
        {"one": one, "other": other}, rule, references=[one], warmup=profile.warmup, seed=0
    )
    return timed.corrected("other").median / timed.corrected("one").median


def finished(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the results that are complete, by task and seed."""
    for path in sorted(options.out.glob(f"*/{FILE}")):
        row = json.loads(path.read_text())
        if all(origin in row for origin in ORIGINS):
            yield row


def table_of(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the lines of the table in Markdown."""
    lines = [
        "| task | metric | seeds | chance | searched | random | better by | wide | better by | "
        "budget, ms | searched, ms | random, ms | wide, ms |",
        "|---" * 13 + "|",
    ]
    for name in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == name]
        metric = TaskMetric.of(own[0]["metric"])
        arrow = "higher" if metric.higher_is_better else "lower"
        sign = 1 if metric.higher_is_better else -1
        values = {o: np.array([row[o]["value"] for row in own]) for o in ORIGINS}
        costs = {o: np.mean([row[o]["latency_ms"] for row in own]) for o in ORIGINS}
        gaps = {}
        for origin in ORIGINS[1:]:
            gap = over_seeds(sign * (values["searched"] - values[origin]))
            half = "" if gap.half_width is None else f" ± {gap.half_width:.3g}"
            gaps[origin] = f"{gap.value:.3g}{half}"
        chance = np.mean([row["metric"]["chance"] for row in own])
        budget = np.mean([row["target_ms"] for row in own])
        cells = [
            name, f"{own[0]['metric']['metric']}, {arrow} is better", f"{len(own)}",
            f"{chance:.3g}", f"{values['searched'].mean():.4g}", f"{values['random'].mean():.4g}",
            gaps["random"], f"{values['wide'].mean():.4g}", gaps["wide"], f"{budget:.3g}",
            *(f"{costs[origin]:.3g}" for origin in ORIGINS),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def beside_published(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the published errors on Darcy flow, and how the data differ; none without a row."""
    if all(row["task"] != "darcy" for row in rows):
        return []
    published, data = TASKS360["darcy"], TASKS["darcy"].data
    scores = ", ".join(f"{system} {score:g}" for system, score in published.first_scores.items())
    train, validation, test = published.split
    return [
        "",
        f"Published relative L2 errors on Darcy flow (NAS-Bench-360, first version): {scores}. "
        f"They are of other data: {published.input_shape[0]}x{published.input_shape[1]} points "
        f"kept of a solution on 421x421, {train} examples to train on, {validation} to validate "
        f"with and {test} to test. Here 33x33 points are kept of a solution on 65x65, of 1,100 "
        f"examples a fifth is for the test, and a tenth of the others for validation; networks "
        f"have {CHANNELS} channels and train for {TASKS['darcy'].epochs} epochs. The options of "
        f"the data are {json.dumps(data.args)}.",
    ]


def write_table(options: argparse.Namespace) -> None:
    """Writes and prints what is finished."""
    rows = list(finished(options))
    text = "\n".join([*table_of(rows), *beside_published(rows)])
    (options.out / "tasks.md").write_text(f"{text}\n")
    write_json(options.out / "tasks.json", {"rows": rows})
    print(text, flush=True)


def main():
    """Does what is missing, one task and seed after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}; all if left out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("bench-tasks"))
    parser.add_argument("--space", choices=sorted(IMAGES), default="nasbench201")
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--show", action="store_true", help="only write the table again")
    options = parser.parse_args()
    for name in options.tasks:
        if name not in TASKS:
            parser.error(f"unknown task {name!r}; there are {', '.join(TASKS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.show:
        print(f"{describe_device()} {describe_software()}")
        # All tasks of a seed first, so that a stopped benchmark has a row for every task.
        for seed in options.seeds:
            for name in options.tasks or TASKS:
                row = compare(name, seed, options)
                print(f"{name}, seed {seed}: {row['cpu_s']} s of CPU time", flush=True)
                write_table(options)
    if options.show:
        write_table(options)


if __name__ == "__main__":
    main()
