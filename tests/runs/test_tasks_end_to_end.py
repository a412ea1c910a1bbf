"""Every kind of task from the data to the report: search under a target, train, measure, show."""

import contextlib
import json
import math
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from hwnas_jax.config import Config, override
from hwnas_jax.display import Silent
from hwnas_jax.errors import Interrupted
from hwnas_jax.parallel.progress import StopRequest
from hwnas_jax.registry import Part
from hwnas_jax.runs.run import Run
from hwnas_jax.train.examples import load_examples

CELLS = ("complete_graph", {"channels": 2, "nodes": 3, "stages": 1})
SCENES = {"examples": 100, "size": 8}
KERNELS = ("dash", {"channels": 4, "blocks": 1, "kernels": "3,5", "dilations": "1"})


class Case(NamedTuple):
    """A task, the data that it is learned on, and what a network costs there.

    Attributes:
      data: name of the source.
      args: its options.
      task: that the data set is made for.
      metrics: all that a network is judged by.
      kinds: of the examples that the page shows, of each task in turn.
      space: name and options of the search space.
      limited: the metric that has the budget.
    """

    data: str
    args: dict[str, Any]
    task: str
    metrics: set[str]
    kinds: tuple[str, ...]
    space: tuple[str, dict[str, Any]] = CELLS
    limited: str = "macs"


CASES = {
    "classification": Case(
        "digits", {}, "classification", {"accuracy", "macro_f1"}, ("class",)
    ),
    "multi_label": Case(
        "digits_multi_label", {"repeats": 1}, "multi_label",
        {"f1", "label_accuracy", "auroc", "mean_average_precision"}, ("labels",),
    ),
    "regression": Case("gratings", {"examples": 200}, "regression", {"mse", "r2"}, ("values",)),
    "segmentation": Case(
        "scenes", {**SCENES, "tasks": "segmentsemantic"}, "segmentation",
        {"mean_iou", "pixel_accuracy"}, ("class map",), limited="latency_ms",
    ),
    "dense_regression": Case(
        "darcy", {"examples": 60, "size": 9, "refine": 1}, "dense_regression",
        {"relative_l2", "mse"}, ("value map",),
    ),
    "autoencoding": Case(
        "scenes", {**SCENES, "tasks": "autoencoder"}, "autoencoding", {"ssim", "mse"},
        ("value map",),
    ),
    "surface_normals": Case(
        "scenes", {**SCENES, "tasks": "normal"}, "surface_normals",
        {"ssim", "mean_angle_degrees"}, ("value map",), limited="params",
    ),
    "sequences": Case(
        "ecg_like", {"examples": 200, "length": 64, "interval": 16, "lag": 1}, "classification",
        {"accuracy", "macro_f1"}, ("class",), KERNELS, "latency_ms",
    ),
    "several": Case(
        "scenes", {**SCENES, "tasks": "class_object,segmentsemantic,room_layout"}, "several",
        {
            "skill", "class_object.accuracy", "class_object.macro_f1", "segmentsemantic.mean_iou",
            "segmentsemantic.pixel_accuracy", "room_layout.mse", "room_layout.r2",
        },
        ("class", "class map", "values"),
    ),
}  # fmt: skip
SMALL = {
    "profile__networks": 8, "profile__held_out": 2, "profile__rounds": 1, "profile__max_rounds": 1,
    "profile__warmup": 1, "profile__measure_rounds": 2, "profile__batch_size": 8,
    "search__steps": 8, "search__warmup_steps": 0, "search__batch_size": 8,
    "search__steps_per_dispatch": 4, "search__checkpoint_every": 4,
    "derive__rule": Part("most_probable"), "derive__confirm": 1, "derive__controls": (),
    "retrain__epochs": 2, "retrain__batch_size": 16, "parallel__devices": 1,
}  # fmt: skip


def configured(case: Case) -> Config:
    name, args = case.space
    return override(
        Config(), **SMALL, data__name=case.data, data__args=case.args, space__name=name,
        space__args=args, target__metric=case.limited,
        cost__model=Part("gaussian" if case.limited == "latency_ms" else "analytic"),
    )  # fmt: skip


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_task_goes_from_its_data_to_the_report(name, tmp_path):
    """A run is left after the derivation, and goes on in another object by its folder alone."""
    case, folder = CASES[name], tmp_path / "run"
    Run.create(configured(case), folder).all(until="derive")
    found = (folder / "search.npz").read_bytes()
    run = Run.open(folder)
    run.all()
    assert (folder / "search.npz").read_bytes() == found
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    Run.open(folder).all()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == files

    targets, networks = read(folder, "targets"), read(folder, "networks")
    task, (target,), (network,) = targets["task"], targets["targets"], networks["networks"]
    assert (run.config.task.name, task["name"]) == (case.task, case.task)
    assert targets["metric"] == case.limited
    assert 0 < network["predicted"] <= target["value"] == network["target"]
    assert network["measured"] > 0
    if case.limited != "latency_ms":
        assert network["measured"] == network["predicted"] and network["meets_budget"]

    metrics = network["test_metrics"]
    assert metrics.keys() == case.metrics
    assert all(math.isfinite(value) for value in (task["chance"], *metrics.values()))
    assert metrics[task["metric"]] == network["test_metric"]
    page = (folder / "report.html").read_text()
    assert all(metric.replace("_", " ") in page for metric in metrics)

    assert "On test examples" in page
    kept = [load_examples(folder, "search-1", number) for number in range(len(case.kinds) + 1)]
    assert [one and one.kind for one in kept] == [*case.kinds, None]
    tests = run.dataset.test_inputs
    for number, one in enumerate(kept[:-1], 1):
        np.testing.assert_array_equal(one.inputs, tests[one.numbers])
        place = "examples" if len(case.kinds) == 1 else f"examples-{number}"
        assert f'<figure id="{place}">' in page


class Impatient(Silent):
    """Asks for a stop once a search is compiled."""

    @contextlib.contextmanager
    def stage(self, name):
        with super().stage(name) as report:

            def progress(done, total, what):
                report(done, total, what)
                if name == "search" and total == 0:
                    os.kill(os.getpid(), signal.SIGTERM)

            yield progress


@pytest.mark.slow
def test_a_search_for_several_tasks_goes_on_where_it_was_stopped(tmp_path):
    config = configured(CASES["several"])
    Run.create(config, tmp_path / "whole").all(until="search")
    run = Run.create(config, tmp_path / "cut", display=Impatient())
    with StopRequest.listening(), pytest.raises(Interrupted, match="step 4 of 8"):
        run.all(until="search")
    assert not run.finished("search")
    Run.open(tmp_path / "cut").all(until="search")
    whole, cut = ((tmp_path / name / "search.npz").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
