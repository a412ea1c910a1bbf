"""The page of several searches: its front, its table, and what becomes of an unfinished sweep."""

import re

import pytest

from hwnas_jax import report
from hwnas_jax.cli import main
from hwnas_jax.errors import UserError
from hwnas_jax.report.numbers import NOTHING
from hwnas_jax.report.read import read_run
from hwnas_jax.report.sweep_summary import front_of, verdict
from tests.report.run_folders import ERROR, read, targets, write

pytestmark = pytest.mark.usefixtures("undrawn")


def page_of(folder):
    return report.write_report(folder).read_text().replace("\u00a0", " ")


def change(folder, **entries):
    """Replaces entries of every network; a list has one value for each."""
    payload = read(folder, "networks.json")
    for number, network in enumerate(payload["networks"]):
        for key, value in entries.items():
            network[key] = value[number] if isinstance(value, list) else value
    write(folder, "networks.json", payload)


def test_the_front_and_its_area_by_hand(sweep):
    page = page_of(sweep)
    front = read(sweep, "report.json")["front"]
    assert front["on_front"] == [True, True, False]
    # 3 ms of width at 0.6, then 2 ms at the 0.3 above it, both less what guessing reaches.
    assert front["hypervolume"] == pytest.approx(3 * 0.5 + 2 * 0.3)
    assert front["share"] == pytest.approx(2.1 / (4 * 0.9))
    assert "3 searches, 2 networks on the front. Hypervolume 2.1 ms times accuracy, 58.3 %" in page
    assert "4.000 ms (the most expensive network of the space, as predicted) and 10.0 %" in page
    assert "|&lt;cell-2&gt;|" in page
    assert "Measured cost and validation accuracy" in page


def test_a_front_of_errors_lies_below(sweep):
    write(sweep, "targets.json", targets(1.0, 2.0, 3.0, task=ERROR))
    front = front_of(read_run(sweep))
    assert front is not None
    # Errors of 0.6, 0.9 and 0.8: the cheapest network is the best as well.
    assert front.on_front == [True, False, False]
    assert front.hypervolume == pytest.approx(3 * (1.0 - 0.6))
    assert front.share == pytest.approx(1.2 / (4 * 1.0))
    assert "30.0 % of what no cost and a perfect mse would have" in verdict(read_run(sweep))


def test_a_metric_without_a_best_value_has_no_share(sweep):
    task = {"metric": "reward", "higher_is_better": True, "unit": "", "chance": None}
    write(sweep, "targets.json", targets(1.0, 2.0, 3.0, task=task))
    front = front_of(read_run(sweep))
    assert front is not None and front.share is None
    # Without the value of guessing, the worst network is where the area begins.
    assert front.hypervolume == pytest.approx(2 * 0.3)
    assert "the worst network here" in page_of(sweep)


def test_without_training_the_supernet_judges_and_says_so(sweep):
    change(sweep, measured=None, measured_iqr=None, validation_metric=None, test_metric=None)
    page = page_of(sweep)
    front = read(sweep, "report.json")["front"]
    assert (front["cost"], front["value"]) == ("predicted", "supernet_metric")
    assert "Predicted cost and accuracy with the supernet" in page
    rows = report.summary_rows(sweep)
    assert rows[2][:5] == ("2ms-seed0", "2.000", "1.980 ± 0.010", NOTHING, NOTHING)
    assert rows[2][5:] == ("50.0 %", NOTHING, NOTHING, "yes")


def test_networks_without_a_value_have_no_front(sweep):
    change(sweep, validation_metric=[0.6, None, 0.8], supernet_metric=None)
    page = page_of(sweep)
    assert "3 searches. The networks have no accuracy yet." in page
    assert "No front yet" in page
    assert [row[-1] for row in report.summary_rows(sweep)[1:]] == ["no"] * 3


def test_the_command_prints_a_row_for_every_search(sweep, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["report", str(sweep)]) == 0
    shown = capsys.readouterr().out
    for label, accuracy in (("1ms", "60.0"), ("2ms", "90.0"), ("3ms", "80.0")):
        assert re.search(rf"{label}-seed0.*{accuracy} %", shown)


def test_where_each_search_ended_is_told(sweep):
    payload = read(sweep, "networks.json")
    tried = [{"origin": "search", "search": f"{i % 3 + 1}ms-seed0", "meets_budget": i < 4}
             for i in range(9)]  # fmt: skip
    write(sweep, "networks.json", {**payload, "confirmations": tried})
    page = page_of(sweep)
    assert "before the training: 4 of 9 from the searches." in page
    assert "1 of 3 searches did not decide: 1ms-seed0." in page
    for label, found, sure in (("1", "no", "0.250"), ("2", "yes", "0.500"), ("3", "yes", "0.750")):
        row = f">{label}ms-seed0</th><td>{found}</td><td>{sure}</td><td>0.98</td><td>0.910</td>"
        assert row in page


def test_an_unfinished_sweep_has_a_page(sweep):
    (sweep / "networks.json").unlink()
    assert "not finished" in page_of(sweep)
    assert report.summary_rows(sweep) == []
    write(sweep, "targets.json", {**targets(1.3), "targets": []})
    with pytest.raises(UserError, match=r"targets\.json: targets must not be empty"):
        report.write_report(sweep)
