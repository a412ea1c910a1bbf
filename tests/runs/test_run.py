"""The whole job in small: stages, files, killing, resuming."""

import json
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import override
from hwnas_jax.cost import load_cost_model
from hwnas_jax.files.json_files import read_json
from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.gradient_search import search_functions
from hwnas_jax.runs.run import Run
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces.core.architecture_files import load_architecture
from hwnas_jax.train.examples import load_examples
from hwnas_jax.train.tested import load_tested
from tests.helpers import FINISHED_RUN


def read(folder, name):
    return read_json(folder / f"{name}.json", name)


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


@pytest.mark.slow
def test_every_stage_leaves_its_files(finished_run):
    for name in (
        "config.json", "versions.json", "space.json", "searches.json", "measurements.json",
        "cost_model.npz", "cost_fit.json", "targets.json", "metrics.jsonl", "search.npz",
        "networks.json", "tested.npz", "architecture.json", "stages.json", "report.html",
        "report.json", "examples_search-1.npz",
    ):  # fmt: skip
        assert (finished_run / name).is_file(), name
    networks = read(finished_run, "networks")["networks"]
    assert [n["origin"] for n in networks] == ["search", "random", "no_search", "most_macs"]
    (target,) = read(finished_run, "targets")["targets"]
    for network in networks:
        assert 0.97 * target["value"] <= network["predicted"] <= target["value"]
        assert network["measured"] > 0
        assert 0 < network["test_metric"] <= 1
        assert network["test_metrics"].keys() == {"accuracy", "macro_f1"}
        assert network["test_metrics"]["accuracy"] == network["test_metric"]
        assert network["target"] == target["value"]
    examples = load_examples(finished_run, "search-1")
    right = load_tested(finished_run)["search-1"][examples.numbers]
    assert ((examples.predicted == examples.targets) == right).all()
    assert "On test examples" in (finished_run / "report.html").read_text()
    run = Run.open(finished_run)
    assert target["percentile"] == run.config.target.percentile
    space, found = load_architecture(finished_run / "architecture.json")
    assert space.to_string(found) == networks[0]["string"]
    losses = [line["weight_loss"] for line in log(finished_run) if line["stage"] == "search"]
    assert np.mean(losses[-3:]) < 0.98 * losses[0]


@pytest.mark.slow
def test_controls_stand_beside_the_search_at_equal_cost(finished_run):
    run, payload = Run.open(finished_run), read(finished_run, "networks")
    networks = {network["origin"]: network for network in payload["networks"]}
    tried = {}
    for row in payload["confirmations"]:
        tried.setdefault(row["origin"], {})[row["string"]] = row["measured"]
    assert {origin: len(rows) for origin, rows in tried.items()} == dict.fromkeys(networks, 2)
    # A network is measured once, whoever proposes it.
    assert tried["random"] == tried["no_search"]
    # A 3x3 convolution takes nine times the operations of a 1x1, all else takes none.
    strings = [run.space.to_string(c.architecture) for c in run.candidates(control="most_macs")]
    macs = [9 * s.count("nor_conv_3x3") + s.count("nor_conv_1x1") for s in strings]
    assert macs == sorted(macs, reverse=True) and macs[0] > macs[-1]
    assert set(tried["most_macs"]) == set(strings[:2])
    # The ratio to the start has nothing to go by without a search, so both are by chance: the same
    # network from the same seed, trained once.
    same = ("string", "training_seed", "validation_metric", "test_metric", "measured")
    for key in same:
        assert networks["random"][key] == networks["no_search"][key]
    trained = {line["network"] for line in log(finished_run) if line["stage"] == "retrain"}
    assert trained == {"search-1", "random-1", "most_macs-1"}
    assert len({network["training_seed"] for network in networks.values()}) == 1
    right = load_tested(finished_run)
    assert right.keys() == {network["label"] for network in networks.values()}
    for network in networks.values():
        assert right[network["label"]].mean() == pytest.approx(network["test_metric"])
    (decided,) = payload["decided"]
    assert decided["derived"] == networks["search"]["probability"]
    assert 0 < decided["derived"] <= decided["within_budget"] <= 1
    assert decided["derived"] <= decided["probability"]
    report, page = read(finished_run, "report"), (finished_run / "report.html").read_text()
    assert [one["control"] for one in report["comparisons"]] == [*networks][1:]
    assert {one["basis"] for one in report["comparisons"]} == {"examples"}
    # After twelve architecture steps no network is probable.
    assert "This search did not decide: its most probable network" in report["verdict"]
    assert "Beside the controls" in page


