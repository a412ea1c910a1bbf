"""The file of a table of one's own: every reader reads what was written, and damage is told."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.cost.files.readers import load_observations, load_table
from hwnas_jax.cost.files.table_file import TableFile, load_table_file, save_table_file
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz, write_npz
from hwnas_jax.search.evaluators import Bench, check_evaluator
from hwnas_jax.spaces import make_space
from hwnas_jax.tabular import Table, known_networks, load_benchmark, look_up
from hwnas_jax.tabular.make.networks import networks_of
from hwnas_jax.tabular.make.table import count
from hwnas_jax.tasks import Classification

CELLS = make_space(
    "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10,
    off={"*": ("skip_connect", "nor_conv_1x1")},
)  # fmt: skip


def made_up(**changes):
    """Returns a table of 40 cells with made-up numbers; the latencies of 12 of them are known."""
    rng = np.random.default_rng(0)
    networks = networks_of(CELLS, 40, 0)
    counts = count(CELLS, networks)
    latency_ms = np.where(np.arange(40) % 4 == 1, 0.5 + counts["macs"] / 1e6, np.nan)
    table = TableFile(
        spec=CELLS.spec, space=CELLS, architectures=networks, data_set="digits",
        metric="accuracy", unit="%", higher_is_better=True, epochs=(1, 12), seeds=(3, 4),
        validation=rng.uniform(0.2, 1, (2, 40, 2)).astype(np.float32),
        test=rng.uniform(0.2, 1, (2, 40, 2)).astype(np.float32),
        seconds=rng.uniform(1, 2, (2, 40, 2)).astype(np.float32),
        counts=counts, latency_ms=latency_ms, latency_iqr_ms=latency_ms / 50,
        device={"kind": "toy chip", "platform": "cpu", "runtime": "jax", "batch_size": 16},
        about={"software": {"jax": "0"}},
    )  # fmt: skip
    return dataclasses.replace(table, **changes)


@pytest.fixture
def path(tmp_path):
    save_table_file(made_up(), tmp_path / "t.npz")
    return tmp_path / "t.npz"


def test_what_is_written_is_read(path):
    found, expected = load_table_file(path), made_up()
    for field in dataclasses.fields(TableFile):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "space":
            assert one.spec == other.spec
        elif field.name == "counts":
            assert {key: list(each) for key, each in one.items()} == {
                key: list(each) for key, each in other.items()
            }
        else:
            np.testing.assert_array_equal(one, other, err_msg=field.name)
    with pytest.raises(UserError, match="exists and is not overwritten"):
        save_table_file(expected, path)
    assert [item.name for item in path.parent.iterdir()] == ["t.npz"]


def test_a_benchmark_has_the_mean_over_the_seeds(path):
    benchmark, table = load_benchmark(path), made_up()
    assert benchmark.source == "t.npz:digits" and benchmark.space.spec == CELLS.spec
    found = look_up(benchmark.space, benchmark.metrics, table.architectures)
    for place, epochs in enumerate((1, 12)):
        for split, values in (("validation", table.validation), ("test", table.test)):
            told = found[f"{split}_accuracy_{epochs}"]
            np.testing.assert_allclose(told, values[place].mean(-1), rtol=1e-6)
    assert benchmark.report == "test_accuracy_12"


def test_every_name_of_a_network_is_known_and_other_networks_are_not(path):
    benchmark, table = load_benchmark(path), made_up()
    every = CELLS.enumerate()
    forms = {tuple(row): number for number, row in enumerate(table.architectures.tolist())}
    rows = [forms.get(tuple(form)) for form in CELLS.canonical(every).tolist()]
    expected = [np.nan if row is None else table.test[1, row].mean() for row in rows]
    found = look_up(benchmark.space, benchmark.metrics, every)["test_accuracy_12"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 40 < benchmark.known == np.sum([row is not None for row in rows]) < len(every)
    assert len(known_networks(benchmark, CELLS)[0]) == 40


def test_it_is_searched_on(path):
    evaluator, bench = Table(str(path)), Bench(CELLS, Classification())
    arrays, table = check_evaluator(evaluator, bench), made_up()
    assert evaluator.fidelities(bench) == (1.0, 1 / 12)
    for fidelity, place in ((0, 1), (1, 0)):
        told = evaluator.evaluate(bench, arrays, table.architectures[:5], fidelity, None)
        np.testing.assert_allclose(
            told["accuracy"], table.validation[place, :5].mean(-1), rtol=1e-6
        )
        np.testing.assert_allclose(told["test_accuracy"], table.test[1, :5].mean(-1), rtol=1e-6)
        np.testing.assert_allclose(told["seconds"], table.seconds[place, :5].mean(-1), rtol=1e-6)
    with pytest.raises(UserError, match=r"unknown data set of t\.npz 'cifar10'.*digits"):
        Table(str(path), data_set="cifar10").arrays(bench)


def test_a_metric_that_is_better_when_lower_is_turned_round(tmp_path):
    errors = np.random.default_rng(1).uniform(0.5, 20, (2, 40, 2)).astype(np.float32)
    errors[1, 7, 0] = np.nan  # a training that diverged
    table = made_up(metric="mse", unit="", higher_is_better=False, test=errors, validation=errors)
    save_table_file(table, tmp_path / "t.npz")
    benchmark = load_benchmark(tmp_path / "t.npz")
    assert benchmark.report == "test_negative_mse_12"
    found = look_up(benchmark.space, benchmark.metrics, table.architectures)[benchmark.report]
    np.testing.assert_allclose(found, -errors[1].mean(-1), rtol=1e-5)
    first = benchmark.metrics["test_negative_mse_1"]
    assert np.isnan(look_up(CELLS, {"x": first}, table.architectures)["x"][7])


def test_costs_are_those_that_were_measured_and_counted(path, tmp_path):
    table, costs = made_up(), load_table(path)
    assert costs.devices == ("toy chip",)
    assert list(costs.values) == ["latency_ms", "macs", "params"]
    seen = load_observations(path, device="toy chip").observations
    known = np.flatnonzero(~np.isnan(table.latency_ms))
    np.testing.assert_array_equal(seen.architectures, table.architectures[known])
    np.testing.assert_allclose(seen.values["latency_ms"], table.latency_ms[known])
    bare = tmp_path / "bare.npz"
    save_table_file(made_up(latency_ms=None), bare)
    counted = load_observations(bare).observations
    assert counted.metrics == ("macs", "params") and len(counted) == 40
    with pytest.raises(UserError, match="it has no tasks"):
        load_table(path, task="cifar10")


def test_a_space_whose_code_is_not_here_has_its_decisions(tmp_path):
    spec = {**CELLS.spec, "name": "nowhere.py:Cells"}
    save_table_file(made_up(spec=spec), tmp_path / "t.npz")
    benchmark = load_benchmark(tmp_path / "t.npz")
    assert benchmark.space.decisions == CELLS.decisions and benchmark.known == 40
    assert benchmark.space.name == "nowhere.py:Cells"


def without(name):
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def changed(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


def at(place, value):
    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


DAMAGES = [
    (changed("version", lambda _: np.array(2)), "has version 2; known is 1"),
    (without("version"), "has version None"),
    (without("space"), "space, a text, is missing"),
    (changed("space", lambda _: np.array("{")), "space is damaged"),
    (changed("space", lambda _: np.array("[]")), "the space must be a table of keys"),
    (changed("space", lambda _: np.array('{"name": "nasbench201"}')), "has no 'args'"),
    (without("decisions"), "decisions, a list of texts, is missing"),
    (without("options"), "options, a table of texts"),
    (changed("options", lambda a: a[:4]), "6 decisions, but options of 4"),
    (changed("options", at((0, 0), "off")), "not those of the space nasbench201"),
    (changed("architectures", at((3, 2), 9)), r"row \[3\]: option 9 of 2<-1"),
    (
        changed("architectures", lambda a: np.concatenate([a[:39], a[:1]])),
        r"row \[39\] is the same",
    ),
    (changed("architectures", lambda a: a[:0]), "the table is empty"),
    (changed("architectures", lambda a: a.astype(float)), "whole numbers"),
    (changed("epochs", lambda a: a[::-1]), "epochs must be positive lengths"),
    (changed("seeds", lambda a: a[:0]), "at least one seed"),
    (changed("unit", lambda _: np.array("ms")), "unit must be"),
    (changed("unit", lambda _: np.array("x" * 5000)), r"unit must be .*got 'x{79}\.\.\., and"),
    (without("higher_is_better"), "one bool"),
    (changed("test", lambda a: a[:1]), r"test must have shape \[2, 40, 2\], got \[1, 40, 2\]"),
    (changed("test", at((1, 4, 0), np.inf)), r"test at \[1, 4, 0\] is inf"),
    (changed("test", at((1, 4, 0), 7.0)), "shares from 0 to 1, got .* to 7"),
    (changed("seconds", at((0, 0, 0), -1)), "seconds must not be negative"),
    (changed("seconds", at((0, 0, 0), np.nan)), "seconds at .* is nan"),
    (without("macs"), "macs and params must be there"),
    (changed("params", at(0, -3)), "no count may be negative"),
    (changed("latency_ms", at(1, -0.5)), "latency_ms must hold positive times"),
    (changed("latency_ms", lambda a: a * np.nan), "latency_ms must hold positive times"),
    (without("latency_iqr_ms"), "latency_iqr_ms, an array of numbers"),
    (without("device"), "device, a text, is missing"),
    (without("about"), "about, a text, is missing"),
    (without("data_set"), "data_set, a text, is missing"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES, ids=[said for _, said in DAMAGES])
def test_what_cannot_be_is_told(path, damage, said):
    write_npz(path, damage(read_npz(path)))
    for load in (load_benchmark, load_table):
        with pytest.raises(UserError, match=rf"t\.npz: .*{said}"):
            load(path)


def test_damaged_files_and_objects_are_refused(path):
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"t\.npz: it is damaged"):
            load_benchmark(path)
    path.write_bytes(whole)
    arrays = read_npz(path)
    np.savez(path, **{**arrays, "about": np.array({"x": print}, object)})
    with pytest.raises(UserError, match=r"t\.npz: its 'about\.npy' is object.*never Python"):
        load_benchmark(path)


def test_the_command_makes_a_table_that_everything_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    options = (
        f"--space.name {Path(__file__).with_name('small_space.py')}:SmallSpace "
        "--epochs 1 --seeds 1 --measured 12 --search.batch-size 32 --parallel.devices 2 "
        "--profile.rounds 1 --profile.max-rounds 2 --profile.measure-rounds 2 "
        "--profile.warmup 1 --profile.batch-size 16"
    ).split()
    assert main(["table", "digits", *options, "--out", "t.npz"]) == 0
    shown = capsys.readouterr().out
    assert "27 networks of small" in shown and "measured of 12 of them" in shown
    table = load_table_file(tmp_path / "t.npz")
    assert np.isfinite(table.latency_ms).sum() == 12 and table.device["batch_size"] == 16
    assert table.validation.min() > 0.1 and table.about["config"]["search"]["batch_size"] == 32
    benchmark = load_benchmark("t.npz")
    assert benchmark.known == 27 and benchmark.space.name == "small"
    assert main(["cost", "fit", "t.npz", "--cost.model", "linear", "--out", "model.npz"]) == 0
    assert "cost models on 3 held-out networks" in capsys.readouterr().out
    assert main(["table", "digits", *options, "--out", "t.npz"]) == 2
    assert "t.npz exists and is not overwritten" in capsys.readouterr().err
    assert main(["table", "--space.name", "complete_graph", "--out", "u.npz"]) == 2
    assert "name a sample" in capsys.readouterr().err
    assert main(["table", "--epochs", "0", "--out", "u.npz"]) == 2
    assert "epochs = " in capsys.readouterr().err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.npz", "t.npz"]
