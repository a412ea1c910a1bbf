"""A run held against a table: every figure worked out again by listing all cells."""

import dataclasses
import functools
import io
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from rich.console import Console

import hwnas_jax as hw
from hwnas_jax.cli import main
from hwnas_jax.commands.evaluate import show
from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel, Measurements, Sample, save_measurements
from hwnas_jax.display import Silent, Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json, write_json
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.on_table import evaluate_on_table
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import load_benchmark
from tests.tabular.tables import cell_arrays, macro_table, small_table

CONFIG = override(
    Config(), space__args={"channels": 2, "cells": 1}, search__batch_size=16,
    search__steps=2, search__warmup_steps=1, search__steps_per_dispatch=1, derive__confirm=0,
    parallel__devices=1,
)  # fmt: skip
SPACE = make_space("nasbench201", CONFIG.space.args, input_shape=(8, 8, 1), num_outputs=10)
EVERY = SPACE.enumerate()
KNOWN = 15_000
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
# With 1e-4 ms for each multiply-add the windows hold 22 and 771 networks of two costs each.
TARGETS_MS = (4.374, 2.992)


def canonical(cell):
    """Returns a cell without the edges that no path from node 0 to node 3 uses."""
    live = [edge for edge, option in zip(EDGES, cell, strict=True) if option]
    fed, read = {0}, {3}
    for _ in range(3):
        fed |= {target for target, source in live if source in fed}
        read |= {source for target, source in live if target in read}
    return [
        option if source in fed and target in read else 0
        for (target, source), option in zip(EDGES, cell, strict=True)
    ]


