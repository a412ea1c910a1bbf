import json

import numpy as np
import pytest
from scipy import stats

from hwnas_jax import cli
from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.judge.study import SCORES, run_study, temperature_rows
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.cost.models.bayesian import BayesianAdditive
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.report.study import draw_study
from tests.cost.toy import ToySpace, law_ms

SPACE = ToySpace()


def _table(rows=None, noise=0.03):
    rows = SPACE.enumerate() if rows is None else rows
    rng = np.random.default_rng(0)
    clean = np.array([law_ms(SPACE, row) for row in rows])
    values = np.stack([clean * np.exp(noise * rng.standard_normal(len(rows))) for _ in range(2)])
    return CostTable("toy.npz", SPACE, rows, ("one", "two"), {"latency_ms": values})


@pytest.fixture(scope="module")
def study():
    return run_study(
        _table(), ["one", "two"], [Part("gaussian"), Part("bayesian"), Part("table")],
        train=60, draws=2, fidelity_draws=5,
    )  # fmt: skip


def test_every_model_is_judged_on_the_networks_it_has_not_seen(study):
    table = _table()
    order = np.random.default_rng(1).permutation(162)
    observed = table.observations("two")
    model = BayesianAdditive.fit(SPACE, observed.subset(order[:60]), seed=1)
    rest = observed.subset(order[60:])
    predicted = predict_architectures(model, rest.architectures, 3)["latency_ms"]
    measured = rest.values["latency_ms"]
    (row,) = [
        row for row in study.rows
        if (row["device"], row["model"], row["draw"]) == ("two", "bayesian", 1)
    ]  # fmt: skip
    assert row["spearman"] == pytest.approx(stats.spearmanr(measured, predicted).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau(measured, predicted).statistic)
    for percent in (1, 5, 10):
        share = (np.abs(predicted / measured - 1) <= percent / 100).mean()
        assert row[f"within_{percent}"] == pytest.approx(share)
    assert row["mape"] == pytest.approx(np.abs(predicted / measured - 1).mean())
    assert 0.6 < row["covered_90"] <= 1


def test_the_summary_is_the_mean_over_draws(study):
    assert [(line["device"], line["model"]) for line in study.summary()] == [
        ("one", "gaussian"), ("one", "bayesian"), ("two", "gaussian"), ("two", "bayesian"),
    ]  # fmt: skip
    line = study.summary()[0]
    values = [row["spearman"] for row in study.rows[:2]]
    assert line["spearman"] == pytest.approx(np.mean(values))
    assert line["spearman_sd"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    assert set(SCORES) < set(line)
    json.dumps(study.to_dict(), allow_nan=False)


def test_what_cannot_be_fitted_is_told_and_the_rest_goes_on(study):
    assert {(row["device"], row["model"]) for row in study.refused} == {
        ("one", "table"), ("two", "table"),
    }  # fmt: skip
    assert "timing" in study.refused[0]["reason"]


def test_gradients_are_measured_on_a_whole_table_only(study):
    rows = list(temperature_rows(study))
    assert len(rows) == 4 * 5
    assert all(row["gap"] < 1e-4 and row["by_logits"] > 0.9 for row in rows)
    part = run_study(
        _table(SPACE.enumerate()[:100]), ["one"], [Part("bayesian")], train=50, draws=1
    )
    assert list(temperature_rows(part)) == []
    assert part.rows[0]["fidelity"] is None


def test_mistakes_are_named():
    table = _table()
    for changes, reason in [
        ({"models": [Part("gausian")]}, "Did you mean 'gaussian'"),
        ({"train": 161}, "one has 162 networks with latency_ms: too few to fit to 161"),
        (
            {"models": [Part("mlp", {"stepps": 3})]},
            "option of the cost model mlp.*Did you mean 'steps'",
        ),
        ({"models": [Part("mlp", {"steps": 0})]}, "steps = 0 must be greater than 0"),
        ({"draws": 0}, "train and draws must be positive, got 50 and 0"),
        ({"metric": "energy_mj"}, "allowed are latency_ms"),
        ({"devices": ["three"]}, "allowed are one, two"),
    ]:
        given = {
            "devices": ["one"],
            "models": [Part("bayesian")],
            "train": 50,
            "draws": 1,
        } | changes
        with pytest.raises(UserError, match=reason):
            run_study(table, given.pop("devices"), given.pop("models"), **given)


def test_the_figure_shows_every_model_and_panel(study):
    figure = draw_study(study)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "rank correlation (Spearman)", "within 10 % of the measurement",
        "within their 90 % interval", "cosine with the exact gradient", "relaxation gap",
        "error of the expected cost",
    ]  # fmt: skip
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["gaussian", "bayesian"]


def test_the_command_prints_draws_and_writes(tmp_path, capsys, monkeypatch):
    from hwnas_jax.commands import cost_study

    table = _table()
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(cost_study, "load_table", lambda path, task: table)
    out = tmp_path / "out"
    words = ["cost", "study", "toy.npz", "--models", "bayesian", "--train", "60", "--draws", "1"]
    assert cli.main([*words, "--devices", "two", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Spearman" in printed and "gradient cosine" in printed
    assert sorted(path.name for path in out.iterdir()) == ["study.json", "study.png"]
    saved = json.loads((out / "study.json").read_text())
    assert [(row["device"], row["model"]) for row in saved["rows"]] == [("two", "bayesian")]
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main([*words, "--out", str(out)]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert cli.main([*words, "--devices", "three", "--out", str(tmp_path / "b")]) == 2
    assert not (tmp_path / "b").exists()