@pytest.mark.slow
def test_a_finished_run_is_neither_repeated_nor_overwritten(finished_run, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}
    assert main(["search", "--resume", str(finished_run)]) == 0
    assert main(["search", "--run-dir", str(finished_run)]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before


def files_of(folder):
    return {
        "measurements": folder / "measurements.json", "cost_model": folder / "cost_model.npz",
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_measures_during_the_search_and_keeps_its_budget_with_a_confidence(
    finished_run, tmp_path
):
    """From Python, with files of another run, and only as far as the derivation."""
    config = override(
        Run.open(finished_run).config, target__percentile=75.0, target__confidence=0.7,
        target__measurements=3, target__measure_every=12, search__steps=32, derive__confirm=0,
    )  # fmt: skip
    run = Run.create(config, tmp_path / "sure", **files_of(finished_run))
    run.all(until="derive")
    assert run.target.value > Run.open(finished_run).target.value
    assert not run.finished("retrain")
    rows = read(run.folder, "measurements_during_search")["networks"]
    assert [row["step"] for row in rows] == [20, 20, 20]
    assert all(row["measured"] > 0 and row["std"] > 0 for row in rows)
    last = load_cost_model(run.folder / "cost_models" / "step-20.npz", run.space)
    kept = [folder / "cost_model.npz" for folder in (run.folder, finished_run)]
    assert kept[0].read_bytes() == kept[1].read_bytes()
    for network in read(run.folder, "networks")["networks"]:
        weight = np.eye(5, dtype=np.float32)[run.space.from_names(network["architecture"])]
        mean, std = (float(f(weight)["latency_ms"]) for f in (last.predict, last.std))
        assert mean + 0.5244005 * std <= run.target.value * (1 + 1e-5)
        assert network["predicted"] == pytest.approx(mean, rel=1e-4)
        assert network["predicted_bound"] == pytest.approx(mean + 0.5244005 * std, rel=1e-4)


def final_state(folder):
    """Returns the leaves of the last search checkpoint, as bytes."""
    run = Run.open(folder)
    methods = make_methods(run.space, run.task, run.config)
    search = search_functions(methods, run.target, run.config)
    template = jax.eval_shape(lambda: search.init(jax.random.key(0), run.target.limits))
    template = template._replace(key=None)
    template = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    checkpoints = Checkpoints(folder / "checkpoints" / "search")
    step, state = checkpoints.restore(template._replace(key=jax.random.key(0)))
    checkpoints.close()
    assert step == run.config.search.steps
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def start(finished_run, folder):
    """Starts the search of the finished run again, in a process of its own."""
    words = ["search", "--run-dir", str(folder), "--until", "search", *FINISHED_RUN]
    for name, path in files_of(finished_run).items():
        words += [f"--{name.replace('_', '-')}", str(path)]
    return subprocess.Popen(
        [sys.executable, "-m", "hwnas_jax", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for_a_checkpoint(folder, process, most=35):
    """Waits until some but not all steps are on disk."""
    for _ in range(6000):
        steps = [int(p.name) for p in folder.glob("checkpoints/search/*") if p.name.isdigit()]
        if steps:
            assert max(steps) <= most, "too late to stop it"
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


@pytest.mark.slow
def test_killed_in_mid_search_and_resumed_ends_bit_identical(finished_run, tmp_path):
    folder = tmp_path / "killed"
    process = start(finished_run, folder)
    wait_for_a_checkpoint(folder, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    whole = [line for line in (folder / "metrics.jsonl").open() if line.endswith("\n")]
    assert json.loads(whole[-1])["step"] < 40
    assert main(["search", "--resume", str(folder), "--until", "search"]) == 0
    assert final_state(folder) == final_state(finished_run)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == list(range(4, 41, 4))


@pytest.mark.slow
def test_a_signal_saves_and_says_how_to_go_on(finished_run, tmp_path):
    """As Ctrl-C does; that a second run goes on from there is a test of the loop."""
    folder = tmp_path / "stopped"
    process = start(finished_run, folder)
    wait_for_a_checkpoint(folder, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT, said
    assert f"--resume {folder}" in said.replace("\n", "")
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_a_good_one(
    finished_run, tmp_path, capsys
):
    folder = tmp_path / "damaged"
    shutil.copytree(finished_run, folder)
    stages = read(folder, "stages")
    (folder / "stages.json").write_text(json.dumps({k: stages[k] for k in ("profile", "fit_cost")}))
    for path in (folder / "checkpoints" / "search" / "40").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(b"\0" * path.stat().st_size)
    resume = ["search", "--resume", str(folder), "--until", "search"]
    assert main(resume) == 2
    said = capsys.readouterr().err
    assert "40 is damaged" in said
    assert "--from-step 36" in said
    assert main([*resume, "--from-step", "36"]) == 0
    assert final_state(folder) == final_state(finished_run)


@pytest.mark.slow
def test_a_budget_on_one_side_allows_what_uses_little(finished_run, tmp_path):
    """Under an upper bound all networks below the limit are candidates; the search goes by it."""
    config = override(
        Run.open(finished_run).config, budget__name="upper_bound", search__steps=12,
        search__estimator__name="reinforce", derive__rule__name="best_by_supernet",
        derive__rule__args={"candidates": 20}, derive__confirm=0,
    )  # fmt: skip
    run = Run.create(config, tmp_path / "bound", **files_of(finished_run))
    run.all(until="derive")
    found = run.candidates()
    assert len(found) == 20
    assert all(candidate.predicted <= run.target.value for candidate in found)
    among = [candidate.predicted for candidate in run.candidates(control="random")]
    assert min(among) < 0.9 * run.target.value
    # The order is that of the supernet's own losses.
    judge = run.proposals._searched(0, run.config.seed)
    networks = np.stack([candidate.architecture for candidate in found])
    losses = judge.judge(judge.weights, networks)["loss"]
    assert (np.diff(losses) >= 0).all() and losses[0] < losses[-1]
