"""The page of a sweep, from files written by hand."""

import json

import pytest
from hwnas_jax.report.front import plot_front
from hwnas_jax.report.sweep import sweep_rows, write_sweep_report

from hwnas_jax.config import Config, save_config
from hwnas_jax.errors import UserError
from hwnas_jax.report.pareto_front import Reference
from hwnas_jax.report.summary import NOTHING

TARGETS = {
    "metric": "latency_ms", "targets": [{"target_ms": t, "percentile": None} for t in (1, 2, 3)],
    "range_ms": [0.5, 4.0], "chance": 0.1,
}  # fmt: skip


def network(number, measured_ms, accuracy, **more):
    return {
        "origin": "search", "label": f"{number}ms-seed0", "seed": 0, "target_ms": float(number),
        "string": f"|<cell-{number}>|", "predicted_ms": 0.99 * number, "predicted_std_ms": 0.01,
        "measured_ms": measured_ms, "measured_iqr_ms": 0.02, "supernet_accuracy": 0.3 + number / 10,
        "validation_accuracy": accuracy, "test_accuracy": accuracy, **more,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    save_config(Config(), tmp_path / "config.json")
    (tmp_path / "targets.json").write_text(json.dumps(TARGETS))
    write(tmp_path, [network(1, 1.0, 0.6), network(2, 2.0, 0.9), network(3, 3.0, 0.8)])
    return tmp_path


def write(folder, networks):
    (folder / "networks.json").write_text(json.dumps({"networks": networks, "confirmations": []}))


def test_the_front_and_its_area_by_hand(folder):
    page = write_sweep_report(folder).read_text().replace("\u00a0", " ")
    front = json.loads((folder / "report.json").read_text())["front"]
    assert front["on_front"] == [True, True, False]
    # 3 ms of width at 0.6, then 2 ms at the 0.3 above it, both less what guessing reaches.
    assert front["hypervolume"] == pytest.approx(3 * 0.5 + 2 * 0.3)
    assert front["share"] == pytest.approx(2.1 / (4 * 0.9))
    assert "3 searches in one program, 2 networks on the front. Hypervolume 2.1 ms" in page
    assert "4.000 ms (the slowest network of the space, as predicted) and 10.0 %" in page
    assert "|&lt;cell-2&gt;|" in page


def test_without_training_the_supernet_judges_and_says_so(folder):
    networks = [network(n, None, None) for n in (1, 2, 3)]
    write(folder, networks)
    page = write_sweep_report(folder).read_text()
    front = json.loads((folder / "report.json").read_text())["front"]
    assert (front["cost"], front["accuracy"]) == ("predicted_ms", "supernet_accuracy")
    assert "Predicted cost and accuracy with the supernet" in page
    rows = sweep_rows(folder)
    assert rows[2][:5] == ("2ms-seed0", "2.000", "1.980 ± 0.010", NOTHING, NOTHING)
    assert rows[2][5:] == ("50.0 %", NOTHING, NOTHING, "yes")


def test_an_unfinished_sweep_has_a_page(folder):
    (folder / "networks.json").unlink()
    assert "not finished" in write_sweep_report(folder).read_text()
    assert len(sweep_rows(folder)) == 1
    (folder / "targets.json").write_text("{}")
    with pytest.raises(UserError, match=r"targets\.json is damaged: it lacks metric"):
        write_sweep_report(folder)


@pytest.mark.parametrize("count", [1, 2])
def test_a_front_of_few_networks_is_drawn(count):
    figure = plot_front([1.0, 2.0][:count], [0.5, 0.5][:count], Reference(4.0, 0.1), area=1.2)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "hypervolume 1.2" in labels
    assert ("dominated" in labels) == (count == 2)


def test_an_empty_front_is_refused():
    with pytest.raises(ValueError, match="no network"):
        plot_front([], [], Reference(4.0, 0.1))
