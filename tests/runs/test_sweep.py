"""A sweep from the command line: its files, its mistakes, what it keeps when resumed."""

import json
import shutil

import pytest
from hwnas_jax.runs.sweep import PERCENTILES, Sweep, Wanted

from hwnas_jax.cli import main
from hwnas_jax.config import Config, override, save_config
from hwnas_jax.errors import UserError
from hwnas_jax.report.pareto_front import Reference, hypervolume

TINY = override(
    Config(), space__args={"channels": 2, "cells": 1}, profile__networks=12, profile__rounds=2,
    profile__max_rounds=2, profile__measure_rounds=2,
    search__steps=4,
    search__warmup_steps=2, search__steps_per_dispatch=2, search__batch_size=16,
    retrain__networks=1, retrain__epochs=1, target__confirm=2, sweep__devices=2,
)  # fmt: skip


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A folder with the config `tiny.json` and `run`, a finished sweep of three targets."""
    folder = tmp_path_factory.mktemp("sweep")
    save_config(TINY, folder / "tiny.json")
    words = ["sweep", str(folder / "tiny.json"), "--run-dir", str(folder / "run")]
    assert main([*words, "--percentiles", "20", "50", "80"]) == 0
    return folder


@pytest.fixture
def here(swept, tmp_path, monkeypatch):
    """A working folder of its own with copies of `tiny.json` and `run`."""
    shutil.copytree(swept, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "here"


def read(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_every_stage_leaves_its_files(here, capsys):
    run = here / "run"
    targets = [one["target_ms"] for one in read(run / "targets.json")["targets"]]
    assert targets == sorted(targets)
    networks = read(run / "networks.json")["networks"]
    assert [network["target_ms"] for network in networks] == targets
    for network in networks:
        assert network["predicted_ms"] <= network["target_ms"]
        assert network["measured_ms"] > 0
        assert 0 < network["validation_accuracy"] <= 1
        assert 0 <= network["supernet_accuracy"] <= 1
        saved = read(run / "architectures" / f"{network['label']}.json")
        assert saved["architecture"] == network["architecture"]
    stages = {json.loads(line)["stage"] for line in (run / "metrics.jsonl").open()}
    assert stages == {"warmup", "search", "retrain"}

    before = (run / "networks.json").read_bytes()
    capsys.readouterr()
    assert main(["sweep", "--resume", "run"]) == 0
    shown = capsys.readouterr().out
    assert (run / "networks.json").read_bytes() == before
    assert all(network["label"] in shown for network in networks)


@pytest.mark.slow
def test_the_page_shows_the_front_and_its_area(here, capsys):
    (here / "run" / "report.html").unlink()
    assert main(["report", "run"]) == 0
    report, page = read(here / "run" / "report.json"), (here / "run" / "report.html").read_text()
    front = report["front"]
    assert (front["cost"], front["accuracy"]) == ("measured_ms", "validation_accuracy")
    slowest = read(here / "run" / "targets.json")["range_ms"][1]
    assert front["reference"] == {"cost": slowest, "accuracy": 0.1}
    area = hypervolume(
        [n["measured_ms"] for n in report["networks"]],
        [n["validation_accuracy"] for n in report["networks"]],
        Reference(slowest, 0.1),
    )
    assert front["hypervolume"] == pytest.approx(area)
    assert f"Hypervolume {area:.4g} ms" in page.replace("\u00a0", " ")
    assert 'id="front"' in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert all(network["string"].replace(">", "&gt;") in page or network["string"] in page
               for network in report["networks"])  # fmt: skip


@pytest.mark.slow
def test_every_budget_of_a_sweep_is_kept_with_the_confidence(here):
    config = override(TINY, target__confidence=0.7, target__confirm=0)
    wanted = Wanted.check(config, percentiles=(60, 80), retrain=False)
    files = {name: here / "run" / f"{name}.{end}"
             for name, end in (("measurements", "json"), ("cost_model", "npz"))}  # fmt: skip
    sweep = Sweep.create(config, wanted, here / "sure", **files)
    sweep.all(until="derive")
    run, plain = Sweep.open(here / "sure"), Sweep.open(here / "run")
    assert [member.target.confidence for member in run.members] == [0.7, 0.7]
    # The budgets themselves are those of the predictions, with a confidence or without.
    reach = [read(s.folder / "targets.json")["range_ms"] for s in (run, plain)]
    assert reach[0] == reach[1]
    for network in read(here / "sure" / "networks.json")["networks"]:
        bound = network["predicted_ms"] + 0.5244005 * network["predicted_std_ms"]
        assert bound <= network["target_ms"] * (1 + 1e-5)
        assert network["predicted_bound_ms"] == pytest.approx(bound, rel=1e-4)


TYPED = [
    ("sweep --targets 0", ("--targets 0 must be positive",)),
    ("sweep --targets nan", ("--targets nan must be positive",)),
    ("sweep --targets 1.5 2 1.5", ("--targets has 1.5 more than once",)),
    ("sweep --percentiles 10 101", ("--percentiles 101 must be in [0, 100]",)),
    ("sweep --percentiles 10 --targets 1", ("exclude each other",)),
    ("sweep --seeds -1", ("--seeds -1 must be in [0, 2**32)",)),
    ("sweep --seeds 1 1", ("--seeds has 1 more than once",)),
    ("sweep --targts 1 2", ("--targts", "--targets")),
    ("sweep --sweep.devices 99", ("sweep.devices = 99", "allowed are 1 to 8")),
    ("sweep --sweep.devices 0", ("sweep.devices = 0", "positive")),
    ("sweep --sweep.within bach", ("bach", "batch", "map")),
    ("sweep --parallel.devices 2", ("parallel.devices = 2", "--sweep.devices")),
    ("sweep --until serach", ("stage 'serach'", "Did you mean 'search'?")),
    ("sweep --resume nonsense", ("nonsense",)),
    ("sweep --from-step 3", ("--from-step", "--resume")),
    ("sweep digts", ("config 'digts'", "Did you mean 'digits'?")),
]  # fmt: skip


def refused(capsys, folder, line):
    """Returns what the command says; it must exit with 2 and leave nothing new behind."""
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert sorted(folder.rglob("*")) == before
    assert "Traceback" not in shown.out + shown.err
    return shown.out + shown.err


@pytest.mark.parametrize(("line", "parts"), TYPED, ids=[line for line, _ in TYPED])
def test_mistakes(capsys, tmp_path, monkeypatch, line, parts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    shown = refused(capsys, tmp_path, line)
    for part in parts:
        assert part in shown


GIVEN = "--run-dir new --cost-model run/cost_model.npz"
BESIDE = [
    (f"sweep tiny.json {GIVEN} --targets 1e-6 1", ("target 1e-06 ms is out of reach", "median")),
    (f"sweep tiny.json {GIVEN} --percentiles 50 50.000001", ("more than once",)),
    ("sweep tiny.json --run-dir run", ("run folder run exists",)),
    ("sweep --resume run --percentiles 20 50 90", ("keeps its percentiles: 20 50 80", "20 50 90")),
    ("sweep --resume run --targets 1", ("keeps its targets: none", "--cost-model run")),
    ("sweep --resume run --seeds 1", ("keeps its seeds: 0", "given were 1")),
    ("sweep --resume run --search.steps 8", ("changed were: search.", "--sweep.devices")),
    ("sweep --resume run --sweep.no-share-warmup", ("changed were: sweep.share_warmup",)),
    ("sweep --resume run --run-dir other", ("--run-dir", "--resume")),
    ("sweep --resume run --from-step 2", ("--from-step", "finished")),
    ("search --resume run", ("run is a sweep", "hwnas sweep --resume run")),
    ("derive run --out a.json", ("run is a sweep", "architectures/")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "parts"), BESIDE, ids=[line for line, _ in BESIDE])
def test_mistakes_beside_a_sweep(capsys, here, line, parts):
    shown = refused(capsys, here, line)
    for part in parts:
        assert part in shown


@pytest.mark.slow
def test_a_damaged_sweep_file_is_named(capsys, here):
    payload = read(here / "run" / "sweep.json")
    (here / "run" / "sweep.json").write_text(json.dumps({**payload, "seeds": "x"}))
    assert "run/sweep.json is damaged" in refused(capsys, here, "sweep --resume run")
    (here / "run" / "sweep.json").write_text("{")
    assert "run/sweep.json is damaged" in refused(capsys, here, "sweep --resume run")


def test_by_default_eight_percentiles_and_the_seed_of_the_config():
    wanted = Wanted.check(override(Config(), seed=5))
    assert wanted == Wanted((), PERCENTILES, (5,), True)
    assert len(wanted.percentiles) == 8
    assert Wanted.check(Config(), targets_ms=[2.0, 1.0]).percentiles == ()


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is no sweep: it has no sweep\.json"):
        Sweep.open(tmp_path)
