"""The page of a run of few-shot learning: what adaptation is worth, and what it costs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.few_shot_files import FewShotFile, Group, Mean
from hwnas_jax.report.html import (
    document,
    escaped,
    figure,
    missing,
    note,
    section,
    sentences,
    table,
)
from hwnas_jax.report.numbers import number, percent, plural
from hwnas_jax.report.read import RunFiles, read_run
from hwnas_jax.report.series import Rows, column, evenly_spread
from hwnas_jax.report.style import (
    INK,
    RANDOM,
    SEARCH,
    legend,
    new_figure,
    option_colours,
    percent_axis,
    step_axis,
    style_axes,
)
from hwnas_jax.report.task_metric import TaskMetric

NAMES = {
    "mixed": "adapted, all options mixed",
    "adapted": "adapted, strongest options kept",
    "anew": "adapted architecture, weights adapted anew",
    "fixed": "architecture of the start",
    "random": "random architecture",
}
"""What the networks are called in tables."""

_MEANINGS = (
    ("mixed", "weights and architecture are adapted to the task together, and all options run"),
    ("adapted", "only the chosen option of each decision is kept; nothing is trained again"),
    (
        "anew",
        "the architecture that was found for the task, with weights adapted from the start for it "
        "alone: compare it with the two below, whose weights are adapted in the same way",
    ),
    ("fixed", "one architecture for all tasks, the strongest of the start"),
    ("random", "an architecture drawn for each task, of all that meet the budget"),
)


def render(folder: Path) -> str:
    """Returns the whole page of a run folder.

    Raises:
      UserError: when a file of the folder is absent or damaged.
    """
    run, found = read_run(folder), FewShotFile.load(folder)
    parts = [_head(run, found), _result(run, found), _learning(run, found), _explained(found)]
    return document(f"{run.name}: few-shot report", "\n".join(parts))


def metric_of(found: FewShotFile) -> TaskMetric:
    """Returns how the task's metric is shown."""
    return TaskMetric(found.metric, found.higher_is_better, found.unit, found.chance)


def group_name(found: FewShotFile, group: Group) -> str:
    """Returns what a group is called: its budget, or that it has none."""
    if group.costs is None:
        return "no budget"
    return f"{number(group.costs.limit)} {unit(found.cost_metric)}"


def rows_of(found: FewShotFile) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the heads and rows of the table of metrics: a row for each kind of network."""
    shown = metric_of(found)
    heads = ("network", *(group_name(found, group) for group in found.groups))
    rows = [
        (name, *(_mean(shown, group.metrics[key]) for group in found.groups))
        for key, name in NAMES.items()
    ]
    return heads, rows


def cost_rows(found: FewShotFile) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the heads and rows of the table of budgets; no rows without budgets."""
    name = unit(found.cost_metric)
    heads: tuple[str, ...] = (
        "budget", "percentile", f"mean cost ({name})", f"highest ({name})", "over the budget",
        "met without repair",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            group_name(found, group), f"{one.percentile:g}", number(one.mean), number(one.most),
            f"{one.over} of {found.episodes}", percent(one.unrepaired),
        )
        for group in found.groups
        if (one := group.costs) is not None
    ]  # fmt: skip
    return heads, rows


def verdict(found: FewShotFile) -> str:
    """Returns in sentences what the episodes say; empty before the start is judged."""
    if not found.groups:
        return ""
    shown, free = metric_of(found), found.groups[0]
    said = []
    for pair, one, other in (
        ("anew - fixed", "the adapted architecture", "that of the start"),
        ("anew - random", "the adapted architecture", "random ones"),
    ):
        mean = free.differences[pair]
        better = mean.value * shown.sign > 0
        sure = mean.half_width is not None and abs(mean.value) > mean.half_width
        gap = shown.gap(mean.value, mean.half_width)
        word = "better" if better else "worse"
        chance = "" if sure else ", which may be chance"
        said.append(f"{one[:1].upper()}{one[1:]} is {word} than {other} by {gap}{chance}.")
    hard = free.differences["adapted - mixed"]
    change = "costs" if hard.value * shown.sign < 0 else "gains"
    said.append(
        f"Keeping only the strongest options without training again {change} "
        f"{shown.gap(hard.value, hard.half_width)}."
    )
    over = sum(group.costs.over for group in found.groups if group.costs is not None)
    budgets = len(found.groups) - 1
    if budgets:
        said.append(
            f"Under {plural(budgets, 'budget')}, {over} of {budgets * found.episodes} adapted "
            "networks are predicted to cost more than their budget."
        )
    return " ".join(said)


