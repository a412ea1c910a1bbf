"""Figures of networks: how they trained, what they cost, and how the cost model predicted that."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwnas_jax.report.comparison import name_of
from hwnas_jax.report.read import MEASURED, PREDICTED, STD
from hwnas_jax.report.series import Rows, column, evenly_spread
from hwnas_jax.report.style import (
    ALARM,
    GRID,
    MOST_MACS,
    MUTED,
    NO_SEARCH,
    RANDOM,
    ROUND_STEPS,
    SEARCH,
    SURFACE,
    legend,
    metric_label,
    new_figure,
    percent_axis,
    step_axis,
    style_axes,
)
from hwnas_jax.report.task_metric import TaskMetric

_ORIGINS = {
    "search": (SEARCH, "o"), "random": (RANDOM, "s"), "no_search": (NO_SEARCH, "^"),
    "most_macs": (MOST_MACS, "D"),
}  # fmt: skip
_OTHER = (MUTED, "v")


def plot_retraining(history: Rows) -> Figure:
    """Draws the training loss of the derived networks.

    Args:
      history: logged rows with `network` ("search-1"), `step` and `loss`.
    """
    figure = new_figure(4.6, 3.4)
    ax = figure.subplots()
    networks = list(dict.fromkeys(row["network"] for row in history))
    seen: dict[str, int] = {}
    for network in networks:
        origin = network.split("-")[0]
        colour = _ORIGINS.get(origin, _OTHER)[0]
        line = ("-", "--", "-.", ":")[seen.get(origin, 0) % 4]
        seen[origin] = seen.get(origin, 0) + 1
        rows = [row for row in history if row["network"] == network]
        rows = [rows[i] for i in evenly_spread(len(rows), 300)]
        ax.plot(
            column(rows, "step"), column(rows, "loss"), line, color=colour, linewidth=1.4,
            label=network,
        )  # fmt: skip
    style_axes(ax, x="step", y="training loss")
    ax.set_ylim(bottom=0)
    step_axis(ax)
    legend(ax, loc="upper right", ncols=2 if len(networks) > 4 else 1)
    return figure


def plot_cost_fit(
    held_out: Rows,
    fitted: Rows = (),
    searched: Rows = (),
    *,
    metric: str = "latency_ms",
    obtained: str = "measured",
) -> Figure:
    """Draws the predictions of the cost model against costs that it has not seen.

    Args:
      held_out: rows as in `cost_fit.json`, with what was measured, what was predicted and, for an
        error bar, the standard deviation of the prediction.
      fitted: the networks that the model was fitted to, likewise; drawn faintly.
      searched: networks measured during the search, as they were predicted just before, likewise.
      metric: names the axes.
      obtained: how the costs were obtained ("simulated").

    Raises:
      ValueError: when there is no network at all.
    """
    figure = new_figure(4.6, 4.3)
    ax = figure.subplots()
    every = [*held_out, *fitted, *searched]
    if not every:
        raise ValueError("there is no network to draw")
    values = np.concatenate([column(every, MEASURED), column(every, PREDICTED)])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    pad = 0.05 * (high - low) or 0.05 * high
    ends = np.array([max(low - pad, 0.0), high + pad])
    ax.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GRID, alpha=0.7, lw=0, label="±10 %")
    ax.plot(ends, ends, color=MUTED, linewidth=1.0, label=f"predicted = {obtained}")
    if fitted:
        ax.plot(
            column(fitted, MEASURED), column(fitted, PREDICTED), "o", markersize=3,
            color=MUTED, alpha=0.45, markeredgewidth=0, label=f"fitted ({len(fitted)})",
        )  # fmt: skip
    for rows, colour, marker, what in (
        (held_out, SEARCH, "o", "held out"),
        (searched, RANDOM, "D", "during the search"),
    ):
        if rows:
            ax.errorbar(
                column(rows, MEASURED), column(rows, PREDICTED),
                yerr=np.nan_to_num(column(rows, STD)), fmt=marker, markersize=4.5,
                color=colour, ecolor=colour, elinewidth=0.9, markeredgecolor=SURFACE,
                markeredgewidth=0.5, label=f"{what} ({len(rows)})",
            )  # fmt: skip
    name = metric_label(metric)
    style_axes(ax, x=f"{obtained} {name}", y=f"predicted {name}")
    ax.set(xlim=ends, ylim=ends)
    ax.set_aspect("equal")
    legend(ax, loc="upper left")
    return figure


def plot_tradeoff(
    networks: Rows,
    target: float | None = None,
    *,
    metric: str = "latency_ms",
    task: TaskMetric | None = None,
    obtained: str = "measured",
) -> Figure:
    """Draws the test metric of trained networks against their cost.

    Args:
      networks: rows with `origin` ("search" or a control), `measured`, `test_metric`, and
        optionally `measured_iqr` (half of it is the error bar) and `selected` (filled).
      target: the budget, drawn as a line.
      metric: names the cost axis.
      task: the metric of what is learned.
      obtained: how the costs were obtained ("simulated").
    """
    task = task or TaskMetric()
    figure = new_figure(4.6, 3.4)
    ax = figure.subplots()
    for origin in dict.fromkeys(row["origin"] for row in networks):
        colour, marker = _ORIGINS.get(origin, _OTHER)
        name = name_of(origin)
        for chosen in (True, False):
            rows: Any = [
                row for row in networks
                if row["origin"] == origin and bool(row.get("selected")) == chosen
                and row.get("measured") is not None and row.get("test_metric") is not None
            ]  # fmt: skip
            if rows:
                ax.errorbar(
                    column(rows, "measured"), column(rows, "test_metric"),
                    xerr=np.nan_to_num(column(rows, "measured_iqr")) / 2, fmt=marker,
                    markersize=8 if chosen else 6.5, color=colour, elinewidth=0.9,
                    markerfacecolor=colour if chosen else SURFACE, markeredgewidth=1.4,
                    label=f"{name}, chosen" if chosen else f"{name}, other",
                )  # fmt: skip
    style_axes(ax, x=f"{obtained} {metric_label(metric)}", y=f"test {task.name}")
    ax.margins(0.12)
    if target is not None:
        ax.axvline(target, color=ALARM, linewidth=1.2, linestyle=(0, (4, 2)), label="target")
    if task.is_share:
        low, high = ax.get_ylim()
        percent_axis(ax, decimals=2 if high - low < 0.005 else 1)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND_STEPS))
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2)
    return figure
