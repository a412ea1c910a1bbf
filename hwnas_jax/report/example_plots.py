"""Figures of test examples: inputs with what is true and predicted, and predicted against true.

Legend: `E` examples, `H, W` height and width, `L` length of a sequence, `C` channels.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwnas_jax.errors import shortened
from hwnas_jax.report.style import (
    ALARM,
    FONT_SIZE,
    GRID,
    INK,
    MUTED,
    SEARCH,
    new_figure,
    option_colours,
    style_axes,
)
from hwnas_jax.train.examples import Examples

CURVES = 3
"""Most channels of a sequence that are drawn."""

_COLUMNS = 4
_NAME, _NAMES = 22, 3
"""Most characters of a name in a title, and most names."""
_OUTPUTS = 4


def plot_inputs(examples: Examples, names: Sequence[str]) -> Figure:
    """Draws the inputs of examples, each with what is true of it and what is predicted.

    Args:
      examples: of classes, labels or values for whole examples.
      names: of the outputs of the network.
    """
    rows = -(-len(examples.numbers) // _COLUMNS)
    figure = new_figure(9.0, rows * (0.6 + 2.2 * height_of(examples.inputs, least=0.4)))
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax in axes[len(examples.numbers) :]:
        ax.set_axis_off()
    for i, ax in enumerate(axes[: len(examples.numbers)]):
        draw_input(ax, examples.inputs, i)
        true, said = (
            in_words(values[i], names) for values in (examples.targets, examples.predicted)
        )
        wrong = examples.kind in ("class", "labels") and true != said
        ax.set_title(
            f"{title_of(examples, i)}\ntrue: {true}\npredicted: {said}",
            loc="left", fontsize=FONT_SIZE - 1, color=ALARM if wrong else INK,
        )  # fmt: skip
    return figure


def in_words(value: np.ndarray, names: Sequence[str]) -> str:
    """Returns a class, the labels that are there, or values, as text.

    >>> in_words(np.int32(1), ["cat", "dog"]), in_words(np.array([True, False]), ["cat", "dog"])
    ('dog', 'cat')
    >>> in_words(np.array([False, False]), ["cat", "dog"]), in_words(np.float32([0.25, 3.0]), [])
    ('none', '0.25, 3')
    """
    if value.ndim and value.dtype.kind == "f":
        words = [f"{one:.3g}" for one in value]
    else:
        numbers = np.flatnonzero(value) if value.ndim else [int(value)]
        words = [name_of_output(int(number), names) for number in numbers]
    more = f" and {len(words) - _NAMES} more" if len(words) > _NAMES else ""
    return ", ".join(words[:_NAMES]) + more or "none"


def name_of_output(number: int, names: Sequence[str]) -> str:
    """Returns the name of a class, label or value, or its number where it has none."""
    return shortened(names[number], _NAME) if 0 <= number < len(names) else str(number)


def title_of(examples: Examples, i: int) -> str:
    """Returns which test example it is, and whether it is one of the worst."""
    mark = ", largest loss" if examples.worst[i] else ""
    return f"example {examples.numbers[i]}{mark}"


def is_sequence(inputs: np.ndarray) -> bool:
    """Returns whether inputs are sequences: `[E, L, C]`, or images that are one pixel high."""
    return inputs.ndim == 3 or inputs.shape[1] == 1


def height_of(inputs: np.ndarray, least: float = 0.6) -> float:
    """Returns how high an input is drawn, as a share of its width.

    Args:
      inputs: `[E, H, W, C]` or `[E, L, C]`.
      least: the smallest that is returned.
    """
    if is_sequence(inputs):
        return 0.65
    return min(max(inputs.shape[1] / inputs.shape[2], least), 1.5)


def draw_input(ax: Axes, inputs: np.ndarray, i: int) -> None:
    """Draws one of several inputs; all have the same scale.

    Images of three channels whose values lie in a range that a screen has are shown in colour, of
    others the first channel; of sequences, the first channels as curves.

    Args:
      ax: the axes.
      inputs: `[E, H, W, C]` or `[E, L, C]`.
      i: which.
    """
    if is_sequence(inputs):
        draw_curves(ax, inputs[i].reshape(-1, inputs.shape[-1])[:, :CURVES], MUTED)
        pad = 0.05 * float(np.ptp(inputs[..., :CURVES])) or 1.0
        ax.set_ylim(inputs[..., :CURVES].min() - pad, inputs[..., :CURVES].max() + pad)
        return
    bare(ax)
    if is_coloured(inputs):
        ax.imshow(inputs[i], interpolation="nearest")
        return
    first = inputs[..., 0]
    low, high = (0, 255) if inputs.dtype == np.uint8 else (first.min(), first.max())
    ax.imshow(first[i], cmap="gray", vmin=low, vmax=high, interpolation="nearest")


def is_coloured(images: np.ndarray) -> bool:
    """Returns whether images have three channels of bytes, or of values from 0 to 1."""
    if images.ndim != 4 or images.shape[-1] != 3:
        return False
    return images.dtype == np.uint8 or (images.min() >= 0 and images.max() <= 1)


def bare(ax: Axes) -> None:
    """Takes the ticks and the frame from axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw_curves(ax: Axes, values: np.ndarray, colour: str, label: str = "") -> None:
    """Draws the channels of a sequence over its positions, `[L, C]`; the first is the darkest."""
    ax.set_facecolor("none")
    for channel in reversed(range(values.shape[-1])):
        ax.plot(
            values[:, channel], color=colour, linewidth=1.0, alpha=1 / (1 + channel),
            label=label if channel == 0 else None,
        )  # fmt: skip
    style_axes(ax)
    ax.tick_params(labelsize=FONT_SIZE - 2)
    ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(3))


def plot_values(examples: Examples, names: Sequence[str]) -> Figure:
    """Draws what is predicted against what is true, in a panel for each output.

    Args:
      examples: with `true_values` and `said_values`.
      names: of the outputs.

    Raises:
      ValueError: when there are no such values.
    """
    if examples.true_values is None or examples.said_values is None:
        raise ValueError("there are no values to draw")
    count = min(examples.true_values.shape[1], _OUTPUTS)
    figure = new_figure(min(9.0, 1.0 + 3.2 * count), 3.3 if count < 3 else 2.9)
    for o, ax in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        true, said = examples.true_values[:, o], examples.said_values[:, o]
        ends = [min(true.min(), said.min()), max(true.max(), said.max())]
        ax.plot(ends, ends, color=MUTED, linewidth=1.0)
        ax.plot(true, said, "o", markersize=3, color=SEARCH, alpha=0.5, markeredgewidth=0)
        style_axes(ax, x="true", y="predicted" if o == 0 else None, title=name_of_output(o, names))
        ax.set_aspect("equal", adjustable="datalim")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    return figure


def class_colours(count: int) -> list[str]:
    """Returns a colour for each of so many classes, and behind them that of no class."""
    colours = option_colours(map(str, range(count)))
    return [*(colours[str(k)] for k in range(count)), GRID]
