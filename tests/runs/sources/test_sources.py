"""Sources compared: every figure worked out again, from searches that are made up."""

import csv
import json
import signal
import zlib

import numpy as np
import pytest
import scipy.stats

import hwnas_jax as hw
from hwnas_jax.cli import main
from hwnas_jax.config import Config, override, save_config
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.files.writer import Writer
from hwnas_jax.registry import Part
from hwnas_jax.runs import run as run_module
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.sources.plan import make_plan
from hwnas_jax.spaces import make_space
from tests.tabular.tables import cell_arrays, small_table

SOURCES = ("random_labels", "rotation,repeats=2")
LABELS = ["real", "random_labels", "rotation repeats=2"]
SETS = ("cifar10", "cifar100")
SEEDS, ASKED, DRAWN = 3, 40, 7
CONFIG = override(
    Config(), seed=4, space__args={"channels": 2, "cells": 1}, data__name="digits",
    data__flip=True, target__metric="macs", cost__model=Part("analytic"),
    search__strategy=Part("evolution"), derive__rule=Part("most_probable"), parallel__devices=1,
)  # fmt: skip
SPACE = make_space("nasbench201", CONFIG.space.args, input_shape=(8, 8, 1), num_outputs=10)


def told(dataset, seed):
    """Returns what a search was told: cells and their scores, by the name of the data and seed."""
    rng = np.random.default_rng([zlib.crc32(dataset.encode()), seed])
    return rng.integers(0, 5, (ASKED, 6)).astype(np.int32), rng.random(ASKED)


class MadeUp:
    """Stands for the searches; notes what they learned from, and may stop before one of them."""

    def __init__(self, stop_before=None):
        self.seen, self.stop_before = [], stop_before

    def __call__(self, space, dataset, cost_model, members, config, **_):
        if dataset.name == self.stop_before:
            raise Interrupted("stopped", signal.SIGINT)
        self.seen.append((dataset.name, space.num_outputs, config.data.flip))
        both = [told(dataset.name, member.seed) for member in members]
        networks, scores = (np.stack(column) for column in zip(*both, strict=True))
        return Found(networks=networks, scores=scores, excess=np.zeros(scores.shape))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "cells.npz")


def settings(table, **changes):
    given = {"sources": SOURCES, "data_sets": SETS, "seeds": SEEDS, "drawn": DRAWN}
    return hw.SourceComparison(str(table), **{**given, **changes})


def words(table, config):
    return [
        "sources", str(config), "--table", str(table), "--sources", *SOURCES, "--data-sets", *SETS,
        "--seeds", str(SEEDS), "--drawn", str(DRAWN),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, table):
    """A comparison by the command, stopped once: its folder, and what its searches learned from.

    Where it stopped, a run folder stands that a start which was cut off has left.
    """
    folder = tmp_path_factory.mktemp("sources")
    save_config(CONFIG, folder / "config.json")
    with pytest.MonkeyPatch.context() as patch:
        first, second = MadeUp(stop_before="rotation"), MadeUp()
        patch.setattr(run_module, "run_searches", first)
        arguments = words(table, folder / "config.json")
        assert main([*arguments, "--run-dir", str(folder / "all")]) == 128 + signal.SIGINT
        runs = folder / "all" / "runs"
        (next(runs.glob("2-*")) / "stages.json").unlink()
        patch.setattr(run_module, "run_searches", second)
        assert main(["sources", "--resume", str(folder / "all")]) == 0
    return folder / "all", first.seen, second.seen


@pytest.fixture(scope="module")
def figures(whole):
    found = json.loads((whole[0] / "results.json").read_text())
    return found, {one["source"]: one["figures"] for one in found["sources"]}


def test_only_what_is_learned_from_differs(whole):
    assert whole[1] == [("digits", 10, True), ("random_labels", 10, True)]
    assert whole[2] == [("rotation", 4, False)], "what was finished is not searched again"
    folders = sorted((whole[0] / "runs").iterdir())
    assert len(folders) == 3
    models = [(folder / "cost_model.npz").read_bytes() for folder in folders]
    assert len(set(models)) == 1
    targets = [json.loads((folder / "targets.json").read_text())["targets"] for folder in folders]
    assert len({str([one["value"] for one in own]) for own in targets}) == 1
    assert all(json.loads((folder / "targets.json").read_text())["task"]["outputs"]
               == [str(number) for number in range(10)] for folder in folders)  # fmt: skip


def canonical_accuracies():
    """Returns the accuracy of each cell by its canonical form, for each data set."""
    arrays = cell_arrays()
    cells = [tuple(cell) for cell in (4 - arrays["ops"].astype(int)).tolist()]
    forms = {tuple(form) for form in SPACE.canonical(np.array(cells, np.int32)).tolist()}
    return {
        name: {
            cell: value / 100
            for cell, value in zip(cells, arrays[f"{name}_test_200"].tolist(), strict=True)
            if cell in forms
        }
        for name in SETS
    }


def macs(cells):
    """Returns multiply-adds of cells of two channels: stem, reductions, head, convolutions."""
    one, three = 3 * 2**2 * 8**2, 3 * 9 * 2**2 * 8**2
    return 8410 + one * (cells == 2).sum(1) + three * (cells == 3).sum(1)


