"""Searches for a device that is not here: from its table to the report, and its figures back."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import Config, override, save_config
from hwnas_jax.cost import (
    AnalyticModel,
    load_cost_model,
    load_measurements,
    save_measurements,
)
from hwnas_jax.cost.files.environment import describe_device
from hwnas_jax.cost.files.measurements import Measurements, Origin, Sample
from hwnas_jax.cost.models.model_file import read_origin
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.elsewhere import Elsewhere, write_template
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces.nasbench201 import NasBench201

SPACE = NasBench201(input_shape=(8, 8, 1), num_outputs=10, channels=2, cells=1)
CONFIG = override(
    Config(), space__args={"channels": 2, "cells": 1}, search__steps=8, search__warmup_steps=4,
    search__steps_per_dispatch=4, search__batch_size=16, search__checkpoint_every=8,
    derive__rule=Part("most_probable"), derive__controls=("random",), retrain__epochs=1,
    retrain__steps_per_dispatch=25, parallel__devices=1, cost__model=Part("linear"),
)  # fmt: skip
OPTIONS_MS = np.array([0.0, 0.02, 0.2, 0.5, 0.1])


def law_ms(architecture):
    """What a cell costs on the phone: its operations, and the call itself."""
    return 0.3 + OPTIONS_MS[SPACE.canonical(np.asarray(architecture)[None])[0]].sum()


def phone_table(path):
    """Writes 40 networks with their latencies as a person would."""
    rng = np.random.default_rng(0)
    rows = np.unique(SPACE.canonical(SPACE.random(rng, 200)), axis=0)
    rows = rng.permutation(rows)[:40]
    lines = [f"{SPACE.to_string(row)};{law_ms(row):.4f}".replace(".", ",") for row in rows]
    spec = json.dumps(SPACE.spec)
    path.write_text(
        f"# space: {spec}\n# device: Pixel 8\n# batch_size: 1\n# runtime: tflite\n"
        "architecture;latency (ms)\n" + "\n".join(lines) + "\n"
    )
    return path


@pytest.fixture(scope="module")
def searched(once):
    """The folder of a whole search for the phone, `run`, with what it said in `said.txt`."""

    def make(folder):
        save_config(CONFIG, folder / "phone.json")
        words = ["search", str(folder / "phone.json"), "--run-dir", str(folder / "run")]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            table = phone_table(folder / "phone.csv")
            assert main([*words, "--measurements", str(table)]) == 0
        (folder / "said.txt").write_text(said.getvalue())

    return once("test_elsewhere-searched", make)


@pytest.fixture
def run(searched, tmp_path):
    """A copy of that run, to change."""
    shutil.copytree(searched / "run", tmp_path / "run")
    return Run.open(tmp_path / "run")


def networks_of(run):
    return run.networks["networks"]


@pytest.mark.slow
def test_the_whole_job_is_done_without_the_device(searched):
    said = (searched / "said.txt").read_text()
    assert "Pixel 8 with tflite at batch 1 is not here" in said and "'tflite'" in said
    assert "ms on Pixel 8" in said and "to_measure.csv" in said
    run = Run.open(searched / "run")
    assert all(run.finished(stage) for stage in ("derive", "retrain", "measure", "report"))
    for entry in networks_of(run):
        assert entry["test_metric"] is not None and entry.get("measured") is None
        architecture = run.space.from_names(entry["architecture"])
        assert entry["predicted"] == pytest.approx(law_ms(architecture), rel=0.25)
    payload = json.loads((run.folder / "networks.json").read_text())
    assert payload["confirmations"] == []
    page = (run.folder / "report.html").read_text()
    assert "device Pixel 8" in page and "not measured here" in page
    assert "measured on Pixel 8 (ms)" in page
    assert "Prediction and measurement" not in page


@pytest.mark.slow
def test_the_list_of_networks_is_a_measurement_file_with_an_empty_column(searched):
    folder = searched / "run"
    text = (folder / "to_measure.csv").read_text()
    given = (searched / "phone.csv").read_text()
    assert text.splitlines()[:4] == given.splitlines()[:4]
    rows = list(csv.DictReader(text.splitlines()[4:]))
    assert list(rows[0]) == ["label", "architecture", "latency_ms"]
    own = {entry["string"] for entry in networks_of(Run.open(folder))}
    assert {row["architecture"] for row in rows} == own and len(rows) == len(own)
    assert not any(row["latency_ms"] for row in rows)


def filled(run, factor=1.0, column="latency_ms", rows=None):
    """Returns the list of networks with what they cost on the phone, times a factor."""
    lines = (run.folder / "to_measure.csv").read_text().splitlines()
    done = []
    for line in lines[5:][:rows]:
        name = line.split(",")[1]
        done.append(f"{line}{factor * law_ms(run.space.from_string(name)):.6f}")
    return "\n".join([*lines[:4], lines[4].replace("latency_ms", column), *done]) + "\n"


@pytest.mark.slow
def test_the_filled_list_comes_back_into_the_report(run, tmp_path, capsys):
    path = tmp_path / "filled.csv"
    path.write_text(filled(run, 1e3, "latency (µs)").replace("Pixel 8", "Pixel 8,"))
    assert main(["measure", str(run.folder), "--from", str(path)]) == 0
    said = capsys.readouterr().out
    assert "is multiplied by 0.001, which gives latency_ms" in said
    for entry in networks_of(run):
        expected = law_ms(run.space.from_names(entry["architecture"]))
        assert entry["measured"] == pytest.approx(expected, abs=1e-6)
        assert entry["meets_budget"] == (expected <= entry["target"])
    networks = {entry["string"]: entry for entry in networks_of(run)}
    errors = [abs(e["predicted"] / e["measured"] - 1) for e in networks.values()]
    whole = f"{len(networks)} of {len(networks)} network"
    assert whole in said and f"predictions is {100 * np.mean(errors):.1f} %" in said
    page = (run.folder / "report.html").read_text()
    assert "Prediction and measurement on Pixel 8" in page
    assert "not measured here" not in page


@pytest.mark.slow
def test_who_hands_back_while_another_command_writes_is_told_who_it_is(run, tmp_path, capsys):
    path = tmp_path / "filled.csv"
    path.write_text(filled(run))
    before = (run.folder / "networks.json").read_bytes()
    holder = f"is being written by another command: .*process {os.getpid()} on"
    with run.writing():
        with pytest.raises(UserError, match=holder):
            Run.open(run.folder).take_back(path)
        assert main(["measure", str(run.folder), "--from", str(path)]) == 2
    assert re.search(holder, " ".join(capsys.readouterr().err.split()))
    assert (run.folder / "networks.json").read_bytes() == before
    Run.open(run.folder).take_back(path)
    assert (run.folder / "networks.json").read_bytes() != before


@pytest.mark.slow
def test_a_part_of_the_list_is_taken_and_the_rest_stays_open(run, tmp_path):
    count = len((run.folder / "to_measure.csv").read_text().splitlines()) - 5
    path = tmp_path / "part.csv"
    path.write_text(filled(run, rows=1))
    said = run.take_back(path)
    left = [entry["label"] for entry in networks_of(run) if entry.get("measured") is None]
    assert (said == []) == (count == 1)
    assert not said or said[-1] == f"not measured yet: {', '.join(left)}"
    run.report()
    assert ("not measured here" in (run.folder / "report.html").read_text()) == (count > 1)


@pytest.mark.slow
def test_a_further_limit_that_is_measured_has_to_be_kept_too(run, tmp_path):
    targets = json.loads((run.folder / "targets.json").read_text())
    lines = filled(run, column="latency_ms,energy_mj").splitlines()
    path = tmp_path / "both.csv"
    path.write_text("\n".join([*lines[:5], *(f"{line},0.5" for line in lines[5:])]) + "\n")
    for most, kept in ((0.6, True), (0.4, False)):
        content = json.dumps({**targets, "limits": {"energy_mj": most}})
        (run.folder / "targets.json").write_text(content)
        again = Run.open(run.folder)
        assert again.metrics_to_measure == ("latency_ms", "energy_mj")
        again.take_back(path)
        for entry in networks_of(again):
            assert entry["measured_limits"] == {"energy_mj": 0.5}
            assert entry["meets_budget"] == (kept and entry["measured"] <= entry["target"])
        again.report()
        page = (run.folder / "report.html").read_text()
        assert ("misses the limit of energy_mj: 0.5000, at most 0.4000" in page) != kept
        shown = "0.5000" if kept else "0.5000, over"
        assert page.count(f">{shown}<") == len(networks_of(again))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("Pixel 8", "Pixel 9"), "device 'Pixel 9'.*for 'Pixel 8'"),
        (lambda text: text.replace("tflite", "onnx"), "runtime 'onnx'.*for 'tflite'"),
        (lambda text: text.replace("batch_size: 1", "batch_size: 8"), "batch_size 8, not 1"),
        (lambda text: text.replace('"channels": 2', '"channels": 4'), "differ: channels 4 and 2"),
        (lambda text: text.replace("latency_ms", "energy_mj"), "budget is of latency_ms.*energy"),
        (lambda text: text.replace("latency_ms", "latency_us"), "times what was predicted.*unit"),
        (lambda text: text.replace("~2|,", "x~2|,"), "line 6: unknown option"),
        (lambda text: "\n".join(text.splitlines()[:4]), "there is no table in it"),
    ],
)  # fmt: skip
def test_a_list_that_was_changed_is_refused_with_the_reason(run, tmp_path, change, reason):
    before = (run.folder / "networks.json").read_bytes()
    (tmp_path / "changed.csv").write_text(change(filled(run)))
    with pytest.raises(UserError, match=rf"(?s)changed\.csv.*{reason}"):
        run.take_back(tmp_path / "changed.csv")
    assert (run.folder / "networks.json").read_bytes() == before


@pytest.mark.slow
def test_an_empty_list_and_other_networks_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="no network has a figure in the column latency_ms"):
        run.take_back(run.folder / "to_measure.csv")
    own = {entry["string"] for entry in networks_of(run)}
    other = next(s for s in map(SPACE.to_string, SPACE.enumerate()[7000:]) if s not in own)
    (tmp_path / "other.csv").write_text(f"architecture,latency_ms\n{other},1\n")
    with pytest.raises(UserError, match=r"is not among the .* networks of .*; the nearest is"):
        run.take_back(tmp_path / "other.csv")


HERE = describe_device()


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        (Origin(HERE, "jax", 64), None),
        (Origin({"kind": "v5e"}, "libtpu", 1, "compiler estimate"), None),
        (Origin({"kind": "eyeriss"}, "zigzag", 1, "simulated"), None),
        (Origin(HERE, "jax", 1), "profile.batch_size = 64"),
        (Origin(HERE, "tflite", 64), "runtime 'tflite'"),
        (Origin({"kind": "Pixel 8"}, "jax", 64), "taken on 'Pixel 8'"),
        (Origin({"kind": "pixel3"}, source="published"), "are published"),
        (None, "does not say of which device"),
    ],
)
def test_what_is_here_is_decided_by_where_costs_come_from(tmp_path, origin, reason):
    found = Elsewhere.find(origin, Config().profile)
    assert (found is None) == (reason is None)
    if found is not None:
        assert reason in found.reason
        found.save(tmp_path)
        assert Elsewhere.load(tmp_path) == found


def test_a_model_of_estimates_alone_does_not_describe_the_hardware_to_make_them_again():
    estimated = Origin({"kind": "v5e"}, "libtpu", 1, "compiler estimate")
    found = Elsewhere.find(estimated, Config().profile, model_alone=True)
    assert found.device == "v5e" and "compiler estimate" in found.reason


def measured(device, networks=24, **changes):
    rows = np.random.default_rng(1).permutation(SPACE.enumerate())[:networks]
    fields = {
        "device": device, "software": {}, "batch_size": 64, "space": SPACE.spec, "operations": {},
        "architectures": tuple(SPACE.to_names(row) for row in rows),
        "networks": tuple({"latency_ms": Sample(law_ms(row))} for row in rows),
    }  # fmt: skip
    return Measurements(**{**fields, **changes})


def test_a_cost_model_says_of_which_device_it_is(tmp_path):
    model = AnalyticModel.fit(SPACE, measured(HERE).observations(SPACE))
    for device, here in ((HERE, True), ({"kind": "Pixel 8"}, False)):
        known = measured(device)
        path = tmp_path / f"{here}.npz"
        model.save(path, SPACE, origin=known.origin)
        assert read_origin(path) == known.origin
        run = Run.create(CONFIG, tmp_path / f"run-{here}", cost_model=path)
        assert ((run.folder / "device.json").exists()) != here
        assert (run.unmeasured is None) == here
    with pytest.raises(UserError, match=r"Pixel 8.* is not here, so nothing can be measured"):
        config = override(CONFIG, target__measurements=2, search__steps=800)
        Run.create(config, tmp_path / "more", cost_model=path)


def test_a_table_of_operations_alone_is_a_cost_model_of_its_sums(tmp_path):
    operations = {
        name: {"latency_ms": Sample(0.01 * number)}
        for number, name in enumerate(SPACE.operations()[0], 1)
    }
    table = measured({"kind": "Pixel 8"}, 0, operations=operations)
    save_measurements(table, tmp_path / "operations.csv")
    assert load_measurements(tmp_path / "operations.csv").operations == operations
    run = Run.create(CONFIG, tmp_path / "run", measurements=tmp_path / "operations.csv")
    run.fit_cost()
    model = load_cost_model(run.folder / "cost_model.npz", SPACE)
    names, places = SPACE.operations()
    one = np.random.default_rng(0).integers(0, 5, 6)
    chosen = SPACE.canonical(one[None])[0]
    expected = sum(
        operations[place.operation]["latency_ms"].median * place.count
        for place in places
        if all(chosen[decision] == option for decision, option in place.when)
    )
    gates = np.eye(5, dtype=np.float32)[chosen]
    assert float(model.predict(gates)["latency_ms"]) == pytest.approx(expected, rel=1e-5)
    run.resolve_targets()
    assert run.unmeasured.device == "Pixel 8"
    run.report()
    gap = dataclasses.replace(table, operations=dict(list(operations.items())[1:]))
    save_measurements(gap, tmp_path / "gap.csv")
    with pytest.raises(UserError, match=str(next(iter(names)))):
        Run.create(CONFIG, tmp_path / "new", measurements=tmp_path / "gap.csv")
    assert not (tmp_path / "new").exists()


def test_each_network_stands_once_in_the_list(tmp_path):
    device = Elsewhere("Pixel 8", "unknown", 4, "it is far away")
    networks = [
        {"string": "a", "label": "search-1"}, {"string": "b", "label": "random-1"},
        {"string": "a", "label": "no_search-1"},
    ]  # fmt: skip
    lines = (
        write_template(tmp_path, SPACE, device, ("energy_mj",), networks).read_text().splitlines()
    )
    assert lines[4:] == ["label,architecture,energy_mj", "search-1 no_search-1,a,", "random-1,b,"]
