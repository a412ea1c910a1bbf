import dataclasses
import json
import pickle

import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas_jax.config import CostConfig
from hwnas_jax.cost import fit_cost, load_cost_model
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.gaussian import GaussianProcess
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.spaces.base import Choices
from tests.cost.toy import CuttableSpace, ToySpace, synthetic

OPTIONS = MLPEnsemble.Options(members=2, hidden=8, steps=300)
CONFIG = CostConfig(Part("mlp", {"members": 2, "hidden": 8, "steps": 300}))


def _measurements(count):
    space = ToySpace()
    rows = np.random.default_rng(1).permutation(space.enumerate())[:count]
    return space, synthetic(space, rows, noise=0.03)


@pytest.fixture(scope="module")
def fitted():
    space, measurements = _measurements(60)
    return space, measurements, *fit_cost(space, measurements, CONFIG, seed=2)


def test_the_report_has_the_agreed_keys(fitted):
    report = fitted[-1].to_dict()
    assert list(report) == [
        "metric", "train_size", "test_size", "models", "held_out", "fitted", "metrics",
        "near_zero", "unfit",
    ]  # fmt: skip
    assert (report["metric"], report["train_size"], report["test_size"]) == ("latency_ms", 45, 15)
    assert [(row["name"], row["label"]) for row in report["models"]] == [
        ("mlp", "MLP ensemble"), ("linear", "linear ensemble"),
        ("table", "look-up table"),
        ("analytic", "FLOPs (scaled)"),
    ]  # fmt: skip
    assert report["metrics"] == {"latency_ms": report["models"]}
    assert (report["near_zero"], report["unfit"]) == ({"latency_ms": 0}, {})
    assert set(report["held_out"][0]) == {"architecture", "measured", "predicted", "std"}
    json.dumps(report, allow_nan=False)


def test_the_split_is_a_partition(fitted):
    space, measurements, _, report = fitted
    held_out = {row["architecture"] for row in report.held_out}
    in_fit = {row["architecture"] for row in report.fitted}
    everything = {space.to_string(row) for row in measurements.encoded(space)}
    assert held_out | in_fit == everything
    assert not held_out & in_fit


def test_networks_that_were_set_aside_are_the_ones_to_judge_on():
    space, measurements = _measurements(30)
    measured = dataclasses.replace(measurements, held_out=7)
    config = CostConfig(Part("linear", {"members": 2}))
    _, report = fit_cost(space, measured, config, seed=5)
    assert (report.train_size, report.test_size) == (23, 7)
    wanted = [space.to_string(row) for row in measured.encoded(space)[-7:]]
    assert [row["architecture"] for row in report.held_out] == wanted
    with pytest.raises(UserError, match=r"leave 7 to fit to when 23 are held out.*at least 8"):
        fit_cost(space, dataclasses.replace(measurements, held_out=23), config)


def test_the_scores_are_those_of_the_held_out_rows(fitted):
    report = fitted[-1]
    measured = np.array([row["measured"] for row in report.held_out])
    predicted = np.array([row["predicted"] for row in report.held_out])
    scores = report.models[0]
    relative = np.abs(predicted / measured - 1)
    assert scores["spearman"] == pytest.approx(spearmanr(measured, predicted).statistic)
    assert scores["mape"] == pytest.approx(relative.mean())
    assert scores["within_10"] == pytest.approx((relative <= 0.1).mean())


def test_all_that_can_be_fitted_is_judged_on_every_metric():
    space = Choices("plain", ToySpace.decisions)
    rows = np.random.default_rng(7).permutation(space.enumerate())[:60]
    sizes = rows.sum(axis=1)
    latency = np.where(rows[:, 0] == 0, 1e-3, 1.0 + sizes)
    observed = Observations(rows, {"energy_mj": 5.0 + rows[:, 1], "latency_ms": latency})
    config = CostConfig(Part("linear", {"members": 2}))
    model, report = fit_cost(space, observed, config)
    assert model.metrics == ("energy_mj", "latency_ms")
    assert report.metric == "latency_ms"
    assert report.models == report.metrics["latency_ms"]
    for metric in ("energy_mj", "latency_ms"):
        assert [row["name"] for row in report.metrics[metric]] == ["linear"]
    assert report.metrics["energy_mj"][0]["mape"] < 0.01
    assert set(report.unfit) == {"table", "analytic"}
    assert "a space that is built here" in report.unfit["table"]
    near = sum(row["measured"] < 0.01 for row in report.held_out)
    assert report.near_zero == {"energy_mj": 0, "latency_ms": near}
    assert near > 0
    assert report.models[0]["mape"] < 2
    with pytest.raises(UserError, match="only known by its decisions"):
        fit_cost(space, observed, CostConfig(Part("table")))


