"""Figures of test examples with a target for every position: input, truth, prediction, difference.

Legend: `E` examples, `H, W` positions, `O` outputs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hwnas_jax.report.example_plots import (
    bare,
    class_colours,
    draw_curves,
    draw_input,
    height_of,
    is_coloured,
    is_sequence,
    name_of_output,
    title_of,
)
from hwnas_jax.report.style import (
    ALARM,
    FONT_SIZE,
    INK,
    MUTED,
    RANDOM,
    SEARCH,
    legend,
    new_figure,
)
from hwnas_jax.train.examples import Examples

_NAMED = 24
"""Most classes in a legend."""


def plot_class_maps(examples: Examples, names: Sequence[str]) -> Figure:
    """Draws input, true and predicted classes of examples, one in each column.

    Args:
      examples: of a class for every position.
      names: of the classes; without names, the classes that there are have numbers.
    """
    count = len(names) or min(1 + max(int(examples.targets.max()), 0), _NAMED)
    colours = class_colours(count)
    maps = [
        np.where((values >= 0) & (values < count), values, count)
        for values in (examples.targets, examples.predicted)
    ]
    figure, rows = _grid(examples, ("input", "true", "predicted"))
    for classes, row in zip(maps, rows[1:], strict=True):
        for i, ax in enumerate(row):
            ax.imshow(
                classes[i], cmap=ListedColormap(colours), vmin=0, vmax=count,
                interpolation="nearest", aspect="auto" if is_sequence(examples.inputs) else "equal",
            )  # fmt: skip
    seen = np.unique(np.stack(maps))
    patches = [
        Patch(color=colours[k], label="no class" if k == count else name_of_output(int(k), names))
        for k in seen[:_NAMED]
    ]
    legend(figure, handles=patches, loc="outside lower center", ncols=8)
    return figure


def plot_value_maps(examples: Examples, names: Sequence[str]) -> Figure:
    """Draws input, true and predicted values of examples and their difference, one in each column.

    Of several outputs the first is drawn, except for images in colour.

    Args:
      examples: of values for every position.
      names: of the outputs.
    """
    true, said = examples.targets, examples.predicted
    if is_sequence(examples.inputs):
        return _plot_curves(examples)
    labels = ("input", "true", "predicted", "difference")
    figure, rows = _grid(examples, labels)
    if is_coloured(true):
        shown: dict[str, Any] = {"interpolation": "nearest"}
        pictures, off = (true, np.clip(said, 0, 1)), np.abs(said - true).mean(-1)
        limits, colours, name = (0.0, float(off.max()) or 1.0), "magma", "mean over colours"
    else:
        pictures, off = (true[..., 0], said[..., 0]), said[..., 0] - true[..., 0]
        shown = {"vmin": min(map(np.min, pictures)), "vmax": max(map(np.max, pictures)),
                 "cmap": "viridis", "interpolation": "nearest"}  # fmt: skip
        most = float(np.abs(off).max()) or 1.0
        limits, colours, name = (-most, most), "RdBu_r", name_of_output(0, names)
    for values, row in zip(pictures, rows[1:3], strict=True):
        for i, ax in enumerate(row):
            drawn = ax.imshow(values[i], **shown)
    if "vmin" in shown:
        _bar(figure, drawn, rows[1:3], name)
    for i, ax in enumerate(rows[3]):
        drawn = ax.imshow(
            off[i], cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest"
        )
    _bar(figure, drawn, rows[3:], name)
    return figure


def _bar(figure: Figure, drawn: Any, rows: np.ndarray, name: str) -> None:
    bar = figure.colorbar(drawn, ax=rows.ravel().tolist(), shrink=0.9, aspect=12 * len(rows))
    bar.ax.tick_params(labelsize=FONT_SIZE - 2, colors=MUTED, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(name, fontsize=FONT_SIZE - 1, color=INK)


def _grid(examples: Examples, labels: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """Returns a figure with a row for each label and a column for each example.

    The first row shows the inputs.
    """
    count = len(examples.numbers)
    first = (
        1.2 if is_sequence(examples.inputs) else 8.4 / max(count, 6) * height_of(examples.inputs)
    )
    others = 0.35 if is_sequence(examples.inputs) else first
    heights = [first, *(others for _ in labels[1:])]
    figure = new_figure(9.0, sum(heights) + 1.0)
    rows = figure.subplots(len(labels), count, squeeze=False, height_ratios=heights)
    for row, label in zip(rows, labels, strict=True):
        for ax in row:
            bare(ax)
        row[0].set_ylabel(label, fontsize=FONT_SIZE, color=INK)
        if others < first:
            row[0].yaxis.label.set(rotation=0, ha="right", va="center")
    for i, ax in enumerate(rows[0]):
        draw_input(ax, examples.inputs, i)
        _head(ax, examples, i)
        if i:
            ax.tick_params(labelleft=False)
    return figure, rows


def _head(ax: Axes, examples: Examples, i: int) -> None:
    ax.set_title(
        title_of(examples, i).replace(", ", ",\n"), fontsize=FONT_SIZE - 1,
        color=ALARM if examples.worst[i] else INK,
    )  # fmt: skip


def _plot_curves(examples: Examples) -> Figure:
    """Draws sequences: the input above, the true and the predicted values below."""
    count = len(examples.numbers)
    columns = min(count, 4)
    blocks = -(-count // columns)
    figure = new_figure(9.0, 2.9 * blocks)
    rows = figure.subplots(2 * blocks, columns, squeeze=False)
    for i in range(blocks * columns):
        upper, lower = (rows[2 * (i // columns) + k][i % columns] for k in (0, 1))
        if i >= count:
            upper.set_axis_off()
            lower.set_axis_off()
            continue
        draw_input(upper, examples.inputs, i)
        _head(upper, examples, i)
        for values, colour, label in (
            (examples.predicted, SEARCH, "predicted"), (examples.targets, RANDOM, "true"),
        ):  # fmt: skip
            draw_curves(lower, values[i].reshape(-1, values.shape[-1])[:, :1], colour, label)
        if i % columns == 0:
            upper.set_ylabel("input")
            lower.set_ylabel("output")
    legend(figure, handles=rows[1][0].lines, loc="outside lower center", ncols=2)
    return figure
