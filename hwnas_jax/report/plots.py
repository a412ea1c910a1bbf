"""The figures of a run, each drawn from plain data: training, cost model and trade-off.

Legend: `T` logged steps, `D` decisions, `K` options of the widest decision.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hwnas_jax.report.style import (
    ALARM,
    FONT_SIZE,
    GRID,
    INK,
    MUTED,
    RANDOM,
    SEARCH,
    SURFACE,
    dress,
    legend,
    metric_label,
    new_figure,
    option_colours,
)

_POINTS = 30_000
_STEPS = (1, 2, 2.5, 5, 10)
_ORIGINS = {"search": (SEARCH, "o"), "random": (RANDOM, "s")}


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Returns one logged value over time, NaN where it is null or absent."""
    return np.array([math.nan if row.get(key) is None else row[key] for row in rows], float)


def _thin(length: int, most: int) -> np.ndarray:
    """Returns at most `most` evenly spread indices, the first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, max(most, 2))).round().astype(int))


def _mark_warmup(ax, warmup_steps: int | None) -> None:
    if warmup_steps:
        ax.axvspan(0, warmup_steps, color=GRID, alpha=0.55, linewidth=0, zorder=0)


def plot_probabilities(
    steps: Sequence[int],
    probabilities: Sequence[Sequence[Sequence[float]]],
    decisions: Mapping[str, Sequence[str]],
    *,
    warmup_steps: int | None = None,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Draws how each decision's option probabilities moved, one stacked panel per decision.

    Args:
      steps: `[T]`.
      probabilities: `[T, D, K]`; columns beyond a decision's options are not read.
      decisions: `{decision name: its options}`, `D` of them.
      warmup_steps: marked when given.
      colours: hex colour of each option.

    Raises:
      ValueError: when the shapes do not fit each other.
    """
    every_option = list(dict.fromkeys(o for options in decisions.values() for o in options))
    colours = {**option_colours(every_option), **(colours or {})}
    table = np.asarray(probabilities, float)
    widest = max((len(options) for options in decisions.values()), default=0)
    if table.ndim != 3 or not table.size or table.shape[:2] != (len(steps), len(decisions)):
        raise ValueError(
            f"probabilities must be [{len(steps)}, {len(decisions)}, K], got {table.shape}"
        )
    if table.shape[2] < widest:
        raise ValueError(f"probabilities have {table.shape[2]} columns for {widest} options")
    kept = _thin(len(steps), min(200, _POINTS // table[0].size))
    x, table = np.asarray(steps)[kept], table[kept]

    columns = min(3 if len(decisions) <= 9 else 4, len(decisions))
    rows = math.ceil(len(decisions) / columns)
    figure = new_figure(9.0, 1.6 * rows + 0.55)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for d, (name, options) in enumerate(decisions.items()):
        ax = grid.flat[d]
        ax.stackplot(
            x, table[:, d, : len(options)].T, colors=[colours[o] for o in options],
            edgecolor=SURFACE, linewidth=0.6,
        )  # fmt: skip
        dress(ax, title=name, x="step" if d + columns >= len(decisions) else None)
        best = int(np.argmax(table[-1, d, : len(options)]))
        ax.set_title(
            f"{options[best]} {table[-1, d, best] * 100:.0f} %", loc="right", color=MUTED,
            fontsize=FONT_SIZE - 1, parse_math=False,
        )  # fmt: skip
        ax.set(xlim=(x[0], x[-1]) if len(x) > 1 else None, ylim=(0, 1), yticks=(0, 0.5, 1))
        ax.tick_params(labelbottom=d + columns >= len(decisions))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=_STEPS))
        if warmup_steps and x[0] < warmup_steps < x[-1]:
            ax.axvline(warmup_steps, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    for ax in grid.flat[len(decisions) :]:
        ax.set_axis_off()
    handles: list[Any] = [Patch(facecolor=colours[o], label=o) for o in every_option]
    if warmup_steps:
        handles.append(Line2D([], [], color=INK, lw=0.9, ls=(0, (2, 2)), label="warm-up ends"))
    legend(figure, handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def plot_progress(
    history: Sequence[Mapping[str, Any]],
    *,
    metric: str = "latency_ms",
    warmup_steps: int | None = None,
    confidence: float | None = None,
) -> Figure:
    """Draws a search over time: losses, expected cost against its target, the multiplier.

    Args:
      history: logged rows with `step`, `weight_loss`, `arch_loss`, `expected_ms`, `argmax_ms`,
        `target_ms` and `multiplier`; null or absent values leave gaps.
      metric: names the cost axis.
      warmup_steps: marked when given.
      confidence: of the upper bounds that the costs are; None for predictions.

    Raises:
      ValueError: when the history is empty.
    """
    if not history:
        raise ValueError("the history is empty")
    rows = [history[i] for i in _thin(len(history), 600)]
    steps = _column(rows, "step")
    figure = new_figure(9.0, 5.6)
    loss, cost, multiplier = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1.1))
    losses = (("weight_loss", "weights (training half)", SEARCH, "-"),
              ("arch_loss", "architecture (other half)", RANDOM, "--"))  # fmt: skip
    for key, label, colour, line in losses:
        loss.plot(steps, _column(rows, key), line, color=colour, linewidth=1.5, label=label)
    dress(loss, y="loss")
    legend(loss, loc="upper right", ncols=2)

    cost.plot(steps, _column(rows, "target_ms"), color=INK, lw=1.2, ls=(0, (4, 2)), label="target")
    costs = (("expected_ms", "expected over the distribution", SEARCH, "-"),
             ("argmax_ms", "most probable network", RANDOM, "--"))  # fmt: skip
    for key, label, colour, line in costs:
        cost.plot(steps, _column(rows, key), line, color=colour, linewidth=1.5, label=label)
    what = "predicted" if confidence is None else f"{100 * confidence:g} % bound of"
    dress(cost, y=f"{what} {metric_label(metric)}")
    # Room above the curves, so that the legend covers none of them.
    low, high = cost.get_ylim()
    cost.set_ylim(low, high + 0.25 * (high - low))
    legend(cost, loc="upper right", ncols=3)

    multiplier.plot(steps, _column(rows, "multiplier"), color="#009e73", linewidth=1.5)
    dress(multiplier, x="step", y="multiplier")
    multiplier.axhline(0, color=MUTED, linewidth=0.7)
    multiplier.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=_STEPS))
    for ax in (loss, cost, multiplier):
        _mark_warmup(ax, warmup_steps)
        ax.set_xlim(0, max(float(np.nanmax(steps)), 1.0))
    figure.align_ylabels()
    return figure