def test_the_learned_model_beats_the_others(fitted):
    errors = {row["name"]: row["mape"] for row in fitted[-1].models}
    assert errors["mlp"] < min(errors["table"], errors["analytic"])


def test_too_few_networks_and_unknown_models_are_refused():
    space, measurements = _measurements(9)
    with pytest.raises(UserError, match="at least 8"):
        fit_cost(space, measurements, CONFIG)
    with pytest.raises(UserError, match="Did you mean 'table'"):
        fit_cost(space, measurements, CostConfig(Part("tabel")))


def test_too_many_networks_are_refused_before_any_model_is_fitted(monkeypatch):
    space, measured = _measurements(40)
    monkeypatch.setattr(GaussianProcess, "most_networks", 39)
    monkeypatch.setattr(GaussianProcess, "fit", None)
    said = r"Gaussian process takes at most 39 networks, there are 40: .*--sample 900"
    with pytest.raises(UserError, match=said):
        fit_cost(space, measured, CostConfig())


def test_a_sample_is_a_part_of_the_networks_by_its_seed():
    space, measured = _measurements(40)
    whole = measured.observations(space)
    one, same, other = (whole.sample(12, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.architectures, same.architectures)
    assert (one.architectures != other.architectures).any()
    known = dict(zip(map(tuple, whole.architectures), whole.values["latency_ms"], strict=True))
    pairs = zip(map(tuple, one.architectures), one.values["latency_ms"], strict=True)
    assert len({row for row, value in pairs if known[row] == value}) == 12
    for count in (0, 41):
        with pytest.raises(
            UserError, match=f"a sample of {count} networks .*: allowed are 1 to 40"
        ):
            whole.sample(count, 0)


def test_counts_alone_survive_their_file(tmp_path):
    space = ToySpace()
    AnalyticModel.count(space).save(tmp_path / "model.npz", space)
    assert load_cost_model(tmp_path / "model.npz", space).metrics == ("macs", "flops", "params")


def _rewrite(path, **changes):
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))
    for key, value in changes.items():
        if key in arrays:
            arrays[key] = value
        else:
            header[key] = value
    arrays["header"] = np.array(json.dumps(header))
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "other"}, "format 'other'"),
        ({"version": 9}, "version 9"),
        ({"model": "mlpp"}, "Did you mean 'mlp'"),
        ({"hidden": "wide"}, "hidden must be a whole number of at least 0"),
        ({"members": 3}, "parameters/"),
        ({"metrics": ["latency"]}, "Did you mean 'latency_ms'"),
        ({"noise": np.float32([np.nan])}, r"noise at \[0\] is nan, and must be finite"),
        ({"parameters/table": np.zeros((2, 2), np.float32)}, "parameters/table must be"),
        ({"unit": np.array([None])}, "damaged: .*only arrays of numbers"),
        ({"unit": np.float32([-1])}, r"networks cost -.* ms on average; costs are positive"),
        ({"unit": np.array(["1"])}, r"unit must be float\[1\], and is <U1\[1\]"),
        ({"unit": np.array([1j])}, "is complex128"),
        ({"space": 5}, "space must be a table of keys, got 5"),
    ],
)
def test_a_damaged_model_is_named_with_the_reason(tmp_path, fitted, changes, reason):
    space, _, model, _ = fitted
    path = tmp_path / "model.npz"
    model.save(path, space)
    _rewrite(path, **changes)
    with pytest.raises(UserError, match=rf"(?s)model\.npz.*{reason}"):
        load_cost_model(path, space)


def test_truncated_foreign_and_missing_files(tmp_path, fitted):
    space, _, model, _ = fitted
    path = tmp_path / "model.npz"
    model.save(path, space)
    content = path.read_bytes()
    for damaged in (content[:100], content[: len(content) // 2], b"", b"text", pickle.dumps([1])):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"model\.npz is damaged"):
            load_cost_model(path, space)
    with pytest.raises(UserError, match=r"no cost model .*none\.npz"):
        load_cost_model(tmp_path / "none.npz", space)
    model.save(path, space)
    with pytest.raises(UserError, match=r"model\.npz.*cuttable"):
        load_cost_model(path, CuttableSpace())


def test_the_shipped_model_is_fitted_to_all_networks(fitted):
    space, measurements, model, _ = fitted
    direct = MLPEnsemble.fit(space, measurements.observations(space), OPTIONS, seed=2)
    weight = np.eye(3, dtype=np.float32)[space.enumerate()[40]]
    assert float(model.predict(weight)["latency_ms"]) == pytest.approx(
        float(direct.predict(weight)["latency_ms"])
    )
