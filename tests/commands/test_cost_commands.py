"""`hwnas cost fit | eval | predict` on measurement files and published tables."""

import io
import json
import re
import shutil

import jax
import numpy as np
import pytest
from scipy import stats

from hwnas_jax.cli import main
from hwnas_jax.commands.cost_eval import evaluate
from hwnas_jax.cost.files.measurements import Origin
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.files.plain_text import parse_text, to_text
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import CostModel, predict_architectures
from hwnas_jax.cost.models.model_file import read_origin
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.core.architecture_files import save_architecture
from hwnas_jax.spaces.nasbench201 import OPERATIONS

CELLS = published.nasbench201()
ROWS = np.random.default_rng(0).permutation(CELLS.enumerate())[:24]
COUNTED = AnalyticModel.count(CELLS)
MACS = predict_architectures(COUNTED, ROWS, CELLS.num_options)["macs"].astype(float)


LATENCIES = 2 + 1e-7 * MACS * np.exp(0.05 * np.random.default_rng(1).standard_normal(24))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A file with a model fitted to the first device of the table below."""
    path = tmp_path_factory.mktemp("fitted") / "model.npz"
    observed = Observations(ROWS, {"latency_ms": LATENCIES})
    AnalyticModel.fit(CELLS, observed).save(path, CELLS)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch, fitted):
    """A folder with a table of two devices, and a model fitted to one of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    lines = ["architecture,device,latency_ms"]
    for device, factor in (("phone", 1), ("board", 3)):
        for row, ms in zip(ROWS, LATENCIES.tolist(), strict=True):
            lines.append(f"{CELLS.to_string(row)},{device},{factor * ms}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    shutil.copy(fitted, tmp_path)
    return tmp_path


LINE = ["cost", "eval", "model.npz", "table.csv", "--device"]


def test_eval_prints_what_the_definitions_give(here, capsys):
    assert main([*LINE, "board", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == "table.csv, board"
    row = found["metrics"]["latency_ms"]
    measured = [line.split(",") for line in (here / "table.csv").read_text().split()]
    measured = np.array([float(line[2]) for line in measured if line[1] == "board"])
    slope, intercept, *_ = stats.linregress(MACS, measured / 3)
    predicted = intercept + slope * MACS
    relative = np.abs(predicted / measured - 1)
    assert row["networks"] == 24
    assert row["spearman"] == pytest.approx(stats.spearmanr(measured, predicted).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau(measured, predicted).statistic)
    assert row["mape"] == pytest.approx(relative.mean(), rel=1e-3)
    assert row["within_10"] == np.mean(relative <= 0.1) == 0
    assert row["coverage"] is None
    assert main([*LINE, "phone"]) == 0
    shown = capsys.readouterr().out
    assert "analytic on 24 networks of table.csv, phone" in shown and "Kendall" in shown
    assert main([*LINE, "phone", "--json"]) == 0
    near = json.loads(capsys.readouterr().out)["metrics"]["latency_ms"]
    assert near["within_1"] < near["within_5"] <= near["within_10"] == 1


def test_eval_tells_the_coverage_of_a_model_with_intervals():
    @jax.tree_util.register_static
    class Spread(CostModel):
        name, metrics, knows_uncertainty = "spread", ("latency_ms",), True

        def predict(self, weight):
            return {"latency_ms": 1.0 + 0.0 * weight.sum()}

        def std(self, weight):
            return {"latency_ms": 0.1 + 0.0 * weight.sum()}

    model = Spread()
    values = np.where(np.arange(24) < 18, 1.1, 2.0)
    row = evaluate(model, CELLS, Observations(ROWS, {"latency_ms": values}))["latency_ms"]
    assert row["coverage"] == 18 / 24
    assert row["spearman"] is None and row["kendall"] is None
    with pytest.raises(UserError, match="predicts latency_ms, the data has energy_mj"):
        evaluate(model, CELLS, Observations(ROWS, {"energy_mj": values}))


def _predicted(capsys, *words):
    assert main(["cost", "predict", "model.npz", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_predict_takes_strings_files_and_standard_input(here, capsys, monkeypatch):
    strings = [CELLS.to_string(row) for row in ROWS[:4]]
    save_architecture(here / "a.json", CELLS, ROWS[1])
    (here / "some.csv").write_text("id,architecture\n1," + strings[2] + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"\n{strings[3]}\n"))
    numbers, spelled = str(ROWS[0].tolist()), strings[0].replace("nor_conv_3x3", "conv3x3")
    monkeypatch.setenv("HWNAS_DATA", str(here))
    np.savez(here / "nb201_accuracy.npz", ops=ROWS, op_names=np.array(OPERATIONS))
    asked = (strings[0], "a.json", "some.csv", "-", numbers, spelled, "2", "nb201_accuracy:3")
    rows = _predicted(capsys, *asked)
    expected = [*strings, strings[0], strings[0], strings[2], strings[3]]
    assert [row["architecture"] for row in rows] == expected
    assert [row["macs"]["value"] for row in rows[:4]] == pytest.approx(MACS[:4])
    assert rows[0]["latency_ms"]["std"] == 0
    assert main(["cost", "predict", "model.npz", strings[0]]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(strings[0] + "  macs ") and ", latency " in shown
    counted = shown.partition("macs ")[2].partition(", flops")[0].replace(",", "")
    assert int(counted) == pytest.approx(MACS[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cost eval model.npz table.csv", "several devices, name one with --device: phone, board"),
        ("cost eval model.npz table.csv --device phon", "Did you mean 'phone'?"),
        ("cost eval model.npz missing", "give a path, or set HWNAS_DATA"),
        ("cost eval missing.npz table.csv", "no cost model missing.npz"),
        ("cost eval table.csv table.csv", "cost model table.csv is damaged"),
        ("cost predict model.npz |none~0|", "the command line: '|none~0|' is no nasbench201 cell"),
        ("cost predict model.npz a.json", "no architecture file a.json"),
        ("cost predict model.npz b.csv", "cannot read b.csv"),
        ("cost predict model.npz bad.csv", "bad.csv: line 3: "),
        ("cost fit table.csv", "several devices"),
        ("cost fit table.csv --device phone --out model.npz", "model.npz exists"),
        ("cost evil model.npz table.csv", "Did you mean 'cost eval'?"),
    ],
)
def test_mistakes_are_named(here, capsys, monkeypatch, words, said):
    monkeypatch.delenv("HWNAS_DATA", raising=False)
    good = CELLS.to_string(ROWS[0])
    bad = good.replace("|+|", "|+|x", 1)
    (here / "bad.csv").write_text(f"architecture\n{good}\n{bad}\n")
    before = sorted(here.iterdir())
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err
    assert sorted(here.iterdir()) == before


def test_a_model_is_fitted_to_a_device_of_a_table(here, capsys):
    words = "cost fit table.csv --device board --out fitted.npz --cost.model analytic"
    assert main(words.split()) == 0
    assert "wrote fitted.npz" in capsys.readouterr().out
    assert read_origin(here / "fitted.npz") == Origin({"kind": "board"}, source="published")
    words = ["cost", "eval", "fitted.npz", "table.csv", "--device", "board", "--json"]
    assert main([*words, "--fitted"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["latency_ms"]
    assert found["mape"] < 0.05 and found["spearman"] > 0.95
    assert main(words) == 2
    assert "the model was fitted to all 24 networks of the data" in capsys.readouterr().err


def test_eval_leaves_out_what_the_model_was_fitted_to_and_what_costs_next_to_nothing(here, capsys):
    observed = Observations(ROWS[:10], {"latency_ms": LATENCIES[:10]})
    model = AnalyticModel.fit(CELLS, observed)
    model.save(here / "ten.npz", CELLS, ROWS[:10])
    tiny = LATENCIES.copy()
    tiny[12] = 1e-3 * np.median(LATENCIES)
    predicted = predict_architectures(model, ROWS, CELLS.num_options)["latency_ms"]
    scores = evaluate(model, CELLS, Observations(ROWS[10:], {"latency_ms": tiny[10:]}))
    kept = np.delete(np.arange(10, 24), 2)
    wanted = np.abs(predicted[kept] / tiny[kept] - 1)
    assert scores["latency_ms"]["near_zero"] == 1
    assert scores["latency_ms"]["mape"] == pytest.approx(wanted.mean(), rel=1e-5)
    assert main(["cost", "eval", "ten.npz", "table.csv", "--device", "phone", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["metrics"]["latency_ms"]["networks"] == 14
    assert "10 networks that the model was fitted to are left out" in said["notes"][0]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (np.zeros((0, 0), np.int32), r"fitted_to must be whole\[N, D\] with D = 6"),
        (np.full((2, 6), 9, np.int32), r"fitted_to: row \[0\]: option 9 of 1<-0"),
    ],
)
def test_what_a_model_was_fitted_to_is_checked(here, capsys, known, said):
    AnalyticModel.fit(CELLS, Observations(ROWS, {"latency_ms": LATENCIES})).save(
        here / "m.npz", CELLS, known
    )
    assert main(["cost", "eval", "m.npz", "table.csv", "--device", "phone"]) == 2
    assert re.search(rf"m\.npz is damaged: {said}", capsys.readouterr().err)


def test_a_poor_fit_is_told(here, capsys):
    """Costs that have nothing to do with the networks."""
    costs = np.exp(np.random.default_rng(3).standard_normal(24))
    lines = [f"{CELLS.to_string(row)},{5 * ms}" for row, ms in zip(ROWS, costs, strict=True)]
    spec = f"# space: {json.dumps(CELLS.spec)}\n# device: cpu\n"
    (here / "chance.csv").write_text(spec + "\n".join(["architecture,latency_ms", *lines]) + "\n")
    words = "cost fit chance.csv --out chance.npz --cost.model linear --cost.model.args members 2"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "in 90 % intervals" in said
    assert re.search(r"warning: .* errs by \d+% on 6 held-out networks", said)
    assert "with 6 held-out networks these figures are rough" in said


def test_a_file_that_does_not_say_its_size_is_told_and_another_size_is_refused(here, capsys):
    words = "cost fit table.csv --device board --out b.npz --cost.model analytic"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "does not say at which size its networks were measured" in said and "# space: {" in said
    small = make_space("nasbench201", {"channels": 4}, input_shape=(32, 32, 3), num_outputs=10)
    text = f"# space: {json.dumps(CELLS.spec)}\n# device: cpu\narchitecture,latency_ms\n"
    with pytest.raises(UserError, match="these differ: channels 16 and 4"):
        parse_text(text + f"{CELLS.to_string(ROWS[0])},3\n", small)
    unsaid = parse_text(text.partition("\n")[2] + f"{CELLS.to_string(ROWS[0])},3\n", small)
    assert '"channels": 4' in unsaid.notes[0]
    again = parse_text(to_text(unsaid))
    assert again.notes == unsaid.notes


def test_a_model_is_fitted_to_a_sample_of_a_table(here, capsys):
    words = "cost fit table.csv --device board --out few.npz --cost.model analytic --sample"
    assert main([*words.split(), "12"]) == 0
    assert "12 of 24 networks, drawn at random" in capsys.readouterr().out
    (here / "few.npz").unlink()
    for sample in ("0", "25"):
        assert main([*words.split(), sample]) == 2
        assert f"a sample of {sample} networks was asked for" in capsys.readouterr().err
        assert not (here / "few.npz").exists()


def test_a_space_known_by_its_decisions_alone_needs_a_model_for_such(here, capsys):
    space = published.OnceForAll()
    rows = space.random(np.random.default_rng(0), 20)
    lines = [f"# space: {json.dumps(space.spec)}", "architecture,latency_ms"]
    lines += [f"{space.to_string(row)},{10 + i}" for i, row in enumerate(rows)]
    (here / "ofa.csv").write_text("\n".join(lines) + "\n")
    assert main(["cost", "fit", "ofa.csv", "--out", "x.npz", "--cost.model", "table"]) == 2
    told = "needs a space that is built here; ofa_mobilenetv3 is only known"
    assert told in capsys.readouterr().err
