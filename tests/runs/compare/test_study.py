"""A comparison's folder: resumed, shared by workers, refused; its page and tables."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hwnas_jax as hw
from hwnas_jax.cli import main
from hwnas_jax.report.compare_page import render, verdict
from hwnas_jax.report.compare_plots import plot_fronts
from hwnas_jax.runs.compare import study
from hwnas_jax.runs.compare.plan import make_plan
from hwnas_jax.runs.compare.settings import Comparison
from tests.runs.compare.studies import CASES, METHODS, TwoLevels, noted, settings
from tests.tabular.tables import macro_table, small_table

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ("results.json", "table.csv", "table.tex", "report.html")


def worker(folder, log, cells_before_it_dies):
    words = [sys.executable, "-m", "tests.runs.compare.studies", str(folder), str(log)]
    return subprocess.Popen(
        [*words, str(cells_before_it_dies)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_killed_and_shared_by_two_workers_it_ends_in_the_same_tables(
    folder, tables, tmp_path, monkeypatch
):
    """The first worker is killed in its second cell; then two processes share the rest."""
    own, log = tmp_path / "study", tmp_path / "log"
    own.mkdir()
    (own / "cells").mkdir()
    (own / "locks").mkdir()
    plan = make_plan(settings(tables))
    plan.settings.save(own, plan.fingerprint)
    killed = worker(own, log, 1)
    assert killed.wait() == -signal.SIGKILL, killed.stderr.read()
    assert len(list((own / "cells").glob("*.npz"))) == 1
    assert not (own / "results.json").exists()
    begun = log.read_text().splitlines()
    assert len(begun) == 2
    log.unlink()

    def wait_for_the_other():
        deadline = time.monotonic() + 300
        while len({line.split()[0] for line in log.read_text().splitlines()}) < 2:
            assert other.poll() is None, other.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    monkeypatch.setattr(study, "run_cell", noted(study.run_cell, log, wait_for_the_other))
    other = worker(own, log, -1)
    hw.compare(folder=own, resume=True)
    assert other.wait() == 0, other.stderr.read()
    begun = log.read_text().splitlines()
    assert len(begun) == 3 * len(CASES) - 1
    assert len({line.split()[0] for line in begun}) == 2
    for name in RESULTS:
        assert (own / name).read_bytes() == (folder / name).read_bytes(), name
    for path in (folder / "cells").iterdir():
        assert (own / "cells" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_finished_comparison_is_left_alone(folder, tables, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    found = hw.compare(settings(tables), folder, resume=True)
    assert [case.label for case in found.cases] == list(CASES)
    assert main(["compare", "--resume", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "The best network of at most 2.5 ms on slow" in shown and "evolution each=3" in shown
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path for path in after if path.suffix != ".lock"} <= before.keys()
    assert all(after[path] == before[path] for path in after if path.suffix != ".lock")


def refused(capsys, line: list[str], *parts: str) -> None:
    assert main(["compare", *line]) == 2
    shown = "".join(capsys.readouterr())
    assert "Traceback" not in shown
    for part in parts:
        assert part in shown, shown


def test_other_settings_and_existing_folders_are_refused(folder, tables, tmp_path, capsys):
    resume = ["--resume", str(folder)]
    refused(capsys, [*resume, "--seeds", "7"], "seeds was 6 and is 7", "new folder")
    refused(capsys, [*resume, "--methods", "random"], f"was {' '.join(METHODS)} and is random")
    refused(capsys, ["another", *resume], "keeps its table", "leave out another")
    refused(capsys, [*resume, "--run-dir", "x"], "--run-dir", "--resume")
    table = str(tables / "accuracy.npz")
    refused(capsys, [table, "--run-dir", str(folder)], "exists", f"--resume {folder}")
    refused(capsys, ["--resume", str(tmp_path)], "no folder of a comparison", "study.json")
    with pytest.raises(hw.UserError, match="was 20 and is 21"):
        hw.compare(settings(tables, queries=21), folder, resume=True)
    text = json.loads((folder / "study.json").read_text())
    text["tables"] = "another"
    (tmp_path / "study.json").write_text(json.dumps(text))
    refused(capsys, ["--resume", str(tmp_path)], "other values", "new folder")
    text["settings"]["sedes"] = 3
    (tmp_path / "study.json").write_text(json.dumps(text))
    refused(capsys, ["--resume", str(tmp_path)], "'sedes'", "Did you mean 'seeds'?")


def test_starts_in_the_same_second_have_folders_of_their_own(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = tmp_path / "runs" / "compare-20261130-120000"
    monkeypatch.setattr(study, "new_folder", lambda name: planned)
    together = threading.Barrier(3)

    def start(_):
        together.wait()
        return study.opened(settings(tables), None, resume=False)[0]

    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(start, range(3)))
    numbers = ("", "-2", "-3")
    assert folders == {planned.with_name(f"{planned.name}{number}") for number in numbers}
    for folder in folders:
        assert study.opened(None, folder, resume=True)[0] == folder


def test_settings_that_cannot_be_used_leave_no_folder(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (None, tmp_path / "a" / "named"):
        with pytest.raises(hw.UserError, match="'evolutoin'"):
            study.opened(settings(tables, methods=("evolutoin",)), folder, resume=False)
        assert not list(tmp_path.iterdir())


REFUSED = [
    ({"cases": ("slwo<=2",)}, ("'slwo'", "fast, slow", "Did you mean 'slow'?")),
    ({"cases": ("slow<=0.5",)}, ("at most 0.5 ms on slow", "nearest limit", "up to")),
    ({"cases": ("slow<=1000",)}, ("every network costs at most 1000 ms", "name the device alone")),
    ({"cases": ("slow<=x",)}, ("'slow<=x'", "above zero", "'x'")),
    ({"cases": ("slow<=2.5", "slow<=2.50")}, ("'slow<=2.5'", "twice")),
    ({"costs": None}, ("'slow<=2.5' needs costs",)),
    ({"cases": ()}, ("no case uses it", "'fast'")),
    ({"costs": None, "cases": (), "task": "x"}, ("task = 'x'", "give costs too")),
    ({"metric": "energy_mj"}, ("'energy_mj'", "latency_ms")),
    ({"task": "cifar10"}, ("'cifar10'",)),
    ({"methods": ("evolutoin",)}, ("'evolutoin'", "Did you mean 'evolution'?")),
    ({"methods": ("evolution,populaton=3",)}, ("'populaton'", "Did you mean 'population'?")),
    ({"methods": ("evolution,population",)}, ("OPTION=VALUE", "'population'")),
    ({"methods": ("evolution", "evolution")}, ("'evolution'", "twice")),
    ({"queries": 9}, ("queries = 9", "10", "at least 10")),
    ({"queries": 2, "methods": ("random,each=3",)}, ("queries = 2", "asks for in a round", "3")),
    (
        {"queries": 20, "methods": ("elimination",)},
        ("queries = 20", "89 that the method elimination takes to decide"),
    ),
    (
        {"methods": ("optuna_tpe,storage=shared.log",)},
        ("optuna_tpe storage=shared.log shares", "leave out its option storage"),
    ),
    ({"seeds": 1}, ("seeds = 1", "greater than or equal to 2")),
    ({"data_set": "cifar11"}, ("'cifar11'", "Did you mean 'cifar10'?")),
    ({"epochs": 13}, ("after 13 epochs", "12", "200")),
    ({"split": "valid"}, ("split = 'valid'", "'validation' or 'test'")),
]


@pytest.mark.parametrize(("changes", "parts"), REFUSED, ids=[str(one) for one, _ in REFUSED])
def test_mistakes_are_refused_before_anything_runs(tables, changes, parts):
    with pytest.raises(hw.UserError) as error:
        make_plan(settings(tables, **{"methods": ("evolution",), **changes}))
    for part in parts:
        assert part in str(error.value)


def test_the_nearest_limit_that_is_offered_is_kept_by_a_network(tables):
    with pytest.raises(hw.UserError, match="nearest limit") as error:
        make_plan(settings(tables, cases=("fast<=0.9",)))
    words = str(error.value).split()
    offered = words[words.index("is", words.index("keeps")) + 1].rstrip(",")
    plan = make_plan(settings(tables, cases=(f"fast<={offered}",)))
    assert plan.cases[0].allowed.sum() >= 1


def test_a_table_of_few_networks_and_one_of_other_decisions_are_refused(tables, tmp_path):
    path = small_table(tmp_path / "few.npz", count=1000)
    with pytest.raises(hw.UserError, match="1,000 of 15,625 networks"):
        make_plan(settings(tables, table=str(path)))
    path = macro_table(tmp_path / "macro.npz")
    with pytest.raises(hw.UserError, match="is of nasbench201"):
        make_plan(settings(tables, table=str(path), split="test"))


def test_more_fidelities_than_the_table_has_are_refused(tables, monkeypatch):
    monkeypatch.setitem(hw.STRATEGIES._own, "two_levels", TwoLevels)
    own = settings(tables, methods=("two_levels",), epochs=12)
    with pytest.raises(hw.UserError, match=r"two_levels evaluates at 2 fidelities.*has 1 "):
        make_plan(own)


def test_random_search_is_always_there_and_first(tables):
    own = {"costs": None, "cases": ()}
    assert list(make_plan(settings(tables, methods=("evolution",), **own)).methods) == [
        "random", "evolution",
    ]  # fmt: skip
    plan = make_plan(settings(tables, methods=("evolution", "random,tries=4"), **own))
    assert list(plan.methods) == ["random tries=4", "evolution"]
    assert plan.baseline == "random tries=4"


def test_settings_are_saved_whole(tables, tmp_path):
    own = settings(tables, epochs=12, split="test", metric="macs")
    own.save(tmp_path, "of the tables")
    assert Comparison.load(tmp_path) == own
    assert settings(tables, methods=list(METHODS), cases=list(CASES)) == settings(tables)


def test_the_page_says_what_was_compared(folder, tables):
    found = hw.compare(folder=folder, resume=True)
    page = (folder / "report.html").read_text()
    for words in (
        "accuracy.npz:cifar10", "validation accuracy after 200 epochs",
        "test accuracy after 200 epochs", "looked up 20 trainings", "6 seeds",
            "15,625 architectures",
        "The best network of at most 2.5 ms on slow", "Without a limit", "over the limit",
        "area of the front", "Wilcoxon", "evolution population=5",
    ):  # fmt: skip
        assert words in page.replace("\u00a0", " "), words
    assert page.count("<svg") == len(CASES) + 1  # a curve each, and the front of one
    assert page.count('class="chosen"') == len(CASES)
    assert "optimistic" not in page
    assert "so that the figures are optimistic" in render(dataclasses.replace(found, on_test=True))
    with pytest.raises(ValueError, match="no front"):
        plot_fronts(found, found.cases[0])


def test_the_words_on_many_cases_count_them(folder):
    found = hw.compare(folder=folder, resume=True)
    many = dataclasses.replace(found, cases=(*found.cases, found.cases[0]))
    shares = [f"in {sum(case.best == one.method for case in many.cases)} of 4 cases"
              for one in found.cases[0].methods
              if any(case.best == one.method for case in many.cases)]  # fmt: skip
    for share in shares:
        assert share in verdict(many)
    assert verdict(found).count("For ") == 2 and "Without a limit" in verdict(found)


def test_tables_say_the_same_as_the_figures(folder):
    found = hw.compare(folder=folder, resume=True)
    rows = list(csv.DictReader((folder / "table.csv").open()))
    given = [(case, one) for case in found.cases for one in case.methods]
    for row, (case, one) in zip(rows, given, strict=True):
        assert (row["case"], row["method"]) == (case.label, one.method)
        assert float(row["mean"]) == one.selected.mean
        assert float(row["regret"]) == one.regret
        assert (row["hypervolume_mean"] == "") == (one.hypervolume is None)
    latex = (folder / "table.tex").read_text()
    assert r"\toprule" in latex and r"slow$\leq$2.5" in latex
    assert latex.count(r"\mathbf") == len(CASES)
    first = found.cases[0].methods[1].selected
    assert f"{100 * first.mean:.2f}" in latex and rf"\pm {100 * first.std:.2f}" in latex
    assert json.loads((folder / "results.json").read_text())["seeds"] == found.seeds
