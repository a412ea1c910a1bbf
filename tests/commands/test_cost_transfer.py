"""`hwnas cost transfer` on a small table of several devices."""

import json

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.commands import cost_transfer
from hwnas_jax.cost import load_cost_model, predict_architectures, spearman
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.models.model_file import read_origin
from hwnas_jax.cost.models.transfer import TransferModel
from tests.cost.test_transfer import ALL, SPACE, TABLE

QUICK = ["--transfer.hypotheses", "64", "--transfer.trials", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a table of six devices in long form."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rows = range(0, len(ALL), 3)
    lines = [f"# space: {json.dumps(SPACE.spec)}", "architecture,device,latency_ms"]
    for device, column in zip(TABLE.devices, TABLE.values["latency_ms"].tolist(), strict=True):
        lines += [f"{SPACE.to_string(ALL[row])},{device},{column[row]}" for row in rows]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(*words):
    return main(["cost", "transfer", "table.csv", *words, *QUICK])


def test_a_device_of_the_table_is_sampled_and_judged(here, capsys):
    assert run("--device", "d0", "--samples", "12", "--out", "model.npz") == 0
    said = capsys.readouterr().out
    assert "learned from d1, d2, d3, d4, d5" in said and "wrote model.npz" in said
    rows = [line.split("│")[1:-1] for line in said.splitlines() if "latency_ms" in line]
    table = load_table("table.csv")
    assert "d0, on 159 other networks" in said
    names = [row[0].strip() for row in rows]
    assert names == ["transfer", "mean of the sources"]
    assert float(rows[0][3]) > float(rows[1][3])
    model = load_cost_model(here / "model.npz", table.space)
    predicted = predict_architectures(model, table.architectures, SPACE.num_options)
    assert spearman(table.values["latency_ms"][0], predicted["latency_ms"]) > 0.85


def test_networks_are_named_to_measure_and_their_file_is_fitted(here, capsys):
    assert run("--samples", "8", "--choose", "informative", "--plan", "plan.csv",
               "--sources", "d1", "d2", "d3") == 0  # fmt: skip
    capsys.readouterr()
    names = (here / "plan.csv").read_text().split()
    assert names[0] == "architecture" and len(set(names[1:])) == 8
    costs = dict(zip(map(SPACE.to_string, ALL), TABLE.values["latency_ms"][0], strict=True))
    numbered = [SPACE.to_string(row) for row in load_table(here / "table.csv").architectures]
    lines = [f"# space: {json.dumps(SPACE.spec)}", "# device: board", "index,latency_ms"]
    lines += [f"{numbered.index(name)},{costs[name]}" for name in names[1:]]
    (here / "mine.csv").write_text("\n".join(lines) + "\n")
    assert run("--samples", "mine.csv", "--sources", "d1", "d2", "d3", "--out", "m.npz") == 0
    assert "wrote m.npz" in capsys.readouterr().out
    assert read_origin(here / "m.npz").name == "board"
    predicted = predict_architectures(load_cost_model(here / "m.npz", SPACE), ALL, 4)["latency_ms"]
    assert np.abs(predicted / TABLE.values["latency_ms"][0] - 1).mean() < 0.15


def test_networks_are_printed_without_a_plan(here, capsys):
    assert run("--samples", "3") == 0
    said = capsys.readouterr().out
    assert sum(line.strip() in set(map(SPACE.to_string, ALL)) for line in said.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--device", "d7"), ("d7", "d0")),
        (("--device", "d0", "--sources", "d0"), ("d0 is the new device",)),
        (("--device", "d0", "--samples", "2"), ("at least 3", "got 2")),
        (("--device", "d0", "--samples", "180"), ("180", "171")),
        (("--samples", "missing.csv"), ("missing.csv",)),
        (("--out", "table.csv"), ("table.csv exists",)),
        (("--out", "gone/m.npz"), ("no folder gone",)),
        (("--samples", "4", "--out", "m.npz"), ("no model is written",)),
        (("--samples", "table.csv", "--plan", "p.csv"), ("--plan goes with a number",)),
    ],
)
def test_mistakes_are_one_clear_line(here, capsys, words, parts):
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert all(part in said for part in parts), said
    assert sorted(path.name for path in here.iterdir()) == ["table.csv"]


def test_without_samples_only_ranks_are_shown(here, capsys):
    assert run("--device", "d0", "--samples", "0", "--out", "none.npz") == 0
    said = capsys.readouterr().out
    assert "without samples only the ranks mean something" in said
    (row,) = [line.split("│")[1:-1] for line in said.splitlines() if "mean of the sources" in line]
    assert [cell.strip() for cell in row[4:]] == ["-"] * 4 and float(row[3]) > 0
    model = load_cost_model(here / "none.npz", load_table("table.csv").space)
    assert not model.knows_uncertainty


def test_too_many_samples_are_refused_before_any_work(here, capsys, monkeypatch):
    monkeypatch.setattr(TransferModel, "most_networks", 20)
    monkeypatch.setattr(cost_transfer, "learn_prior", None)
    assert run("--device", "d0", "--samples", "21") == 2
    assert "takes at most 20 samples, there are 21" in capsys.readouterr().err


def test_cost_fit_says_where_such_a_model_comes_from(here, capsys):
    assert main(["cost", "fit", "table.csv", "--device", "d0", "--cost.model", "transfer"]) == 2
    assert "hwnas cost transfer TABLE" in capsys.readouterr().err