def plot_learning(history: Rows, task: TaskMetric) -> Figure:
    """Draws how the start is learned: losses before and after adaptation, and the metric after it.

    Args:
      history: lines of the log.
      task: how the metric is shown.

    Raises:
      ValueError: when the history is empty.
    """
    if not history:
        raise ValueError("the history is empty")
    rows = [history[i] for i in evenly_spread(len(history), 600)]
    steps = column(rows, "step")
    drawn = new_figure(9.0, 3.2)
    loss, metric = drawn.subplots(1, 2)
    loss.plot(steps, column(rows, "support_loss"), color=RANDOM, lw=1.2, label="support, before")
    loss.plot(steps, column(rows, "query_loss"), color=SEARCH, lw=1.2, label="query, after")
    metric.plot(steps, column(rows, "query_metric"), color=SEARCH, lw=1.2, label="after adaptation")
    if task.chance is not None:
        metric.axhline(task.chance, color=INK, lw=0.9, ls=(0, (4, 2)), label="chance")
    style_axes(loss, x="step", y="loss")
    style_axes(metric, x="step", y=f"{task.name}, train classes")
    if task.is_share:
        percent_axis(metric)
    for ax in (loss, metric):
        step_axis(ax)
        legend(ax)
    return drawn


def plot_networks(found: FewShotFile) -> Figure:
    """Draws the mean metric of each kind of network with its interval, budget by budget.

    Raises:
      ValueError: when nothing is judged yet.
    """
    if not found.groups:
        raise ValueError("there are no groups")
    drawn = new_figure(9.0, 3.4)
    ax = drawn.subplots()
    colours, places = option_colours(NAMES), np.arange(len(found.groups))
    for number_of, (key, name) in enumerate(NAMES.items()):
        means = [group.metrics[key] for group in found.groups]
        ax.errorbar(
            places + 0.13 * (number_of - 2), [mean.value for mean in means],
            yerr=[mean.half_width or 0.0 for mean in means], fmt="o", ms=4, capsize=3,
            color=colours[key], label=name,
        )  # fmt: skip
    ax.set_xticks(places, [group_name(found, group) for group in found.groups])
    style_axes(ax, y=f"{metric_of(found).name}, {found.judged_on} classes")
    if found.unit == "%":
        percent_axis(ax, decimals=None)
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return drawn


def _mean(shown: TaskMetric, mean: Mean) -> str:
    half = "" if mean.half_width is None else f" {shown.gap(None, mean.half_width, unit=False)}"
    return f"{shown.show(mean.value)}{half}"


def _settings(run: RunFiles) -> Mapping[str, object]:
    return run.settings("few_shot") or {}


def _head(run: RunFiles, found: FewShotFile) -> str:
    own = _settings(run)
    facts = (
        f"{own.get('way')}-way {own.get('shots')}-shot tasks. The start was learned from "
        f"{plural(len(found.classes.train), 'class')} and judged on "
        f"{plural(len(getattr(found.classes, found.judged_on)), 'other class')}."
    )
    return (
        '<header>\n<p class="kicker">Learning from few examples</p>\n'
        f"<h1>{escaped(run.name)}</h1>\n"
        f'<p class="facts">{sentences(facts)}</p>\n'
        f'<p class="verdict">{sentences(verdict(found))}</p>\n</header>'
    )


def _result(run: RunFiles, found: FewShotFile) -> str:
    del run
    if not found.groups:
        return section("Result", missing("judgement", "groups in few_shot.json"))
    heads, rows = rows_of(found)
    words = f"Mean {found.metric} over {found.episodes} tasks with its 95 % interval."
    parts = [table(heads, rows), figure(plot_networks(found), "networks", words)]
    heads, rows = cost_rows(found)
    if rows:
        parts += [
            "<h3>Budgets</h3>",
            table(heads, rows),
            note(
                "Costs are predicted. An adapted network whose strongest options cost too much is "
                "repaired: the most probable architecture within the budget takes its place."
            ),
        ]
    return section("Result", *parts)


def _learning(run: RunFiles, found: FewShotFile) -> str:
    history = run.log["meta"]
    if not history:
        return section("Learning the start", missing("line", "metrics.jsonl"))
    words = "Means over the tasks of a step. The support is judged before its first inner step."
    drawn = figure(plot_learning(history, metric_of(found)), "learning", words)
    return section("Learning the start", drawn)


def _explained(found: FewShotFile) -> str:
    rows = [(NAMES[key], words) for key, words in _MEANINGS]
    classes = [
        (part, ", ".join(names) or "none")
        for part, names in (
            ("learned from", found.classes.train),
            ("to choose options by", found.classes.validation),
            ("tested on", found.classes.test),
        )
    ]
    said = (
        "Every network takes the same number of inner steps on the same few examples, from the "
        "same learned weights. Networks normalise by the statistics of all queries of a task."
    )
    return section(
        "What the rows mean", table(("network", "meaning"), rows), note(said),
        "<h3>Classes</h3>", table(("classes", "names"), classes),
    )  # fmt: skip
