"""The section of test examples: what the network found says of them, beside what is true."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hwnas_jax.report.comparison import chosen
from hwnas_jax.report.example_maps import plot_class_maps, plot_value_maps
from hwnas_jax.report.example_plots import (
    CURVES,
    is_coloured,
    is_sequence,
    name_of_output,
    plot_inputs,
    plot_values,
)
from hwnas_jax.report.html import figure, note, section, table
from hwnas_jax.report.numbers import number
from hwnas_jax.report.read import SEARCH, RunFiles
from hwnas_jax.train.examples import Examples, load_examples

_DIRECTIONS = (
    "Red, green and blue are the three components of a direction, from -1 to 1. The difference is "
    "the mean over the three colours, which go from 0 to 1."
)


def examples_section(run: RunFiles) -> str:
    """Returns the section; "" where the run kept no examples and no further metrics."""
    found = chosen(run, SEARCH)
    if not found:
        return ""
    parts = [*_metrics(run), *_figures(run, str(found["label"]))]
    return section("On test examples", *parts) if parts else ""


def _metrics(run: RunFiles) -> list[str]:
    """Returns the table of all metrics of the task, for the chosen network of each origin."""
    networks = [one for origin in (SEARCH, *run.controls) if (one := chosen(run, origin))]
    named = dict.fromkeys(name for one in networks for name in one.get("test_metrics") or {})
    if len(named) < 2:
        return []
    head = ("on the test data", *(str(one["label"]) for one in networks))
    rows = [
        (name.replace("_", " "), *(number((one.get("test_metrics") or {}).get(name))
                                   for one in networks))
        for name in named
    ]  # fmt: skip
    shares = "Shares are given as numbers from 0 to 1." if run.task.is_share else ""
    return [table(head, rows), note(shares)]


def _figures(run: RunFiles, label: str) -> list[str]:
    """Returns the figures of a network, of each task in turn where there are several."""
    task = run.targets["task"] if run.targets else {}
    parts = task.get("parts") or []
    if not parts:
        return _drawn(
            load_examples(run.path, label), task.get("name"), task.get("outputs") or [], "examples"
        )
    pieces: list[str] = []
    for i, part in enumerate(parts):
        examples = load_examples(run.path, label, i)
        drawn = _drawn(examples, part["task"], part["outputs"], f"examples-{i + 1}")
        if drawn:
            pieces += [note(f"The task {part['name']} ({part['task']}):"), *drawn]
    return pieces


def _drawn(
    examples: Examples | None, task: str | None, names: Sequence[str], place: str
) -> list[str]:
    """Returns the figures of examples.

    Args:
      examples: those that were kept.
      task: the name of what is learned.
      names: of the outputs.
      place: names the figures on the page.
    """
    if examples is None or not examples.kind:
        return []
    said = ""
    if task == "surface_normals" and examples.targets.shape[-1] == 3:
        examples, said = _as_colours(examples), _DIRECTIONS
    said = said or _what_is_drawn(examples, names)
    plot = {"class map": plot_class_maps, "value map": plot_value_maps}.get(
        examples.kind, plot_inputs
    )
    parts = [figure(plot(examples, names), place, f"{_which(examples)} {said}")]
    if examples.true_values is not None:
        caption = (
            f"Predicted against true values of the first {len(examples.true_values):,} test "
            "examples, in the units of the data. On the line both are equal."
        )
        parts.append(figure(plot_values(examples, names), f"{place}-values", caption))
    return parts


def _as_colours(examples: Examples) -> Examples:
    """Returns examples of directions with components moved from -1..1 to 0..1."""
    moved = [np.clip((part + 1) / 2, 0, 1) for part in (examples.targets, examples.predicted)]
    return dataclasses.replace(examples, targets=moved[0], predicted=moved[1])


def _which(examples: Examples) -> str:
    """Returns which examples are drawn."""
    first = int((examples.numbers == np.arange(len(examples.numbers))).sum())
    worst = int(examples.worst.sum())
    return (
        f"The first {first} test examples as they come. Marked are the {worst} with the largest "
        "loss of all, which show the worst and not the usual case."
    )


def _what_is_drawn(examples: Examples, names: Sequence[str]) -> str:
    """Returns how inputs, truth and predictions are drawn."""
    said, channels = [], examples.inputs.shape[-1]
    if examples.kind in ("class", "labels"):
        said.append("Titles in orange are wrong.")
    if examples.kind == "value map" and is_coloured(examples.targets):
        said.append("The difference is the mean over the three colours.")
    elif examples.kind == "value map":
        if examples.targets.shape[-1] > 1:
            said.append(f"Of the outputs the first, {name_of_output(0, names)}, is drawn.")
        said.append("Values are in the units of the data.")
        if not is_sequence(examples.inputs):
            said.append("The difference is predicted minus true.")
    if channels > 1 and is_sequence(examples.inputs):
        shown = min(channels, CURVES)
        said.append(f"Of an input the first {shown} channels are drawn, the first one the darkest.")
    elif channels > 1 and not is_coloured(examples.inputs):
        said.append("Of an input the first channel is drawn.")
    return " ".join(said)
