"""The figure of a front: the task's metric against cost, and the area that the front covers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwnas_jax.report.pareto_front import Reference, on_front
from hwnas_jax.report.style import (
    ALARM,
    FONT_SIZE,
    INK,
    MUTED,
    SEARCH,
    SURFACE,
    legend,
    metric_label,
    new_figure,
    percent_axis,
    style_axes,
)
from hwnas_jax.report.task_metric import TaskMetric


def plot_front(
    costs: Sequence[float],
    values: Sequence[float],
    reference: Reference,
    *,
    task: TaskMetric | None = None,
    targets: Sequence[float] = (),
    errors: Sequence[float] | None = None,
    metric: str = "latency_ms",
    value_label: str = "",
    cost_label: str = "",
    area: float | None = None,
) -> Figure:
    """Draws networks, their front, and the area between the front and the reference point.

    Args:
      costs: `[N]`.
      values: `[N]`, of the task's metric.
      reference: where the area ends; the axes show as much of it as the networks leave room for.
      task: the metric of what is learned; it says whether the front is above or below.
      targets: the budgets, marked at the bottom.
      errors: `[N]`, half the width of a bar on each cost.
      metric: names the cost axis.
      value_label: names the other axis; the task's metric when left out.
      cost_label: stands before the metric on the cost axis ("measured").
      area: the hypervolume, for the legend.

    Raises:
      ValueError: when there is no network.
    """
    task = task or TaskMetric()
    x, y = np.asarray(costs, float), np.asarray(values, float)
    if not len(x):
        raise ValueError("there is no network to draw")
    best = on_front(x, y, higher_is_better=task.higher_is_better)
    order = np.flatnonzero(best)[np.argsort(x[best], kind="stable")]
    figure = new_figure(9.0, 3.9)
    ax = figure.subplots()
    pad = 0.06 * (x.max() - x.min()) or 0.1 * x.max()
    left, right = max(0.0, x.min() - pad), x.max() + pad
    drop = 0.12 * (y.max() - y.min()) or 0.02 * (abs(y.max()) or 1.0)
    edge = np.r_[x[order], max(right, reference.cost)]
    level = np.r_[y[order], y[order[-1]]]
    label = "dominated by the front" if area is None else f"hypervolume {area:.4g}"
    ax.fill_between(
        edge, level, reference.value, step="post", color=SEARCH, alpha=0.12, lw=0, label=label
    )
    ax.step(edge, level, where="post", color=SEARCH, linewidth=1.2)
    for kept, name in ((best, "on the front"), (~best, "dominated")):
        if kept.any():
            ax.errorbar(
                x[kept], y[kept], xerr=None if errors is None else np.asarray(errors)[kept],
                fmt="o", markersize=7, color=SEARCH if kept is best else MUTED, elinewidth=0.9,
                markerfacecolor=SEARCH if kept is best else SURFACE, markeredgewidth=1.3,
                label=name,
            )  # fmt: skip
    for number, target in enumerate(dict.fromkeys(targets)):
        ax.axvline(
            target, ymax=0.035, color=ALARM, linewidth=1.6,
            label="targets" if number == 0 else None,
        )  # fmt: skip
    style_axes(ax, x=f"{cost_label} {metric_label(metric)}".strip(), y=value_label or task.name)
    ax.set(xlim=(left, right), ylim=(y.min() - drop, y.max() + drop))
    if left < reference.cost < right:
        ax.axvline(reference.cost, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    if task.is_share:
        percent_axis(ax, decimals=1)
    ax.xaxis.set_major_locator(MaxNLocator(9))
    ax.tick_params(labelsize=FONT_SIZE - 1)
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
    return figure
