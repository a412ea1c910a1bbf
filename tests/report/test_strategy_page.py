"""The page of a search by a strategy, of a task whose metric is better when it is lower."""

import re

import pytest

from hwnas_jax import report
from hwnas_jax.report.comparison import chosen
from hwnas_jax.report.read import read_run
from hwnas_jax.report.summary import verdict
from tests.report.run_folders import network, read, write, write_lines

pytestmark = pytest.mark.usefixtures("undrawn")


def page_of(folder):
    return report.write_report(folder).read_text().replace("\u00a0", " ")


def test_the_verdict_speaks_of_the_task_s_metric(strategy):
    assert verdict(read_run(strategy)) == (
        "Target 1.300 ms, predicted 1.280 ± 0.030 ms, measured 1.290 ± 0.010 ms, "
        "test mse 0.2500. The budget was met: 0.8 % of it is left. "
        "The search is better by 0.2500 than the best control (random): 0.2500 against 0.5000 at "
        "1.310 ms. Whether that is more than chance takes several seeds to tell. The search and "
        "each control had 1 training."
    )
    rows = report.summary_rows(strategy)
    assert ("validation mse", "0.2000", "0.4000") in rows
    assert "accuracy" not in page_of(strategy)


def test_less_is_better_before_the_selection(strategy):
    networks = [
        network(f"search-{i}", 1.2, None, validation_metric=value, selected=None)
        for i, value in enumerate((0.4, 0.2, 0.3))
    ]
    write(strategy, "networks.json", {"networks": networks})
    best = chosen(read_run(strategy), "search")
    assert best is not None and best["validation_metric"] == 0.2


def test_what_was_asked_for_is_told(strategy):
    page = page_of(strategy)
    # The share is a hundredth of four fifths of the round, from the third call of ten rounds on.
    share = sum(step / 125 for step in range(30, 110, 10)) / 10
    assert f"asked in 100 rounds; {100 * share:.1f} % of what it asked for met the budget" in page
    assert "The best of these has a score of -0.3000." in page
    for row in (r"strategy.*random.*each 8.*drawn uniformly", r"evaluator.*supernet.*"):
        assert re.search(f'<tr><th scope="row">{row}', page)
    assert '<th scope="row">relaxation' not in page
    assert "most probable network" not in page


def test_a_strategy_that_never_met_the_budget_has_no_best(strategy):
    rows = [{"stage": "strategy", "step": step, "best": 0.0, "score": 0.5, "within_budget": 0.0}
            for step in (10, 20)]  # fmt: skip
    write_lines(strategy, rows)
    page = page_of(strategy)
    assert "0.0 % of what it asked for met the budget." in page
    assert "has a score of" not in page
    assert read(strategy, "report.json")["log"]["strategy"] == rows
