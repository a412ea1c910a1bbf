"""The figure of how the probabilities of the options moved during a gradient search.

Legend: `T` logged steps, `D` decisions, `K` options of the widest decision.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hwnas_jax.errors import shortened
from hwnas_jax.report.series import evenly_spread
from hwnas_jax.report.style import (
    FONT_SIZE,
    INK,
    MUTED,
    NONE_COLOUR,
    SURFACE,
    legend,
    new_figure,
    option_colours,
    percent_axis,
    step_axis,
    style_axes,
)

MOST_PANELS = 48
"""Most decisions that are drawn; of more, evenly spread ones are."""
_MOST_LAYERS, _MOST_NAMED = 24, 24
"""Most options of a panel, of which the smallest are added up, and most names of the legend."""
_POINTS = 30_000
_WORD, _TITLE = 30, 22
"""Most characters of a name in the legend and above a panel."""


def plot_probabilities(
    steps: Sequence[int],
    probabilities: Sequence[Sequence[Sequence[float]]],
    decisions: Mapping[str, Sequence[str]],
    *,
    warmup_steps: int | None = None,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Draws how the probabilities of the options moved, one stacked panel for every decision.

    Of very many decisions, evenly spread ones are drawn. Of very many options, those that became
    the most probable are drawn, and one grey layer stands for the others.

    Args:
      steps: `[T]`.
      probabilities: `[T, D, K]`; columns beyond a decision's options are not read.
      decisions: `{decision name: its options}`, `D` of them.
      warmup_steps: marked when given.
      colours: hex colour of each option.

    Raises:
      ValueError: when the shapes do not fit each other.
    """
    table = np.asarray(probabilities, float)
    widest = max((len(options) for options in decisions.values()), default=0)
    if table.ndim != 3 or not table.size or table.shape[:2] != (len(steps), len(decisions)):
        raise ValueError(
            f"probabilities must be [{len(steps)}, {len(decisions)}, K], got {table.shape}"
        )
    if table.shape[2] < widest:
        raise ValueError(f"probabilities have {table.shape[2]} columns for {widest} options")
    panels = evenly_spread(len(decisions), MOST_PANELS)
    kept = evenly_spread(len(steps), min(200, _POINTS // (len(panels) * min(widest, _MOST_LAYERS))))
    x, table = np.asarray(steps)[kept], table[np.ix_(kept, panels)]
    drawn = [(name, tuple(options)) for name, options in decisions.items()]
    drawn = [drawn[panel] for panel in panels]
    every_option = list(dict.fromkeys(option for _, options in drawn for option in options))
    colours = {**option_colours(every_option), **(colours or {})}

    columns = min(3 if len(drawn) <= 9 else 4, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure = new_figure(9.0, 1.6 * rows + 0.55)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for d, (name, options) in enumerate(drawn):
        ax = grid.flat[d]
        _stack(ax, x, table[:, d, : len(options)], options, colours)
        title = shortened(name, _TITLE)
        style_axes(ax, title=title, x="step" if d + columns >= len(drawn) else None)
        best = int(np.argmax(table[-1, d, : len(options)]))
        ax.set_title(
            f"{shortened(options[best], _TITLE)} {table[-1, d, best] * 100:.0f} %", loc="right",
            color=MUTED, fontsize=FONT_SIZE - 1,
        )  # fmt: skip
        ax.set(xlim=(x[0], x[-1]) if len(x) > 1 else None, ylim=(0, 1), yticks=(0, 0.5, 1))
        ax.tick_params(labelbottom=d + columns >= len(drawn))
        percent_axis(ax)
        step_axis(ax, 5)
        if warmup_steps and x[0] < warmup_steps < x[-1]:
            ax.axvline(warmup_steps, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    for ax in grid.flat[len(drawn) :]:
        ax.set_axis_off()
    _name_options(figure, every_option, colours, bool(warmup_steps))
    return figure


def _stack(ax: Axes, x, shares, options, colours) -> None:
    """Draws the probabilities `[T, K]` of one decision on top of each other."""
    shown, rest = np.arange(len(options)), []
    if len(options) > _MOST_LAYERS:
        shown = np.sort(np.argsort(-shares.max(0), kind="stable")[: _MOST_LAYERS - 1])
        rest = [np.delete(shares, shown, axis=1).sum(1)]
    ax.stackplot(
        x, *shares[:, shown].T, *rest, edgecolor=SURFACE, linewidth=0.6,
        colors=[*(colours[options[i]] for i in shown), *[NONE_COLOUR for _ in rest]],
    )  # fmt: skip


def _name_options(figure: Figure, options: Sequence[str], colours, warms_up: bool) -> None:
    handles: list[Any] = [
        Patch(facecolor=colours[option], label=shortened(option, _WORD))
        for option in options[:_MOST_NAMED]
    ]
    if len(options) > _MOST_NAMED:
        left = f"{len(options) - _MOST_NAMED} more options"
        handles.append(Patch(facecolor="none", label=left))
    if warms_up:
        handles.append(Line2D([], [], color=INK, lw=0.9, ls=(0, (2, 2)), label="warm-up ends"))
    legend(figure, handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
