"""Figures drawn from plain data: points and lines stand where the data says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hwnas_jax import report
from hwnas_jax.report.cell import _lanes
from hwnas_jax.report.front_plot import plot_front
from hwnas_jax.report.pareto_front import Reference
from hwnas_jax.report.search_plots import plot_searches
from hwnas_jax.report.style import option_colours, text_colour_on, to_svg
from hwnas_jax.report.task_metric import TaskMetric
from tests.report.run_folders import ARCHITECTURE, OPTIONS, network, search_rows


def line(ax, label):
    """Returns the points of the line with that label."""
    return next(found.get_xydata() for found in ax.lines if found.get_label() == label)


def test_progress_shows_losses_metric_cost_and_multiplier():
    rows = search_rows()
    figure = report.plot_progress(rows, confidence=0.9, warmup_steps=200)
    loss, metric, cost, multiplier = figure.axes
    steps = [row["step"] for row in rows]
    np.testing.assert_allclose(line(loss, "weights").T, [steps, [r["weight_loss"] for r in rows]])
    drawn = line(metric, "architecture")[:, 1]
    assert np.isnan(drawn[:4]).all()
    np.testing.assert_allclose(drawn[4:], [row["arch_metric"] for row in rows[4:]])
    np.testing.assert_allclose(line(cost, "expected")[:, 1], [row["cost"] for row in rows])
    assert cost.get_ylabel() == "90 % bound of latency (ms)"
    assert multiplier.get_ylabel() == "multiplier of the budget"
    without = [{**row, "multiplier": 0.0} for row in rows]
    assert "entropy" in report.plot_progress(without).axes[3].get_ylabel()
    with pytest.raises(ValueError, match="empty"):
        report.plot_progress([])


def test_costs_of_several_searches_are_shares_of_their_targets():
    figure = plot_searches({"a": search_rows(target=1.0), "b": search_rows(target=3.0)})
    cost = figure.axes[1]
    shares = [row["cost"] for row in search_rows(target=1.0)]
    for label in "ab":
        np.testing.assert_allclose(line(cost, label)[:, 1], shares)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_the_best_of_a_strategy_begins_with_the_first_within_the_budget():
    shares, best = (0.0, 0.2, 0.4), (0.0, 0.7, 0.8)
    rows = [{"step": 10 * i, "best": b, "score": 0.5, "within_budget": s}
            for i, (b, s) in enumerate(zip(best, shares, strict=True), 1)]  # fmt: skip
    score, share = report.plot_strategy({"": rows}).axes
    drawn = line(score, "best within the budget so far")
    np.testing.assert_array_equal(drawn, [[10, np.nan], [20, 0.7], [30, 0.8]])
    np.testing.assert_array_equal(share.lines[0].get_ydata(), shares)


def test_probabilities_are_stacked_to_one():
    steps, decisions = [0, 10, 20], {"a": ("x", "y"), "b": ("x", "y", "z")}
    table = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 2))
    table[:, 0] = [[0.3, 0.7, 0.0]] * 3
    figure = report.plot_probabilities(steps, table.tolist(), decisions)
    for ax, width in zip(figure.axes, (2, 3), strict=True):
        assert len(ax.collections) == width
        top = ax.collections[-1].get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(1.0)
    assert figure.axes[0].get_title("right") == "y 70 %"
    for wrong in (table[:2], table[:, :1], table[:, :, :2]):
        with pytest.raises(ValueError, match="probabilities"):
            report.plot_probabilities(steps, wrong, decisions)


def test_predictions_stand_against_measurements():
    points = [{"measured": 1.0, "predicted": 1.1, "std": 0.2},
              {"measured": 3.0, "predicted": 2.9, "std": None}]  # fmt: skip
    ax = report.plot_cost_fit(points, points[:1]).axes[0]
    (bars,) = ax.containers
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[1.0, 1.1], [3.0, 2.9]])
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0], [[1.0, 0.9], [1.0, 1.3]])
    ax = report.plot_cost_fit(points, [], [{"measured": 2.0, "predicted": 2.5}]).axes[0]
    np.testing.assert_allclose(ax.containers[1].lines[0].get_xydata(), [[2.0, 2.5]])


def test_networks_stand_by_cost_and_metric():
    networks = [network("search-1", 1.29, 0.989), network("random-1", None, 0.9)]
    ax = report.plot_tradeoff(networks, 1.3).axes[0]
    (shown,) = ax.containers
    np.testing.assert_allclose(shown.lines[0].get_xydata(), [[1.29, 0.989]])
    assert line(ax, "target")[:, 0].tolist() == [1.3, 1.3]
    error = report.plot_tradeoff(networks, task=TaskMetric("mse", False, "")).axes[0]
    assert error.get_ylabel() == "test mse"


@pytest.mark.parametrize("count", [1, 2])
def test_a_front_of_few_networks_is_drawn(count):
    figure = plot_front([1.0, 2.0][:count], [0.5, 0.5][:count], Reference(4.0, 0.1), area=1.2)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "hypervolume 1.2" in labels
    assert ("dominated" in labels) == (count == 2)


def test_a_front_of_errors_falls():
    error = TaskMetric("mse", False, "")
    ax = plot_front([1.0, 2.0, 3.0], [0.5, 0.2, 0.3], Reference(4.0, 1.0), task=error).axes[0]
    by_label = {found.get_label(): found for found in ax.containers}
    np.testing.assert_allclose(by_label["on the front"].lines[0].get_ydata(), [0.5, 0.2])
    with pytest.raises(ValueError, match="no network"):
        plot_front([], [], Reference(4.0, 0.1))


@pytest.mark.parametrize("names", [ARCHITECTURE, {"kernel": "3x3", "depth": "2"}, {"1<-0": "x"}])
def test_a_cell_shows_every_choice(names):
    figure = report.plot_cell(names)
    assert isinstance(figure, Figure)
    shown = [text.get_text() for text in figure.axes[0].texts]
    for option in names.values():
        assert option in shown
    assert ("input" in shown) == all("<-" in name for name in names)
    assert to_svg(figure, "cell", "words").startswith('<svg role="img" aria-label="words"')


def test_cells_are_graphs_of_their_own_and_show_the_edges_that_nodes_read():
    names = {"a/2<-0": "pool", "a/2<-1": "conv", "a/3<-0": "conv", "a/3<-1": "skip",
             "a/3<-2": "wide", "a/3": "0+2", "b/2<-0": "conv", "b/2<-1": "pool"}  # fmt: skip
    shown = [text.get_text() for text in report.plot_cell(names).axes[0].texts]
    assert "skip" not in shown
    assert (shown.count("conv"), shown.count("pool"), shown.count("wide")) == (3, 2, 1)
    assert {"a", "b", "output:\n2 to 3", "output:\n2 to 2"} <= set(shown)
    more = report.plot_cell({**names, "array": "16x16"}).axes[0].texts
    assert next(text.get_text() for text in more) == "array 16x16"


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 8), st.integers(1, 4)), min_size=1, max_size=20))
def test_edges_of_a_lane_never_overlap(spans):
    edges = [(start, start + length) for start, length in spans]
    nodes = sorted({node for edge in edges for node in edge})
    lanes = _lanes(edges)
    assert set(lanes) == set(edges)
    for edge, lane in lanes.items():
        between = nodes.index(edge[1]) - nodes.index(edge[0])
        assert lane != 0 or between == 1
        for other, other_lane in lanes.items():
            if edge != other and lane == other_lane:
                assert edge[1] <= other[0] or other[1] <= edge[0]


def test_colours_are_stable_and_legible():
    colours = option_colours(OPTIONS)
    assert len(set(colours.values())) == len(OPTIONS)
    assert option_colours(OPTIONS[1:])["nor_conv_3x3"] == colours["nor_conv_3x3"]
    assert text_colour_on("#ffffff") == "#111111" and text_colour_on("#000000") == "#ffffff"
