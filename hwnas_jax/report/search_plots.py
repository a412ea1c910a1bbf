"""Figures of how searches went, drawn from their log.

Legend: `T` logged steps.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hwnas_jax.report.series import Rows, best_within_budget, column, evenly_spread
from hwnas_jax.report.style import (
    GRID,
    INK,
    MULTIPLIER,
    MUTED,
    RANDOM,
    SEARCH,
    legend,
    metric_label,
    new_figure,
    percent_axis,
    room_above,
    step_axis,
    style_axes,
)
from hwnas_jax.report.task_metric import TaskMetric

_DASHES = (0, (4, 2))
_MOST_NAMED = 12


def plot_progress(
    history: Rows,
    *,
    metric: str = "latency_ms",
    task: TaskMetric | None = None,
    warmup_steps: int | None = None,
    confidence: float | None = None,
) -> Figure:
    """Draws a gradient search over time: losses, the task's metric, the cost, and the multiplier.

    Where the multiplier stays at zero, because the budget has none, the entropy of the choices
    takes its place.

    Args:
      history: logged rows with `step`, `weight_loss`, `arch_loss`, `weight_metric`, `arch_metric`,
        `cost`, `argmax_cost`, `target`, `multiplier` and `entropy`; values that are null or absent
        leave gaps.
      metric: names the cost axis.
      task: the metric of what is learned.
      warmup_steps: shaded when given.
      confidence: given when the costs are upper bounds, which are kept with that confidence.

    Raises:
      ValueError: when the history is empty.
    """
    if not history:
        raise ValueError("the history is empty")
    task = task or TaskMetric()
    rows = [history[i] for i in evenly_spread(len(history), 600)]
    steps = column(rows, "step")
    figure = new_figure(9.0, 5.4)
    (loss, learned), (cost, multiplier) = figure.subplots(2, 2, sharex=True)

    def draw(ax: Axes, key: str, label: str, colour: str, line: str = "-") -> None:
        ax.plot(steps, column(rows, key), line, color=colour, linewidth=1.5, label=label)

    for ax, name in ((loss, "loss"), (learned, "metric")):
        draw(ax, f"weight_{name}", "weights", SEARCH)
        draw(ax, f"arch_{name}", "architecture", RANDOM, "--")
    style_axes(loss, y="loss")
    style_axes(learned, y=task.name)
    if task.is_share:
        percent_axis(learned)
    cost.plot(steps, column(rows, "target"), color=INK, lw=1.2, ls=_DASHES, label="target")
    draw(cost, "cost", "expected", SEARCH)
    draw(cost, "argmax_cost", "most probable network", RANDOM, "--")
    style_axes(cost, x="step", y=f"{_predicted(confidence)} {metric_label(metric)}")
    if has_multiplier(rows):
        draw(multiplier, "multiplier", "multiplier", MULTIPLIER)
        style_axes(multiplier, x="step", y="multiplier of the budget")
        multiplier.axhline(0, color=MUTED, linewidth=0.7)
    else:
        draw(multiplier, "entropy", "entropy", MULTIPLIER)
        style_axes(multiplier, x="step", y="entropy of a choice (nats)")
    for ax in (loss, cost):  # the metric's curves are those of the loss
        room_above(ax)
        legend(ax, loc="upper right", ncols=3, columnspacing=1.2, handlelength=1.6)
    for ax in (loss, learned, cost, multiplier):
        _shade_warmup(ax, warmup_steps)
        ax.set_xlim(0, max(float(np.nanmax(steps)), 1.0))
        step_axis(ax)
    figure.align_ylabels()
    return figure


def plot_searches(
    histories: Mapping[str, Rows],
    *,
    warmup_steps: int | None = None,
) -> Figure:
    """Draws many gradient searches over time: their losses, and costs as shares of the targets.

    Args:
      histories: rows of each search by its label, as `plot_progress` takes them.
      warmup_steps: shaded when given.

    Raises:
      ValueError: when there is no search.
    """
    figure, (loss, cost) = _pair(histories)
    for label, colour, rows in _thinned(histories):
        steps = column(rows, "step")
        loss.plot(steps, column(rows, "arch_loss"), color=colour, linewidth=1.2, label=label)
        share = column(rows, "cost") / column(rows, "target")
        cost.plot(steps, share, color=colour, linewidth=1.2, label=label)
    cost.axhline(1.0, color=INK, linewidth=1.0, linestyle=_DASHES)
    style_axes(loss, x="step", y="loss of the architecture")
    style_axes(cost, x="step", y="expected cost / target")
    for ax in (loss, cost):
        _shade_warmup(ax, warmup_steps)
        step_axis(ax)
    _name_lines(figure, cost)
    return figure


def plot_strategy(histories: Mapping[str, Rows]) -> Figure:
    """Draws what strategies found: the best score within the budget so far, and how many met it.

    Args:
      histories: rows of each search by its label, with `step` (the round), `best`, `score` (the
        mean of a round) and `within_budget` (a share).

    Raises:
      ValueError: when there is no search.
    """
    figure, (score, share) = _pair(histories)
    for label, colour, rows in _thinned(histories):
        rounds = column(rows, "step")
        name = label or "best within the budget so far"
        score.plot(rounds, best_within_budget(rows), color=colour, linewidth=1.6, label=name)
        share.plot(rounds, column(rows, "within_budget"), color=colour, linewidth=1.4, label=name)
        if len(histories) == 1:
            score.plot(
                rounds, column(rows, "score"), "--", color=RANDOM, linewidth=1.3,
                label="mean of what was asked for",
            )  # fmt: skip
    style_axes(score, x="round", y="score (higher is better)")
    style_axes(share, x="round", y="share within the budget")
    share.set_ylim(0, 1.02)
    percent_axis(share)
    for ax in (score, share):
        step_axis(ax)
    _name_lines(figure, score)
    return figure


def plot_supernet(histories: Mapping[str, Rows], *, task: TaskMetric | None = None) -> Figure:
    """Draws the training of the supernets whose weights an evaluator judges by.

    Args:
      histories: rows of each supernet by its name, with `step`, `weight_loss`, `weight_metric`.
      task: the metric of what is learned.

    Raises:
      ValueError: when there is no supernet.
    """
    task = task or TaskMetric()
    figure, (loss, learned) = _pair(histories)
    for label, colour, rows in _thinned(histories):
        steps = column(rows, "step")
        loss.plot(steps, column(rows, "weight_loss"), color=colour, linewidth=1.4, label=label)
        learned.plot(steps, column(rows, "weight_metric"), color=colour, linewidth=1.4, label=label)
    style_axes(loss, x="step", y="loss of the supernet")
    style_axes(learned, x="step", y=f"{task.name} of the supernet")
    if task.is_share:
        percent_axis(learned)
    for ax in (loss, learned):
        step_axis(ax)
    if len(histories) > 1:
        _name_lines(figure, learned)
    return figure


def has_multiplier(history: Rows) -> bool:
    """Returns whether the budget of a search had a multiplier that was ever other than zero."""
    return bool(np.nan_to_num(column(history, "multiplier")).any())


def _predicted(confidence: float | None) -> str:
    return "predicted" if confidence is None else f"{100 * confidence:g} % bound of"


def _shade_warmup(ax: Axes, warmup_steps: int | None) -> None:
    if warmup_steps:
        ax.axvspan(0, warmup_steps, color=GRID, alpha=0.55, linewidth=0, zorder=0)


def _pair(histories: Mapping[str, Rows]) -> tuple[Figure, Any]:
    """Returns a figure with two panels side by side."""
    if not any(histories.values()):
        raise ValueError("there is no search to draw")
    figure = new_figure(9.0, 3.1)
    return figure, figure.subplots(1, 2)


def _thinned(histories: Mapping[str, Rows]):
    """Yields each search's label, its colour and its rows, few enough to draw.

    Searches come in the order of their targets, and so do the colours.
    """
    colours = matplotlib.colormaps["viridis"]
    for number, (label, rows) in enumerate(histories.items()):
        colour = to_hex(colours(0.9 * number / max(len(histories) - 1, 1)))
        kept = evenly_spread(len(rows), 300)
        yield label, SEARCH if len(histories) == 1 else colour, [rows[i] for i in kept]


def _name_lines(figure: Figure, ax: Axes) -> None:
    """Adds a legend of the lines of some axes; of many lines, only of some evenly spread ones."""
    handles, labels = ax.get_legend_handles_labels()
    kept = evenly_spread(len(labels), _MOST_NAMED)
    legend(
        figure, handles=[handles[i] for i in kept], labels=[labels[i] for i in kept],
        loc="outside upper center", ncols=min(len(kept), 6), columnspacing=1.2,
    )  # fmt: skip