def test_figures_are_those_of_the_best_that_was_told_within_the_budget(figures):
    found, rows = figures
    accuracies = canonical_accuracies()
    limit, seeds = found["target"], [4, 5, 6]
    assert found["seeds"] == seeds
    within = {
        name: np.array([
            value for cell, value in sorted(accuracies[name].items())
            if macs(np.array([cell]))[0] <= limit
        ])
        for name in SETS
    }  # fmt: skip
    assert found["feasible"] == len(within["cifar10"])
    values = {}
    for label, name in zip(LABELS, ("digits", "random_labels", "rotation"), strict=True):
        for data_set in SETS:
            own = []
            for seed in seeds:
                cells, scores = told(name, seed)
                cells = SPACE.canonical(cells)
                fits = macs(cells) <= limit
                best = cells[fits][np.argmax(scores[fits])]
                own.append(accuracies[data_set][tuple(best.tolist())])
            values[label, data_set] = np.array(own)
            standing = [(within[data_set] < v).sum() + (within[data_set] == v).sum() / 2 - 0.5
                        for v in own]  # fmt: skip
            expected = 100 * np.mean(standing) / (len(within[data_set]) - 1)
            assert rows[label][data_set]["percentile"] == pytest.approx(expected)
    for data_set in SETS:
        values["random networks", data_set] = np.array(rows["random networks"][data_set]["values"])
    for label in [*LABELS, "random networks"]:
        for data_set in SETS:
            row, own = rows[label][data_set], values[label, data_set]
            np.testing.assert_allclose(row["values"], own, rtol=1e-5)
            assert (row["mean"], row["half_width"]) == pytest.approx(interval(own), rel=1e-4)
            for key, other in (("against_real", "real"), ("against_random", "random networks")):
                if label == other:
                    assert row[key] is None
                    continue
                pair = row[key]["value"], row[key]["half_width"]
                expected = interval(own - values[other, data_set])
                assert pair == pytest.approx(expected, rel=1e-3, abs=1e-6)


def interval(values):
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, values.mean(), scipy.stats.sem(values)
    )
    return values.mean(), (high - low) / 2


def test_random_networks_are_means_over_networks_within_the_budget(figures):
    found, rows = figures
    accuracies = canonical_accuracies()["cifar10"]
    costs = macs(np.array(list(accuracies)))
    within = np.array(list(accuracies.values()))[costs <= found["target"]]
    drawn = np.array(rows["random networks"]["cifar10"]["values"])
    error = within.std() / np.sqrt(DRAWN)
    assert (np.abs(drawn - within.mean()) < 5 * error).all()
    assert len(set(drawn)) == SEEDS and drawn.std() < 3 * error


def test_page_and_table_hold_the_figures(whole, figures):
    page = (whole[0] / "report.html").read_text()
    assert "digits and what is not real" in page and "rotation repeats=2" in page
    assert page.count("<svg") == 1
    lines = list(csv.DictReader((whole[0] / "table.csv").open()))
    assert [line["source"] for line in lines] == [*LABELS, "random networks"] * 2
    line = next(
        one for one in lines if one["source"] == "random_labels" and one["data_set"] == "cifar100"
    )
    own = figures[1]["random_labels"]["cifar100"]
    assert float(line["mean"]) == own["mean"]
    assert float(line["against_real_half_width"]) == own["against_real"]["half_width"]
    assert [float(line[f"seed_{seed}"]) for seed in (4, 5, 6)] == own["values"]


def test_one_command_writes_to_a_folder(whole):
    with Writer(whole[0]).alone(), pytest.raises(UserError, match="is being written by another"):
        hw.compare_sources(folder=whole[0], resume=True)


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"sources": ("noise,height=4",)}, {}, r"source noise height=4.*\(4, 8, 1\).*\(8, 8, 1\)"),
        ({"sources": ("nois",)}, {}, r"source nois: "),
        ({"sources": ("noise", "noise")}, {}, "'noise' is named more than once"),
        ({"sources": ()}, {}, "sources: none is named"),
        ({"sources": ("jigsaw,grid=3",)}, {}, "source jigsaw grid=3: .*does not divide"),
        ({"data_sets": ("cifar1",)}, {}, "'cifar1': allowed are cifar10"),
        ({"seeds": 1}, {}, "seeds = 1 must be"),
        ({}, {"target__measurements": 4}, r"target\.measurements must be 0"),
        ({}, {"search__data__name": "noise"}, r"search\.data: leave it out"),
        ({}, {"space__name": "nasbench_macro", "space__args": {}}, "decisions"),
    ],
)
def test_what_cannot_be_compared_is_refused(table, tmp_path, changes, config, message):
    with pytest.raises(UserError, match=message):
        hw.compare_sources(
            settings(table, **changes), override(CONFIG, **config), tmp_path / "never"
        )
    assert not (tmp_path / "never").exists()


def test_a_resumed_comparison_keeps_its_settings(whole, capsys):
    assert main(["sources", "--resume", str(whole[0]), "--seeds", "4"]) == 2
    assert "keeps its settings" in capsys.readouterr().err


def test_sources_resemble_the_real_data_where_that_is_left_open(table):
    config = override(CONFIG, data__args={"test_fraction": 0.25})
    sources = ("noise", "noise,classes=3", "random_labels", "textures", "gratings")
    plan = make_plan(settings(table, sources=sources), config)
    noise, few, labels, textures, gratings = (
        dict(plan.configs[label].search.data.args)
        for label in ("noise", "noise classes=3", "random_labels", "textures", "gratings")
    )
    share = noise.pop("test_fraction")
    assert noise == {"height": 8, "width": 8, "channels": 1, "examples": 1797, "classes": 10}
    assert share == pytest.approx(0.25, abs=1e-3)
    assert few["classes"] == 3
    assert labels["of"] == "digits,test_fraction=0.25"
    assert textures["examples"] == gratings["examples"] == 1797
