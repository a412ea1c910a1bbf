"""The figures of a comparison of search methods: curves over the budget, and fronts."""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwnas_jax.report.compared import CaseResult, Compared, Curve
from hwnas_jax.report.style import (
    INK,
    MUTED,
    legend,
    metric_label,
    new_figure,
    option_colours,
    percent_axis,
    step_axis,
    style_axes,
)

_WIDE, _HALF = (9.0, 3.6), (5.4, 3.8)


def plot_queries(found: Compared, case: CaseResult, *, wide: bool = True) -> Figure:
    """Returns what each method has after each query: mean and 95 % band over the seeds.

    Args:
      found: the comparison.
      case: of it.
      wide: as wide as a page; otherwise half of that.
    """
    curves = {one.method: one.primary.curve for one in case.methods}
    is_area = case.front is not None
    label = "area of the front" if is_area else found.reported
    figure, ax = _curves(curves, 1.0 if is_area else case.oracle.value, _WIDE if wide else _HALF)
    style_axes(ax, x="queries (trainings looked up)", y=label)
    step_axis(ax)
    if found.is_share or is_area:
        percent_axis(ax, decimals=None)
    return figure


def plot_seconds(found: Compared, case: CaseResult) -> Figure | None:
    """Returns the same over the training time; None where the table does not know it."""
    curves = {one.method: one.seconds for one in case.methods if one.seconds is not None}
    if not curves:
        return None
    longest_s = max(curve.at[-1] for curve in curves.values())
    name, size_s = ("hours", 3600) if longest_s > 7200 else ("s", 1)
    timed = {
        method: dataclasses.replace(curve, at=[at / size_s for at in curve.at])
        for method, curve in curves.items()
    }
    figure, ax = _curves(timed, case.oracle.value, _HALF)
    style_axes(ax, x=f"training time ({name})", y=found.reported)
    if found.is_share:
        percent_axis(ax, decimals=None)
    return figure


def _curves(
    curves: dict[str, Curve], best: float, size: tuple[float, float]
) -> tuple[Figure, Axes]:
    figure = new_figure(*size)
    ax = figure.subplots()
    colours = option_colours(curves)
    for method, curve in curves.items():
        ax.fill_between(curve.at, curve.low, curve.high, color=colours[method], alpha=0.18, lw=0)
        ax.plot(curve.at, curve.mean, color=colours[method], linewidth=1.5, label=method)
    ax.axhline(best, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="best there is")
    # The first few networks are far below all others, and would take the whole height.
    low = min(np.nanmin(curve.low[len(curve.low) // 15 :]) for curve in curves.values())
    ax.set_ylim(low - 0.05 * (best - low), best + 0.06 * (best - low))
    ax.set_xlim(0, max(curve.at[-1] for curve in curves.values()))
    _named(ax)
    return figure, ax


def plot_fronts(found: Compared, case: CaseResult) -> Figure:
    """Returns the exact front, and the mean front of each method.

    Raises:
      ValueError: when the case is no front.
    """
    if case.front is None:
        raise ValueError(f"the case {case.label} has a limit, or no costs, and so no front")
    figure = new_figure(*_HALF)
    ax = figure.subplots()
    exact = case.front
    ax.step(
        exact.costs, exact.values, where="post", color=INK, linewidth=1.0, marker="o",
        markersize=3, label="exact front",
    )  # fmt: skip
    colours = option_colours(one.method for one in case.methods)
    for one in case.methods:
        if one.front is not None and one.front.costs:
            ax.plot(
                one.front.costs, one.front.values, color=colours[one.method], linewidth=1.5,
                label=one.method,
            )  # fmt: skip
    style_axes(ax, x=f"{metric_label(found.metric)} on {case.device}", y=found.reported)
    span = exact.costs[-1] - exact.costs[0]
    top, low = exact.values[-1], float(np.quantile(exact.values, 0.1))
    ax.set_xlim(exact.costs[0] - 0.03 * span, exact.costs[-1] + 0.15 * span)
    ax.set_ylim(low - 0.05 * (top - low), top + 0.05 * (top - low))
    if found.is_share:
        percent_axis(ax, decimals=None)
    _named(ax)
    return figure


def _named(ax: Axes) -> None:
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2)
    ax.tick_params(colors=MUTED)
