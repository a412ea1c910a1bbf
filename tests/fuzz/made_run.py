"""A finished run for a device that is not here, made without a search: every file it may hold."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel, save_measurements
from hwnas_jax.cost.files.measurement_file import load_measurements
from hwnas_jax.cost.files.measurements import Origin
from hwnas_jax.cost.files.table_file import save_table_file
from hwnas_jax.display import Silent
from hwnas_jax.files.json_files import write_json
from hwnas_jax.registry import Part
from hwnas_jax.report.run_files import write_run_file
from hwnas_jax.runs.elsewhere import Elsewhere, write_template
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.run import STAGES, Run
from hwnas_jax.runs.start import Start
from hwnas_jax.spaces.core.architecture_files import save_architecture
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.train.examples import keep_examples
from hwnas_jax.train.tested import keep_tested
from tests.fuzz.json_kinds import MEASUREMENTS, ROWS, SPACE
from tests.report import run_folders
from tests.report.test_examples import CLASSES
from tests.tabular.tables import small_table
from tests.tabular.test_own_table import made_up

CONFIG = override(
    Config(name="made"), space__args={"channels": 2, "cells": 1},
    space__off={"*": ("skip_connect", "nor_conv_1x1")}, search__batch_size=16,
    search__steps=60, search__warmup_steps=20, search__steps_per_dispatch=10, derive__confirm=0,
    derive__rule=Part("most_probable"), derive__controls=("random",), parallel__devices=1,
)  # fmt: skip
DEVICE = Elsewhere("Phone", "tflite", 1, "it is not here")


def make(folder: Path) -> Path:
    """Writes `run`, and beside it files for commands; returns the folder of the run."""
    run = Run(folder / "run", CONFIG, Silent())
    with run.beginning(named=True):
        run.describe(SPACE.decisions)
    write_json(folder / "measurements.json", MEASUREMENTS)
    write_json(run.folder / "measurements.json", MEASUREMENTS)
    save_measurements(load_measurements(folder / "measurements.json"), folder / "measurements.csv")
    model = dataclasses.replace(AnalyticModel.count(SPACE), line_ms=jnp.array([0.0, 1e-4]))
    for place in (run.folder / "cost_model.npz", folder / "cost_model.npz"):
        model.save(place, SPACE, ROWS, Origin({"kind": "Phone"}, runtime="tflite", batch_size=1))
    run.resolve_targets()
    target = run.target.value
    rng = np.random.default_rng(5)
    weights = np.asarray(make_supernet(SPACE).init(jax.random.key(0)))[None]
    even = (SPACE.mask / SPACE.mask.sum(-1, keepdims=True)).astype(np.float32)
    probabilities = rng.dirichlet(np.ones(5), (1, 6)).astype(np.float32) * SPACE.mask
    probabilities /= probabilities.sum(-1, keepdims=True)
    Found(probabilities, even, weights).save(run.folder)
    Start(ROWS[None, :2], weights).save(run.folder)
    write_run_file(run.folder, "shares", {"began": {"search": {"devices": 1, "parts": 1}}})
    entries = []
    for number, row in enumerate(ROWS[1:5]):
        origin = "search" if number < 2 else "random"
        entries.append(
            run_folders.network(
                f"{origin}-{number}", None, 0.9 - number / 50, string=SPACE.to_string(row),
                architecture=SPACE.to_names(row), target=target, predicted=target * 0.99,
                selected=number in (0, 2), measured_iqr=None, measured_now=None, drift=None,
            )
        )  # fmt: skip
        keep_examples(run.folder, entries[-1]["label"], CLASSES if number == 0 else None)
        keep_tested(run.folder, entries[-1]["label"], np.arange(360) % (7 + number) > 0)
    write_run_file(
        run.folder, "networks",
        {"networks": entries, "confirmations": [], "decided": [run_folders.decided()]},
    )  # fmt: skip
    save_architecture(run.folder / "architecture.json", SPACE, ROWS[1])
    save_architecture(folder / "architecture.json", SPACE, ROWS[1])
    rows = run_folders.search_rows(target=target, probabilities=probabilities[0].tolist())
    labels = [entry["label"] for entry in entries]
    run_folders.write_lines(run.folder, rows + run_folders.retrain_rows(*labels))
    fit = run_folders.read(run_folders.write_search(folder / "other"), "cost_fit.json")
    write_run_file(run.folder, "cost_fit", fit)
    DEVICE.save(run.folder)
    filled = write_template(run.folder, SPACE, DEVICE, ["latency_ms"], entries)
    lines = filled.read_text().splitlines()
    predicted = target * 0.99
    text = "\n".join([*lines[:5], *(f"{line}{predicted * 1.01}" for line in lines[5:])]) + "\n"
    (folder / "filled.csv").write_text(text)
    for stage in STAGES[:-1]:
        run.finish(stage, 1.0)
    run.report()
    small_table(folder / "cells.npz", 2000)
    save_table_file(made_up(), folder / "accuracies.npz")
    return run.folder