def plot_retraining(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the training loss of the derived networks.

    Args:
      history: logged rows with `network` ("search-0"), `step` and `loss`.
    """
    figure = new_figure(4.6, 3.4)
    ax = figure.subplots()
    networks = list(dict.fromkeys(row["network"] for row in history))
    seen: dict[str, int] = {}
    for network in networks:
        origin = network.split("-")[0]
        colour = _ORIGINS.get(origin, (MUTED, "o"))[0]
        line = ("-", "--", "-.", ":")[seen.get(origin, 0) % 4]
        seen[origin] = seen.get(origin, 0) + 1
        rows = [row for row in history if row["network"] == network]
        rows = [rows[i] for i in _thin(len(rows), 300)]
        ax.plot(
            _column(rows, "step"), _column(rows, "loss"), line, color=colour, linewidth=1.4,
            label=network,
        )  # fmt: skip
    dress(ax, x="step", y="training loss")
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=_STEPS))
    legend(ax, loc="upper right", ncols=2 if len(networks) > 4 else 1)
    return figure


def plot_cost_fit(
    held_out: Sequence[Mapping[str, Any]],
    fitted: Sequence[Mapping[str, Any]] = (),
    searched: Sequence[Mapping[str, Any]] = (),
    *,
    metric: str = "latency_ms",
) -> Figure:
    """Draws the cost model's predictions against measurements it has not seen.

    Args:
      held_out: rows with `measured_ms`, `predicted_ms` and, for an error bar, `std_ms`.
      fitted: the networks the model was fitted to, likewise; drawn faintly.
      searched: networks measured during the search, as predicted just before, likewise.
      metric: names the axes.

    Raises:
      ValueError: when there is no network at all.
    """
    figure = new_figure(4.6, 4.3)
    ax = figure.subplots()
    both = [*held_out, *fitted, *searched]
    if not both:
        raise ValueError("there is no network to draw")
    values = np.concatenate([_column(both, "measured_ms"), _column(both, "predicted_ms")])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    pad = 0.05 * (high - low) or 0.05 * high
    ends = np.array([max(low - pad, 0.0), high + pad])
    ax.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GRID, alpha=0.7, lw=0, label="±10 %")
    ax.plot(ends, ends, color=MUTED, linewidth=1.0, label="predicted = measured")
    if fitted:
        ax.plot(
            _column(fitted, "measured_ms"), _column(fitted, "predicted_ms"), "o", markersize=3,
            color=MUTED, alpha=0.45, markeredgewidth=0, label=f"fitted ({len(fitted)})",
        )  # fmt: skip
    if held_out:
        ax.errorbar(
            _column(held_out, "measured_ms"), _column(held_out, "predicted_ms"),
            yerr=np.nan_to_num(_column(held_out, "std_ms")), fmt="o", markersize=4.5,
            color=SEARCH, ecolor=SEARCH, elinewidth=0.9, markeredgecolor=SURFACE,
            markeredgewidth=0.5, label=f"held out ({len(held_out)})",
        )  # fmt: skip
    if searched:
        ax.errorbar(
            _column(searched, "measured_ms"), _column(searched, "predicted_ms"),
            yerr=np.nan_to_num(_column(searched, "std_ms")), fmt="D", markersize=4.5,
            color=RANDOM, ecolor=RANDOM, elinewidth=0.9, markeredgecolor=SURFACE,
            markeredgewidth=0.5, label=f"during the search ({len(searched)})",
        )  # fmt: skip
    dress(ax, x=f"measured {metric_label(metric)}", y=f"predicted {metric_label(metric)}")
    ax.set(xlim=ends, ylim=ends)
    ax.set_aspect("equal")
    legend(ax, loc="upper left")
    return figure


def plot_tradeoff(
    networks: Sequence[Mapping[str, Any]],
    target_ms: float | None = None,
    *,
    metric: str = "latency_ms",
) -> Figure:
    """Draws test accuracy against measured cost, searched beside random networks.

    Args:
      networks: rows with `origin` ("search" or "random"), `measured_ms`, `test_accuracy`, and
        optionally `measured_iqr_ms` (half of it is the error bar) and `selected` (filled).
      target_ms: the budget, drawn as a line.
      metric: names the cost axis.
    """
    figure = new_figure(4.6, 3.4)
    ax = figure.subplots()
    for origin, (colour, marker) in _ORIGINS.items():
        for chosen in (True, False):
            rows = [
                row for row in networks
                if row["origin"] == origin and bool(row.get("selected")) == chosen
                and row.get("measured_ms") is not None and row.get("test_accuracy") is not None
            ]  # fmt: skip
            if rows:
                ax.errorbar(
                    _column(rows, "measured_ms"), _column(rows, "test_accuracy"),
                    xerr=np.nan_to_num(_column(rows, "measured_iqr_ms")) / 2, fmt=marker,
                    markersize=8 if chosen else 6.5, color=colour, elinewidth=0.9,
                    markerfacecolor=colour if chosen else SURFACE, markeredgewidth=1.4,
                    label=f"{origin}, chosen" if chosen else f"{origin}, other",
                )  # fmt: skip
    dress(ax, x=f"measured {metric_label(metric)}", y="test accuracy")
    ax.margins(0.12)
    if target_ms is not None:
        ax.axvline(target_ms, color=ALARM, linewidth=1.2, linestyle=(0, (4, 2)), label="target")
    low, high = ax.get_ylim()
    decimals = 2 if high - low < 0.005 else 1
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals, symbol=" %"))
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2)
    return figure