@functools.cache
def canonical_forms():
    return [tuple(canonical(cell)) for cell in EVERY.tolist()]


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    """A table of made-up accuracies that lacks 625 cells."""
    return small_table(tmp_path_factory.mktemp("table") / "cells.npz", KNOWN)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two finished searches of two targets whose probabilities and networks were made up."""
    folder = tmp_path_factory.mktemp("on_table")
    made = Run(folder / "run", CONFIG, Silent(), Wanted(targets=TARGETS_MS))
    with made.beginning(named=True):
        made.describe(SPACE.decisions)
    model = dataclasses.replace(AnalyticModel.count(SPACE), line_ms=jnp.array([0.0, 1e-4]))
    model.save(made.folder / "cost_model.npz", SPACE)
    targets = [{"value": value} for value in TARGETS_MS]
    task = {"metric": "accuracy", "higher_is_better": True, "unit": "%"}
    common = {"metric": "latency_ms", "confidence": None, "limits": {}, "range": [], "task": task}
    write_json(made.folder / "targets.json", common | {"targets": targets})
    rng = np.random.default_rng(5)
    weights = np.asarray(make_supernet(SPACE).init(jax.random.key(0)))
    even = np.full((6, 5), 0.2, np.float32)
    probabilities = rng.dirichlet(np.ones(5), (2, 6)).astype(np.float32)
    probabilities[1, 0] = [0, 0, 0, 1, 0]
    Found(probabilities, even, np.stack([weights, 2 * weights])).save(made.folder)
    # The first and the last network of each search are in its window, the second above the limit.
    entries, forms = [], np.array(canonical_forms())
    cost = costs(forms)
    for member in made.members:
        inside = np.flatnonzero((cost <= member.target.value) & (cost > 0.98 * member.target.value))
        picked = [inside[0], np.argmax(cost), inside[-1]]
        for number, (origin, row) in enumerate(
            zip(("search", "random", "most_macs"), picked, strict=True)
        ):
            cell = forms[row]
            entries.append(
                {
                    "origin": origin, "search": member.label, "label": f"{member.label}-{number}",
                    "string": SPACE.to_string(cell), "architecture": SPACE.to_names(cell),
                    "predicted": float(cost[row]), "target": member.target.value,
                    "selected": origin == "search", "seed": member.seed,
                    "training_seed": number,
                }
            )  # fmt: skip
    write_json(made.folder / "networks.json", {"networks": entries, "confirmations": []})
    for stage in ("search", "derive"):
        made.finish(stage, 0.0)
    return made


def macs(cells):
    """Returns the multiply-adds: stem, reductions and head, and convolutions of three stages."""
    one, three = 3 * 2**2 * 8**2, 3 * 9 * 2**2 * 8**2
    return 8410 + one * (cells == 2).sum(1) + three * (cells == 3).sum(1)


def costs(cells):
    return 1e-4 * macs(cells)


@pytest.fixture(scope="module")
def listed():
    """Returns every network of the table by canonical form, its accuracy, cost and aliases."""
    arrays = cell_arrays(KNOWN)
    cells = [tuple(cell) for cell in (4 - arrays["ops"]).tolist()]
    accuracy = dict(zip(cells, (arrays["cifar10_test_200"] / 100).tolist(), strict=True))
    aliases = {}
    for row, form in enumerate(canonical_forms()):
        aliases.setdefault(form, []).append(row)
    networks = sorted(form for form in aliases if form in accuracy)
    quality = np.array([accuracy[network] for network in networks])
    return networks, quality, costs(np.array(networks)), [aliases[n] for n in networks]


@pytest.fixture(scope="module")
def found(run, table_file):
    return evaluate_on_table(run, load_benchmark(table_file, data_set="cifar10"), sample=0)


def test_where_the_networks_stand(run, listed, found):
    networks, quality, cost, _ = listed
    seen = set()
    for row in found["networks"]:
        (search,) = [one for one in found["searches"] if one["search"] == row["search"]]
        cell = tuple(SPACE.from_string(row["string"]).tolist())
        own = np.array([network == cell for network in networks])
        feasible = cost <= search["target"] * (1 + 1e-7)
        window = feasible & (cost >= 0.97 * search["target"])
        assert (search["networks"], search["feasible"], search["window"]) == (
            len(networks), feasible.sum(), window.sum(),
        )  # fmt: skip
        assert search["oracle"]["quality"] == pytest.approx(quality[feasible].max(), rel=1e-6)
        if not own.any():
            seen.add("missing")
            assert row["quality"] is row["window_percentile"] is row["regret"] is None
            continue
        (value,) = quality[own]
        assert row["quality"] == pytest.approx(value, rel=1e-6)
        assert row["regret"] == pytest.approx(quality[feasible].max() - value, abs=1e-6)
        for name, group in (("window_percentile", window), ("feasible_percentile", feasible)):
            expected = scipy.stats.percentileofscore(quality[group & ~own], value, kind="mean")
            assert row[name] == pytest.approx(expected)
        assert row["keeps_limit"] == (row["origin"] != "random")
        seen.add(row["origin"])
    assert seen >= {"search", "random", "most_macs"}
    random = [row for row in found["networks"] if row["origin"] == "random"]
    assert found["origins"]["random"]["over_limit"] == len(random) == 2
    known = [row["regret"] for row in random if row["regret"] is not None]
    assert found["origins"]["random"]["regret"] == pytest.approx(np.mean(known))


def test_what_ranks_the_networks(run, listed, found):
    networks, quality, cost, aliases = listed
    probabilities = Found.load(run.folder, run.space, 2).probabilities
    for number, search in enumerate(found["searches"]):
        chosen = probabilities[number].astype(float)[np.arange(6), EVERY].prod(1)
        probability = np.array([chosen[rows].sum() for rows in aliases])
        over_start = probability / np.array([len(rows) for rows in aliases])
        window = (cost <= search["target"] * (1 + 1e-7)) & (cost >= 0.97 * search["target"])
        by = {rank["by"]: rank for rank in search["ranks"]}
        assert set(by) == {"log_probability", "log_probability_over_start", "macs", "params"}
        for name, score in (
            ("log_probability", probability), ("log_probability_over_start", over_start),
            ("macs", macs(np.array(networks))),
        ):  # fmt: skip
            for where, rows in (("overall", np.ones(len(networks), bool)), ("window", window)):
                # The products of float32 probabilities differ in the last digits: so may ties.
                expected = scipy.stats.kendalltau(np.round(score[rows], 12), quality[rows])
                assert by[name][f"{where}_networks"] == rows.sum()
                assert by[name][where] == pytest.approx(expected.statistic, abs=2e-3)


def test_the_supernets_loss_ranks_too(run, listed, table_file):
    networks, quality, cost, _ = listed
    label = run.members[0].label
    table = load_benchmark(table_file, data_set="cifar10")
    target = run.members[0].target.value
    window = np.flatnonzero((cost <= target * (1 + 1e-7)) & (cost >= 0.97 * target))
    assert 2 < len(window) <= 40
    found = evaluate_on_table(run, table, search=label, sample=40, batches=1)
    (search,) = found["searches"]
    by = {rank["by"]: rank for rank in search["ranks"] if rank["sampled"]}
    assert set(by) == {"low_supernet_loss", "macs", "params"}
    assert {rank["overall_networks"] for rank in by.values()} == {40}
    loss = hw.evaluate(run, np.array(networks)[window], search=label, batches=1)["loss"]
    expected = scipy.stats.kendalltau(-loss, quality[window]).statistic
    assert by["low_supernet_loss"]["window"] == pytest.approx(expected)


def test_a_person_is_shown_what_was_found(found):
    page = io.StringIO()
    show(found, Terminal(Console(file=page, width=200)), percent=True)
    shown = page.getvalue()
    first = found["networks"][0]
    for text in (
        f"{first['label']} *", f"{first['window_percentile']:.1f}", "Kendall's tau with the table",
        "search, 2 networks", "log probability over start", "the oracle is |",
    ):  # fmt: skip
        assert text in shown


def test_published_costs_are_beside_the_predicted(
    run, found, table_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HWNAS_DATA", str(table_file.parent))
    label, target = run.members[0].label, TARGETS_MS[0]
    expected = [row for row in found["networks"] if row["search"] == label]
    names = sorted({row["string"] for row in expected[:2]})
    published = dict(zip(names, [0.5 * target, 1.5 * target], strict=True))
    measured = Measurements(
        device={"platform": "cpu", "kind": "board"}, software={}, batch_size=1, space=SPACE.spec,
        operations={},
        architectures=tuple(SPACE.to_names(SPACE.from_string(name)) for name in names),
        networks=tuple({"latency_ms": Sample(ms)} for ms in published.values()),
    )  # fmt: skip
    save_measurements(measured, tmp_path / "board.json")
    line = (
        f"evaluate {run.folder} --table cells --data-set cifar10 --sample 0 "
        f"--search {label} --latency-table {tmp_path / 'board.json'} --json"
    )
    assert main(line.split()) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["published_costs"].startswith("board.json, board")
    assert shown["searches"] == found["searches"][:1]
    assert len(shown["networks"]) == len(expected) == 3
    for row, known in zip(shown["networks"], expected, strict=True):
        cost = published.get(row["string"])
        kept = None if cost is None else cost <= target
        assert row == known | {"published_cost": cost, "keeps_limit_published": kept}
        over = shown["origins"][row["origin"]]["over_limit_published"]
        assert over == (cost is not None and cost > target)
    page = io.StringIO()
    show(shown, Terminal(Console(file=page, width=200)), percent=True)
    assert f"{1.5 * target:.4g} │" in page.getvalue()


def test_mistakes(run, table_file, tmp_path, capsys):
    macro = macro_table(tmp_path / "macro.npz")
    for line, said in (
        (f"--table {macro}", "is of nasbench_macro, whose decisions are .*nasbench201 are 1<-0 of"),
        (f"--table {table_file} --search x", "unknown search 'x'"),
        (f"--table {table_file} --sample 1", "--sample must be 0, or at least 2"),
        (f"--table {table_file} --batches 0", "--batches must be positive, got 0"),
        (f"--table {table_file} --device pixel3", "--device names a device of --latency-table"),
        ("--table nowhere", "there is no data nowhere"),
        ("", "--table"),
    ):
        assert main(f"evaluate {run.folder} {line}".split()) == 2
        shown = capsys.readouterr()
        text = " ".join((shown.out + shown.err).split())
        assert "Traceback" not in text
        assert re.search(said, text), text


def test_what_is_unfinished_or_damaged(run, table_file, tmp_path):
    table = load_benchmark(table_file, data_set="cifar10")
    copy = shutil.copytree(run.folder, tmp_path / "run")
    payload = read_json(copy / "networks.json", "file")
    del payload["networks"][0]["architecture"]
    write_json(copy / "networks.json", payload)
    with pytest.raises(UserError, match=r"networks\.json: networks\[0\] has no 'architecture'"):
        evaluate_on_table(Run.open(copy), table, sample=0)
    write_json(copy / "stages.json", {"search": {"seconds": 0.0}})
    with pytest.raises(UserError, match="holds no derived networks; continue it with: hwnas sweep"):
        evaluate_on_table(Run.open(copy), table, sample=0)
