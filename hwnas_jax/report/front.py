"""The figure of a front: accuracy against cost, and the area that the front covers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hwnas_jax.report.pareto_front import Reference, on_front
from hwnas_jax.report.style import (
    ALARM,
    FONT_SIZE,
    INK,
    MUTED,
    SEARCH,
    SURFACE,
    dress,
    legend,
    metric_label,
    new_figure,
)


def plot_front(
    costs: Sequence[float],
    accuracies: Sequence[float],
    reference: Reference,
    *,
    targets: Sequence[float] = (),
    errors: Sequence[float] | None = None,
    metric: str = "latency_ms",
    accuracy: str = "accuracy",
    area: float | None = None,
) -> Figure:
    """Draws networks, their front, and the area between the front and the reference point.

    Args:
      costs: `[N]`.
      accuracies: `[N]`, in [0, 1].
      reference: where the area ends; the axes show as much of it as the networks leave room for.
      targets: the budgets, marked below the axis.
      errors: `[N]`, half the width of a bar on each cost.
      metric: names the cost axis.
      accuracy: names the other axis.
      area: the hypervolume, for the legend.

    Raises:
      ValueError: when there is no network.
    """
    x, y = np.asarray(costs, float), np.asarray(accuracies, float)
    if not len(x):
        raise ValueError("there is no network to draw")
    best = on_front(x, y)
    order = np.flatnonzero(best)[np.argsort(x[best], kind="stable")]
    figure = new_figure(9.0, 3.9)
    ax = figure.subplots()
    pad = 0.06 * (x.max() - x.min()) or 0.1 * x.max()
    left, right = max(0.0, x.min() - pad), x.max() + pad
    drop = 0.12 * (y.max() - y.min()) or 0.02
    bottom, top = y.min() - drop, y.max() + drop
    edge = np.r_[x[order], max(right, reference.cost)]
    level = np.r_[y[order], y[order[-1]]]
    label = "dominated by the front" if area is None else f"hypervolume {area:.4g}"
    ax.fill_between(
        edge, level, reference.accuracy, step="post", color=SEARCH, alpha=0.12, lw=0, label=label
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
    dress(ax, x=metric_label(metric), y=accuracy)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    if left < reference.cost < right:
        ax.axvline(reference.cost, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1, symbol=" %"))
    ax.xaxis.set_major_locator(MaxNLocator(9))
    ax.tick_params(labelsize=FONT_SIZE - 1)
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
    return figure
