"""The whole job in small: stages, files, killing, resuming."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import Config, override
from hwnas_jax.cost import load_cost_model
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.run import Run
from hwnas_jax.search import Target, make_search

SMALL = [
    "--space.args.channels", "2", "--profile.networks", "12", "--profile.rounds", "2",
    "--profile.max-rounds", "2", "--profile.measure-rounds", "3",
    "--search.steps", "40", "--search.warmup-steps", "8", "--search.batch-size", "16",
    "--search.steps-per-dispatch", "4", "--search.checkpoint-every", "4",
    "--retrain.networks", "1", "--retrain.epochs", "2", "--target.confirm", "2",
    "--parallel.devices", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["search", "--run-dir", str(folder), *SMALL]) == 0
    return folder


@pytest.mark.slow
def test_every_stage_leaves_its_files(finished):
    for name in (
        "config.json", "versions.json", "space.json", "measurements.json", "cost_model.npz",
        "cost_fit.json", "target.json", "metrics.jsonl", "search.npz", "networks.json",
        "architecture.json", "stages.json", "report.html", "report.json",
    ):  # fmt: skip
        assert (finished / name).is_file(), name
    networks = read_json(finished / "networks.json", "networks")["networks"]
    assert [n["origin"] for n in networks] == ["search", "random"]
    target = read_json(finished / "target.json", "target")["target_ms"]
    for network in networks:
        assert 0.97 * target <= network["predicted_ms"] <= target
        assert network["measured_ms"] > 0
        assert 0 < network["test_accuracy"] <= 1
    found = read_json(finished / "architecture.json", "architecture")
    assert found["architecture"] == networks[0]["architecture"]


@pytest.mark.slow
def test_a_finished_run_is_neither_repeated_nor_overwritten(finished, capsys):
    before = (finished / "stages.json").read_text()
    assert main(["search", "--resume", str(finished)]) == 0
    assert (finished / "stages.json").read_text() == before
    assert main(["search", "--run-dir", str(finished)]) == 2
    assert "not overwritten" in capsys.readouterr().err


@pytest.mark.slow
def test_stages_from_python_take_files_of_another_run(finished, tmp_path):
    config = Run.open(finished).config
    run = Run.create(override(config, target__percentile=75.0), tmp_path / "second")
    run.adopt(measurements=finished / "measurements.json", cost_model=finished / "cost_model.npz")
    run.all(until="derive")
    assert run.target.value > Run.open(finished).target.value
    assert run.candidates()[0].predicted <= run.target.value
    assert not run.finished("retrain")


@pytest.mark.slow
def test_a_run_measures_during_the_search_and_keeps_its_budget_with_a_confidence(
    finished, tmp_path
):
    config = override(
        Run.open(finished).config, target__confidence=0.7, target__measurements=3,
        target__measure_every=12,
    )  # fmt: skip
    run = Run.create(config, tmp_path / "sure")
    run.adopt(measurements=finished / "measurements.json", cost_model=finished / "cost_model.npz")
    run.all(until="derive")
    rows = read_json(run.folder / "measurements_during_search.json", "rows")["networks"]
    assert [row["step"] for row in rows] == [20, 20, 32]
    assert all(row["measured_ms"] > 0 and row["std_ms"] > 0 for row in rows)
    last = load_cost_model(run.folder / "cost_models" / "step-32.npz", run.space)
    assert (run.folder / "cost_model.npz").read_bytes() == (
        finished / "cost_model.npz"
    ).read_bytes()
    for network in read_json(run.folder / "networks.json", "networks")["networks"]:
        weight = np.eye(5, dtype=np.float32)[run.space.from_names(network["architecture"])]
        mean, std = (float(f(weight)["latency_ms"]) for f in (last.predict, last.std))
        assert mean + 0.5244005 * std <= run.target.value * (1 + 1e-5)
        assert network["predicted_ms"] == pytest.approx(mean, rel=1e-4)
        assert network["predicted_bound_ms"] == pytest.approx(mean + 0.5244005 * std, rel=1e-4)


def test_an_impossible_run_leaves_no_folder(tmp_path):
    short = override(Config(), target__measurements=3, target__measure_every=900)
    with pytest.raises(UserError, match="measure_every = 900 leaves no time"):
        Run.create(short, tmp_path / "new")
    with pytest.raises(UserError, match="digits"):
        Run.create(override(Config(), data__name="digitz"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def final_state(folder):
    """The last search checkpoint as raw bytes by leaf."""
    run = Run.open(folder)
    search = make_search(
        run.space, run.cost_model, Target("latency_ms", 1.0), run.config.search, run.config.target
    )
    checkpoints = Checkpoints(folder / "checkpoints" / "search")
    step, state = checkpoints.restore(search.init(jax.random.key(0)))
    checkpoints.close()
    assert step == run.config.search.steps
    return {"logits": np.asarray(state.logits), "weights": np.asarray(state.weights)}


def start(finished, folder):
    return subprocess.Popen(
        [
            sys.executable, "-m", "hwnas_jax", "search", "--run-dir", str(folder),
            "--until", "search",
            "--measurements", str(finished / "measurements.json"),
            "--cost-model", str(finished / "cost_model.npz"), *SMALL,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for_a_checkpoint(folder, process, most=35):
    """Waits until some but not all steps are on disk; returns the newest."""
    for _ in range(3000):
        steps = [int(p.name) for p in folder.glob("checkpoints/search/*") if p.name.isdigit()]
        if steps:
            assert max(steps) <= most, "too late to stop it"
            return max(steps)
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


@pytest.mark.slow
def test_killed_in_mid_search_and_resumed_ends_bit_identical(finished, tmp_path):
    folder = tmp_path / "killed"
    process = start(finished, folder)
    wait_for_a_checkpoint(folder, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    whole = [line for line in (folder / "metrics.jsonl").open() if line.endswith("\n")]
    assert json.loads(whole[-1])["step"] < 40
    resumed = subprocess.run(
        [sys.executable, "-m", "hwnas_jax", "search", "--resume", str(folder), "--until", "search"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = final_state(folder), final_state(finished)
    for key, value in ours.items():
        assert value.tobytes() == theirs[key].tobytes(), key
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == list(range(4, 41, 4))


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(finished, tmp_path, signum):
    folder = tmp_path / "stopped"
    process = start(finished, folder)
    wait_for_a_checkpoint(folder, process)
    process.send_signal(signum)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signum, said
    assert f"--resume {folder}" in said.replace("\n", "")
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_a_good_one(
    finished, tmp_path, capsys
):
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    stages = read_json(folder / "stages.json", "stages")
    (folder / "stages.json").write_text(json.dumps({k: stages[k] for k in ("profile", "fit_cost")}))
    for path in (folder / "checkpoints" / "search" / "40").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(b"\0" * path.stat().st_size)
    assert main(["search", "--resume", str(folder), "--until", "search"]) == 2
    said = capsys.readouterr().err
    assert "40 is damaged" in said
    assert "--from-step 36" in said
    assert main(["search", "--resume", str(folder), "--until", "search", "--from-step", "36"]) == 0
    np.testing.assert_array_equal(final_state(folder)["logits"], final_state(finished)["logits"])


@pytest.mark.slow
def test_a_target_out_of_reach_stops_before_training(finished, tmp_path, capsys):
    folder = tmp_path / "far"
    words = ["--cost-model", str(finished / "cost_model.npz"), "--target.ms", "1000000"]
    words += ["--measurements", str(finished / "measurements.json")]
    assert main(["search", "--run-dir", str(folder), *words, *SMALL]) == 2
    said = capsys.readouterr().err
    assert "out of reach" in said
    assert "median" in said
    assert not (folder / "checkpoints").exists()
