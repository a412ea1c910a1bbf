"""The picture of a study of cost models."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hwnas_jax.cost.judge.study import Study, temperature_rows
from hwnas_jax.report.style import GRID, INK, MUTED, new_figure, option_colours, style_axes

_PANELS = (
    ("spearman", "rank correlation (Spearman)"),
    ("within_10", "within 10 % of the measurement"),
    ("covered_90", "within their 90 % interval"),
)
_GRADIENTS = (
    ("by_logits", "cosine with the exact gradient"),
    ("gap", "relaxation gap"),
    ("error", "error of the expected cost"),
)


def draw_study(study: Study) -> Figure:
    """Returns accuracy by device and, for whole tables, gradients by temperature."""
    lines, gradients = study.summary(), list(temperature_rows(study))
    devices = list(dict.fromkeys(line["device"] for line in lines))
    models = list(dict.fromkeys(line["model"] for line in lines))
    colours = option_colours(models)
    figure = new_figure(13, 7 if gradients else 3.8)
    axes = figure.subplots(2 if gradients else 1, 3, squeeze=False)
    for ax, (score, title) in zip(axes[0], _PANELS, strict=True):
        _by_device(ax, lines, score, devices, models, colours)
        style_axes(ax, title=title)
        if score != "spearman":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        if score == "covered_90":
            ax.axhspan(0.85, 0.95, color=GRID, alpha=0.6, linewidth=0)
    if gradients:
        for ax, (score, title) in zip(axes[1], _GRADIENTS, strict=True):
            _by_temperature(ax, gradients, score, models, colours)
            style_axes(ax, x="temperature of the gates", title=title)
            if score != "by_logits":
                ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    extra = axes[-1, 0].get_legend_handles_labels() if gradients else ([], [])
    found = dict(zip([*labels, *extra[1]], [*handles, *extra[0]], strict=True))
    figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=len(found), frameon=False,
        labelcolor=INK, fontsize=9,
    )  # fmt: skip
    title = f"{study.metric} of {study.source}: {study.train} networks, {study.draws} draws"
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    return figure


def _by_device(ax: Axes, lines, score, devices, models, colours):
    for number, model in enumerate(models):
        rows = [line for line in lines if line["model"] == model and line[score] is not None]
        if not rows:
            continue
        shift = 0.5 * (number - (len(models) - 1) / 2) / len(models)
        ax.errorbar(
            [devices.index(row["device"]) + shift for row in rows],
            [row[score] for row in rows],
            [row[f"{score}_sd"] or 0.0 for row in rows],
            fmt="o", markersize=5, elinewidth=1, color=colours[model], label=model,
        )  # fmt: skip
    ax.set_xticks(range(len(devices)), devices, rotation=35, ha="right")


def _by_temperature(ax: Axes, rows, score, models, colours):
    mean: Callable[[list[float]], float] = lambda values: float(np.mean(values))  # noqa: E731
    temperatures = sorted({row["temperature"] for row in rows})
    named = [(model, score, colours[model], "-", "o", model) for model in models]
    if score == "by_logits":
        named.append((models[0], "ceiling", MUTED, ":", "", "what the table's noise allows"))
    for model, key, colour, line, marker, label in named:
        values = [
            mean([row[key] for row in rows
                  if row["model"] == model and row["temperature"] == temperature])
            for temperature in temperatures
            if any(row["model"] == model for row in rows)
        ]  # fmt: skip
        if values:
            ax.plot(temperatures, values, line, marker=marker, markersize=4, color=colour,
                    label=label)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(temperatures, [f"{temperature:g}" for temperature in temperatures])
    ax.minorticks_off()
