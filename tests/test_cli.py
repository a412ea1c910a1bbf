"""Commands run in this process, as a person who mistypes would run them."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.cli import COMMANDS, main
from hwnas_jax.commands.method_options import take_methods
from hwnas_jax.commands.options import parse
from hwnas_jax.commands.search import SearchOptions
from hwnas_jax.config import Config, load_config, override, save_config
from hwnas_jax.cost import (
    AnalyticModel,
    Measurements,
    Sample,
    load_cost_model,
    save_measurements,
)
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.data.nasbench360.definitions import TASKS360
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.architecture_files import load_architecture
from hwnas_jax.spaces.core.supernet import make_supernet

TINY = override(
    Config(), space__args={"channels": 2, "cells": 1}, profile__networks=12, profile__rounds=2,
    profile__max_rounds=2, profile__measure_rounds=2, search__steps=4, search__warmup_steps=1,
    search__steps_per_dispatch=2, search__batch_size=16, derive__rule=Part("most_probable"),
    derive__confirm=0, parallel__devices=1,
)  # fmt: skip


def finished_search(folder: Path) -> None:
    """Writes the config `tiny.json` and `run`, which ended with its search, without a search."""
    save_config(TINY, folder / "tiny.json")
    space = make_space("nasbench201", TINY.space.args, input_shape=(8, 8, 1), num_outputs=10)
    architectures = np.random.default_rng(0).integers(0, 5, (12, 6))
    latencies_ms = 1.0 + 0.2 * (architectures == 3).sum(1) + 0.1 * (architectures == 2).sum(1)
    measured = Measurements(
        device={"platform": "cpu", "kind": "cpu"}, software={}, batch_size=64, space=space.spec,
        operations={}, architectures=tuple(space.to_names(row) for row in architectures),
        networks=tuple({"latency_ms": Sample(float(ms))} for ms in latencies_ms),
    )  # fmt: skip
    save_measurements(measured, folder / "measurements.json")
    model = AnalyticModel.fit(space, measured.observations(space), TINY.cost)
    model.save(folder / "cost_model.npz", space)
    run = Run.create(
        TINY, folder / "run",
        measurements=folder / "measurements.json", cost_model=folder / "cost_model.npz",
    )  # fmt: skip
    weights = np.zeros((1, make_supernet(space).num_weights), np.float32)
    even = (space.mask / space.mask.sum(-1, keepdims=True)).astype(np.float32)
    Found(probabilities=even[None], prior=even, weights=weights).save(run.folder)
    run.finish("search", 0.0)
    assert main(["derive", str(run.folder), "--out", str(run.folder / "architecture.json")]) == 0
    (folder / "measurements.json").unlink()
    (folder / "cost_model.npz").unlink()


@pytest.fixture(scope="session")
def finished(once):
    """The folder that `finished_search` fills."""
    return once("test_cli-finished", finished_search)


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    """A working folder of its own with copies of `tiny.json` and `run`."""
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "here"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def refused(capsys, folder: Path, line: str) -> str:
    """Returns what the command says; it must exit with 2 and leave nothing new behind."""
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert sorted(folder.rglob("*")) == before
    assert "Traceback" not in shown.out + shown.err
    return shown.out + shown.err


TYPED = [
    ("serach", ("command 'serach'", "search, sweep, profile", "Did you mean 'search'?")),
    ("cost", ("command 'cost'", "Did you mean 'cost fit'?")),
    ("cost fti", ("command 'cost fti'", "Did you mean 'cost fit'?")),
    ("list extra", ("'extra'", "systems, tasks360")),
    ("list task360", ("'task360'", "Did you mean 'tasks360'?")),
    ("list tasks360 more", ("more",)),
    ("search digts", ("config 'digts'", "Did you mean 'digits'?")),
    ("search missing.py", ("missing.py",)),
    ("search missing.json", ("missing.json",)),
    ("search --serach.steps 3", ("--serach.steps", "--search.steps")),
    ("search --search.step 3", ("--search.step,", "--search.steps INT", "1500")),
    ("search --search.steps 0", ("search.steps = 0", "greater than 0")),
    ("search --search.steps", ("--search.steps",)),
    ("search --seed x", ("--seed", "'x'")),
    ("search --seed -1", ("seed = -1",)),
    ("search --target.value nan", ("target.value", "nan")),
    ("search --space.name nasbench2001", ("'nasbench2001'", "Did you mean 'nasbench201'?")),
    ("search --space.args.chanels 4", ("'chanels'", "Did you mean 'channels'?")),
    ("search --space.args.channels x", ("--space.args.channels", "'x'")),
    ("search --space.name fbnet --space.args.with 2", ("space fbnet 'with'", "'width'?")),
    ("search --space.args.channels 0", ("channels = 0", "greater than or equal to 1")),
    ("search --search.relaxation gumbel", ("'gumbel'", "softmax, ", "'gumbel_softmax'?")),
    ("search --search.relaxation", ("needs a name", "hwnas list")),
    (
        "search --search.relaxation drnas learning_rate",
        ("'learning_rate' has no value",),
    ),
    ("search --search.relaxation drnas learning_rte 1", ("'learning_rte'", "'learning_rate'?")),
    (
        "search --search.relaxation drnas learning_rate 0",
        ("drnas: learning_rate = 0", "greater than 0"),
    ),
    ("search --search.relaxation.nmae drnas", ("--search.relaxation.nmae", "NAME [OPTION VALUE")),
    ("search --budget dual_acsent", ("budget 'dual_acsent'", "Did you mean 'dual_ascent'?")),
    ("search --search.strategy evolutoin", ("'evolutoin'", "Did you mean 'evolution'?")),
    ("search --derive.rule most_prbable", ("'most_prbable'", "Did you mean 'most_probable'?")),
    ("search --task regresion", ("'regresion'", "Did you mean 'regression'?")),
    ("search --cost.model mpl", ("'mpl'", "table", "Did you mean 'mlp'?")),
    ("search --data.name digitz", ("'digitz'", "idx", "Did you mean 'digits'?")),
    ("search --data.name idx", ("data.path",)),
    ("search --data.name idx --data.path nowhere", ("nowhere",)),
    ("search --data.path nowhere", ("'nowhere': there is no such file or folder",)),
    ("search digits --data.path .", ("'.' holds nothing; no data source reads it", ".npz")),
    ("search --data.name gratings --data.path .", ("gratings reads no files of yours",)),
    ("search --data.name digits --retrain.batch-size 4096", ("retrain.batch_size = 4096", "1294")),
    ("search --until serach", ("stage 'serach'", "fit_cost", "Did you mean 'search'?")),
    ("search --parallel.devices 99", ("parallel.devices = 99", "1 to 8")),
    ("search --parallel.backend pmpa", ("'pmpa'", "shard_map")),
    ("search --search.batch-size 30", ("search.batch_size = 30", "8 devices", "32")),
    ("search --space.name :", ("':' names no search space", "my_method.py:MyMethod")),
    (
        "search --parallel.coordinator= --parallel.processes 2",
        ("parallel.coordinator", "but not parallel.process:"),
    ),
    ("search --resume", ("--resume",)),
    ("search --resume nonsense", ("nonsense", "no run folder")),
    ("search --from-step 3", ("--from-step", "--resume")),
    ("search --run-dir new --measurements missing.json", ("missing.json",)),
    ("search --run-dir new --cost-model missing.npz", ("missing.npz",)),
    ("profile --profile.network 3", ("--profile.network,", "--profile.networks")),
    ("profile --out nowhere/m.json", ("no folder nowhere", "m.json")),
    ("cost fit", ("measurement file",)),
    ("cost fit missing.json", ("missing.json",)),
    ("derive", ("run folder",)),
    ("derive missing", ("missing is no run folder",)),
    ("report missing", ("missing is no run folder",)),
    ("retrain missing.json", ("missing.json",)),
    ("retrain [0,1,2]", ("no file '[0,1,2]'", "3 numbers of options", "6 decisions")),
    ("measure |none~0|", ("no file '|none~0|'", "is no nasbench201 cell")),
    ("measure no_table:3", ("there is no data no_table",)),
    ("measure missing.json", ("missing.json",)),
    ("measure .", ("is a directory",)),
]


@pytest.mark.parametrize(("line", "parts"), TYPED, ids=[line for line, _ in TYPED])
def test_mistakes(capsys, empty, line, parts):
    shown = refused(capsys, empty, line).lower()
    for part in parts:
        assert part.lower() in shown


RUNS = [
    ("search tiny.json --run-dir run", ("the folder run exists", "--resume run")),
    ("search tiny.json --run-dir tiny.json", ("tiny.json exists",)),
    ("search tiny.json --run-dir tiny.json/x", ("tiny.json/x",)),
    ("search --resume nonsense", ("nonsense is no run folder", "beside it: run")),
    ("search --resume run --seed 4", ("changed were: seed", "--parallel")),
    ("search --resume run --profile.networks 20", ("may change only before profile, which",)),
    ("search --resume run --run-dir other", ("--run-dir", "--resume")),
    ("search --resume run --from-step 2", ("--from-step", "finished")),
    ("search --resume run --parallel.devices 99", ("parallel.devices = 99", "1 to 8")),
    ("search tiny.json --resume run", ("keeps its config", "tiny.json")),
    ("search --run-dir new --cost-model run/cost_model.npz", ("'channels': 2", "'channels': 8")),
    ("search tiny.json --run-dir new --target.value 1e9 --cost-model run/cost_model.npz",
     ("target 1e+09 ms is out of reach", "on this device")),
    ("search tiny.json --run-dir new --target.metric latnecy --cost-model run/cost_model.npz",
     ("'latnecy'", "Did you mean 'latency_ms'?")),
    ("search tiny.json --run-dir new --cost-model run", ("run",)),
    ("profile tiny.json --out run", ("run exists", "--out")),
    ("cost fit run/measurements.json tiny.json --out run", ("run exists", "--out")),
    ("cost fit run/measurements.json tiny.json --cost.model mpl", ("Did you mean 'mlp'?",)),
    ("cost fit run/cost_model.npz", ("run/cost_model.npz",)),
    ("derive run --out run", ("run exists", "--out")),
    ("derive run --targets 1e9", ("target 1e+09 ms is out of reach",)),
    ("derive run --targets -1", ("target.value = -1.0",)),
    ("derive run --targets 1.5 nan --by supernet", ("target.value = nan must be a finite",)),
    ("derive run --targets 1.5 2 1.50", ("--targets names 1.5 more than once",)),
    ("derive run --targets 1.5 2 --out run", ("run exists", "--out")),
    ("derive run --by supernet --targets 0.1 1.5", ("no network is predicted to meet 0.1 ms",
                                                    "the least that any takes is 1.104 ms")),
    ("derive run --supernet.samples 1", ("--supernet.samples = 1", "8")),
    ("derive run --by supernet --supernet.predictor gausian", ("Did you mean 'gaussian'?",)),
    ("derive run --search serach", ("'serach'", "Did you mean 'search'?")),
    ("search --resume run --search.relaxation softmax", ("changed were: search.relaxation.name",)),
    ("sweep --resume run", ("run of one search", "hwnas search --resume run")),
    ("retrain run", ("run",)),
    ("measure run/measurements.json", ("no architecture file",)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "parts"), RUNS, ids=[line for line, _ in RUNS])
def test_mistakes_beside_a_run(capsys, here, line, parts):
    shown = refused(capsys, here, line)
    for part in parts:
        assert part in shown


@pytest.mark.parametrize("word", ["\x1b[2J", "a\0b", "\u202egnp"])
@pytest.mark.parametrize("line", ["list", "search", "report", "search --seed", "nonsense"])
def test_what_would_control_the_terminal_is_not_repeated(capsys, empty, line, word):
    assert main([*line.split(), word]) == 2
    said = "".join(capsys.readouterr())
    assert "holds a control character" in said and not set(word) & set("\x1b\0\u202e") & set(said)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("measurements.json", "cost fit {} tiny.json"),
        ("measurements.json", "search tiny.json --run-dir new --measurements {}"),
        ("cost_model.npz", "search tiny.json --run-dir new --cost-model {}"),
        ("architecture.json", "measure {}"),
        ("architecture.json", "retrain {} tiny.json"),
    ],
)
def test_damaged_file_is_named_and_a_good_one_offered(capsys, here, name, line):
    content = (here / "run" / name).read_bytes()
    damaged = here / "damaged" / name
    damaged.parent.mkdir()
    damaged.write_bytes(content[: len(content) // 2])
    shown = refused(capsys, here, line.format(f"damaged/{name}"))
    assert f"damaged/{name}" in shown
    assert f"The newest good one is {here / 'run' / name}" in shown


def test_run_folder_with_an_unknown_key(capsys, here):
    path = here / "run" / "config.json"
    payload = json.loads(path.read_text())
    payload["config"]["search"]["stpes"] = 3
    path.write_text(json.dumps(payload))
    for line in ("search --resume run", "derive run", "report run"):
        shown = refused(capsys, here, line)
        assert "run/config.json" in shown
        assert "Did you mean 'steps'?" in shown


def test_unfinished_run_derives_nothing(capsys, here):
    path = here / "run" / "stages.json"
    stages = json.loads(path.read_text())
    del stages["search"]
    path.write_text(json.dumps(stages))
    assert "no finished search" in refused(capsys, here, "derive run")


def test_many_budgets_are_derived_in_one_call(capsys, here):
    """From a supernet that finds all networks alike, since all of its weights are zero."""
    words = ["--supernet.samples", "8", "--supernet.batches", "1", "--supernet.generations", "2"]
    budgets = [1.2, 1.5, 2.0]
    line = ["derive", "run", "--by", "supernet", *words, "--targets", *map(str, budgets)]
    assert main(line) == 0
    kept = (here / "run" / "judged_search.npz").read_bytes()
    assert "accuracy by the supernet" in " ".join(capsys.readouterr().out.split())
    with (here / "architectures" / "budgets.csv").open() as file:
        rows = list(csv.DictReader(file))
    model = load_cost_model(here / "run" / "cost_model.npz", Run.open(here / "run").space)
    assert [float(row["budget_latency_ms"]) for row in rows] == budgets
    for row in rows:
        space, architecture = load_architecture(here / "architectures" / row["file"])
        assert space.to_string(architecture) == row["architecture"]
        cost = predict_architectures(model, architecture[None], space.num_options)["latency_ms"][0]
        assert float(row["predicted_latency_ms"]) == pytest.approx(cost, rel=1e-5)
        assert cost <= float(row["budget_latency_ms"])
        assert float(row["judged_accuracy"]) == float(rows[0]["judged_accuracy"])
    assert main([*line[:-3], "1.5", "--out", "one.json"]) == 0
    assert load_architecture(here / "one.json")[0].spec == space.spec
    assert len((here / "run" / "judged_search.npz").read_bytes()) >= len(kept)
    assert main(["derive", "run", "--targets", "1.2", "2.0", "--out", "by_rule"]) == 0
    assert sorted(p.name for p in (here / "by_rule").iterdir()) == [
        "1.2.json", "2.json", "budgets.csv"
    ]  # fmt: skip


def test_unfinished_run_has_a_page(capsys, here):
    assert main(["report", "run"]) == 0
    assert (here / "run" / "report.html").is_file()
    assert "run/report.html" in capsys.readouterr().out


def test_finished_stages_are_left_alone(here):
    before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    assert main(["search", "--resume", "run", "--until", "search"]) == 0
    assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before


def test_saved_config_has_the_overrides(here):
    words = "search tiny.json --run-dir new --until fit_cost --seed 7 --search.steps 6"
    assert main([*words.split(), "--cost-model", "run/cost_model.npz"]) == 0
    # The run says which data it took where the config left that open.
    expected = override(TINY, seed=7, search__steps=6, data__name="digits")
    assert load_config("new/config.json") == expected


def test_measure_reads_what_derive_wrote(capsys, here):
    line = "measure run/architecture.json tiny.json --cost-model run/cost_model.npz"
    assert main(line.split()) == 0
    shown = capsys.readouterr().out
    assert "ms per call of 64 images" in shown
    assert "predicted" in shown


def test_measure_takes_an_architecture_of_the_configs_space(capsys, here):
    assert main(["measure", "[0,1,0,1,0,1]", "tiny.json"]) == 0
    space = make_space("nasbench201", TINY.space.args, input_shape=(8, 8, 1), num_outputs=10)
    string = space.to_string(np.array([0, 1, 0, 1, 0, 1]))
    assert f"{string}: " in " ".join(capsys.readouterr().out.split())


def test_a_cost_model_of_something_else_is_refused_before_the_device_is_timed(capsys, here):
    space = make_space("nasbench201", TINY.space.args, input_shape=(8, 8, 1), num_outputs=10)
    AnalyticModel.count(space).save(here / "counts.npz", space)
    shown = refused(capsys, here, "measure run/architecture.json --cost-model counts.npz")
    assert "'latency_ms'" in shown and "macs" in shown


FORMS = (
    "--search.relaxation drnas kl_weight 0.5 --budget product",
    "--budget=product --search.relaxation.args.kl_weight=0.5 --search.relaxation.name drnas",
    "--search.relaxation=drnas --search.relaxation.args kl-weight 0.5 --budget.name product",
)


def test_the_forms_of_a_method_mean_the_same(here):
    found = [parse(SearchOptions, ["tiny.json", *form.split()], "search") for form in FORMS]
    assert found[0].config == override(
        TINY, search__relaxation=Part("drnas", {"kl_weight": 0.5}), budget=Part("product")
    )
    assert found[1:] == found[:1] * (len(FORMS) - 1)


def test_options_of_one_method_are_not_kept_for_another():
    line = "--space.name fbnet --space.args.width 0.5 --budget.args damping 1 --seed 3"
    rest, config = take_methods(line.split(), TINY)
    assert rest == ["--seed", "3"]
    assert config.space == dataclasses.replace(TINY.space, name="fbnet", args={"width": 0.5})
    assert config.budget == Part("upper_bound", {"damping": 1})
    again = take_methods(["--budget.name", "product"], config)[1]
    assert again.budget == Part("product")
    assert take_methods(["--budget.name", "upper_bound"], config)[1] == config


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, empty, command):
    assert main([*command.split(), "--help"]) == 0
    assert f"usage: hwnas {command}" in capsys.readouterr().out


def test_help_and_bare_command(capsys, empty):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in COMMANDS)
    assert main([]) == 2
    assert main(["cost", "-h"]) == 0
    assert main(["search", "-h"]) == 0


def test_help_shows_the_defaults_of_the_config(capsys, here):
    assert main(["search", "tiny.json", "--help"]) == 0
    assert "(default: 4)" in capsys.readouterr().out


def test_list_keeps_a_line_a_name(capsys, empty, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    indented = [line.split()[0] for line in lines if line.startswith("  ")]
    known = {"nasbench201", "sampled_path", "gradient", "evolution", "table", "perturbation", "mlp"}
    assert known | {"regression", "upper_bound", "reinforce", "digits", "cpu:0"} <= set(indented)
    titles = [line for line in lines if not line.startswith("  ")]
    assert "relaxations  --search.relaxation" in titles
    assert [title.partition("  --")[0] for title in titles] == [
        "search spaces", "tasks", "data sources", "strategies", "predictors", "relaxations",
        "estimators", "evaluators", "budgets", "derivations", "meta-learners",
        "cost models", "configs", "devices",
    ]  # fmt: skip
    assert indented.index("gradient") < indented.index("evolution") < indented.index("reinforce")


def test_list_shows_the_tasks_of_nasbench360(capsys, empty):
    assert main(["list", "tasks360"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    assert titles == list(TASKS360) and len(titles) == 10
    darcy = " ".join(lines[lines.index(next(x for x in lines if x.startswith("darcy"))) :][:7])
    for said in ("85x85x3 -> 1 for each of 85x85", "900 train, 100 validation, 100 test",
                 "relative L2", "DARTS GAEA 0.026", "expert 0.0065", "dense_regression",
                 "--data.name nb360_darcy", "piececonst_r421_N1024_smooth2.mat"):  # fmt: skip
        assert said in darcy


@pytest.mark.slow
def test_module_exit_code():
    words = [sys.executable, "-m", "hwnas_jax", "serach"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'search'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_starts_without_what_only_some_commands_need():
    heavy = {"matplotlib", "orbax.checkpoint", "pydantic", "scipy.optimize", "scipy.stats",
             "sklearn", "tensorflow_datasets"}  # fmt: skip
    code = (
        "import sys; from hwnas_jax.cli import main; code = main(['list']); "
        f"print(code, *sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0"
