"""The sections that the page of one search and that of several share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError, shortened
from hwnas_jax.report.catalogue import methods_used
from hwnas_jax.report.comparison import comparison_note, comparison_table, each_search_table
from hwnas_jax.report.elsewhere import prediction_rows, predictions_in_words
from hwnas_jax.report.html import escaped, figure, missing, note, section, sentences, table
from hwnas_jax.report.network_plots import plot_cost_fit
from hwnas_jax.report.numbers import NOTHING, percent
from hwnas_jax.report.outcome import (
    as_sentence,
    decided_in_words,
    decided_rows,
    strategy_in_words,
)
from hwnas_jax.report.probability_plot import MOST_PANELS, plot_probabilities
from hwnas_jax.report.read import RunFiles
from hwnas_jax.report.search_plots import (
    has_multiplier,
    plot_progress,
    plot_searches,
    plot_strategy,
    plot_supernet,
)
from hwnas_jax.report.series import by_member
from hwnas_jax.report.style import option_colours
from hwnas_jax.report.summary import measured_during_search

_NAMED = 12
"""Most classes whose names the head of a page lists."""
_FACT = 300
"""Most characters of a fact in the head of a page."""


def header(run: RunFiles, kind: str, verdict: str, tiles: str = "") -> str:
    """Returns the head of the page: what ran where, and its result in words.

    Args:
      run: the run.
      kind: what kind of page this is.
      verdict: the result.
      tiles: its most important figures, as HTML.
    """
    device = (run.versions or {}).get("device") or {}
    facts = [
        (run.settings("space", "name"), "search space {}"),
        (_data(run), "data {}"),
        (_classes(run), "classes {}"),
        (run.settings("task", "name"), "task {}"),
        (run.elsewhere or device.get("kind") or device.get("platform"), "device {}"),
        (None if run.several else run.settings("seed"), "seed {}"),
        ((run.versions or {}).get("started"), "started {}"),
    ]
    line = " · ".join(
        escaped(form.format(shortened(value, _FACT))) for value, form in facts if value is not None
    )
    return (
        f'<header>\n<p class="kicker">{escaped(kind)}</p>\n'
        f'<h1>{escaped(shortened(run.name, _FACT))}</h1>\n<p class="facts">{line}</p>\n'
        f'<p class="verdict">{sentences(verdict)}</p>\n{tiles}\n</header>'
    )


def _data(run: RunFiles) -> str | None:
    """Returns what the data are called: their source, and the file or folder that it read."""
    name, path = run.settings("data", "name"), run.settings("data", "path")
    called = f"{Path(path).stem} ({name})" if name and path else name
    searched = run.settings("search", "data", "name")
    return f"{called}, searched on {searched}" if called and searched else called


def _classes(run: RunFiles) -> str | None:
    """Returns the names of the classes; None where they are numbers, or too many for a line."""
    task = run.targets["task"] if run.targets else {}
    names = task.get("outputs") or []
    if task.get("name") != "classification" or len(names) > _NAMED:
        return None
    return None if all(name.isdigit() for name in names) else ", ".join(names)


def beside_controls(run: RunFiles) -> list[str]:
    """Returns the table of search and controls with what it means; nothing without controls."""
    head, *rows = comparison_table(run) or [()]
    if not rows:
        return []
    parts = ["<h3>Beside the controls</h3>", table(head, rows)]
    if run.several:
        head, *rows = each_search_table(run)
        parts.append(table(head, rows))
    return [*parts, note(comparison_note(run))]


def network_colours(run: RunFiles) -> dict[str, str]:
    """Returns the colour of each option of the space."""
    decisions = run.space["decisions"] if run.space else []
    options = [option for decision in decisions for option in decision["options"]]
    return option_colours([*options, *network_names(run).values()])


def network_names(run: RunFiles) -> dict[str, str]:
    """Returns the option of each decision of the network found; empty before there is one."""
    names = run.architecture["architecture"] if run.architecture else {}
    return {str(decision): str(option) for decision, option in names.items()}


def search(run: RunFiles) -> str:
    """Returns the section of the search: its methods, how it went, and where it ended."""
    parts = [_methods(run)]
    supernet = _by_stage(run.log["supernet"])
    if supernet:
        caption = "The supernet, whose weights judge what the strategy asks for, in training."
        parts.append(figure(plot_supernet(supernet, task=run.task), "supernet", caption))
    if run.log["strategy"]:
        parts.append(_strategy(run))
    elif run.log["search"]:
        parts.append(_searches(run) if run.several else _one_search(run))
    else:
        parts.append(missing("figure of the search", "search lines in metrics.jsonl"))
    return section("The searches" if run.several else "The search", *parts)


def _by_stage(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Returns rows by the stage that wrote them."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        stages.setdefault(row["stage"], []).append(row)
    return stages


def _methods(run: RunFiles) -> str:
    used = methods_used(run.config["config"]) if run.config else []
    if not used:
        return missing("methods", "config.json")
    head = ("method", "name", "options", "what it does")
    rows = [(own.kind, own.name, own.options or NOTHING, own.summary) for own in used]
    return f'<div class="methods">{table(head, rows)}</div>'


def _strategy(run: RunFiles) -> str:
    caption = (
        "Left: the best score within the budget so far; the score is what the evaluator ranks by, "
        "with its sign turned where less is better. Right: the share of what was asked for that "
        "met the budget."
    )
    drawn = figure(plot_strategy(by_member(run.log["strategy"])), "strategy", caption)
    return drawn + note(strategy_in_words(run))


def _searches(run: RunFiles) -> str:
    caption = (
        "Left: the loss on the half of the training data that the architectures learn from. Right: "
        "the expected cost as a share of each search's own target (dashed: on target)."
    )
    warmup = run.settings("search", "warmup_steps")
    drawn = plot_searches(by_member(run.log["search"]), warmup_steps=warmup)
    parts = [figure(drawn, "searches", caption)]
    if run.decided:
        head, *rows = decided_rows(run.decided)
        parts.append(f"<h3>How decided each search was</h3>{table(head, rows)}")
        parts.append(
            note(
                "Probabilities under the search: of its most probable network; of all networks "
                "that meet the budget, together; and of the network that was derived. A search "
                "decided when the first two are at least one half."
            )
        )
    return "\n".join(parts)


def _one_search(run: RunFiles) -> str:
    warmup = run.settings("search", "warmup_steps")
    rows = run.log["search"]
    progress = plot_progress(
        rows, metric=run.metric, task=run.task, warmup_steps=warmup, confidence=run.confidence
    )
    last = "the entropy of the choices, which falls as they are made"
    if has_multiplier(rows):
        last = "the multiplier that weighs the cost in the loss"
    caption = (
        f"The loss and the {run.task.name} on the two halves of the training data that weights and "
        f"architecture learn from, the cost beside its target, and {last}. Only weights are "
        "trained during the warm-up (shaded)."
    )
    parts = [figure(progress, "progress", caption)]
    for decided in run.decided:
        parts.append(note(as_sentence(decided_in_words(decided))))
    parts.append(_probabilities(run, [row for row in rows if row.get("probabilities")], warmup))
    return "\n".join(parts)


def _probabilities(run: RunFiles, rows: list[dict[str, Any]], warmup: Any) -> str:
    what = "figure of the probabilities"
    if not run.space:
        return missing(what, "space.json")
    if not rows:
        return missing(what, "probabilities in metrics.jsonl")
    try:
        drawn = plot_probabilities(
            [row["step"] for row in rows],
            [row["probabilities"] for row in rows],
            {d["name"]: d["options"] for d in run.space["decisions"]},
            warmup_steps=warmup,
            colours=network_colours(run),
        )
    except ValueError as error:
        file = run.path / "metrics.jsonl"
        raise UserError(f"{file} does not fit the run's space.json: {error}") from error
    caption = (
        "The probability of each option over time, with a panel for every decision. Above each "
        "panel, on the right, stands the option that ended as the most probable."
    )
    more = len(run.space["decisions"]) - MOST_PANELS
    if more > 0:
        caption += f" {more} more decisions are left out."
    return figure(drawn, "probabilities", caption)


def cost_model(run: RunFiles) -> str:
    """Returns the section that judges the cost model."""
    title = "The cost model"
    if not run.cost_fit:
        return section(title, missing("judgement of the cost model", "cost_fit.json"))
    held_out, fitted = run.cost_fit["held_out"], run.cost_fit.get("fitted") or []
    source = run.source
    rows = [
        (
            model.get("label") or model["name"],
            NOTHING if model.get("spearman") is None else f"{model['spearman']:.3f}",
            percent(model.get("mape")),
            percent(model.get("within_10"), digits=0),
            NOTHING if model.get("covered_90") is None else percent(model["covered_90"], digits=0),
        )
        for model in run.cost_fit["models"]
    ]
    head = (
        "model", "rank correlation", "mean error", "within 10\u00a0%", "in 90\u00a0% intervals",
    )  # fmt: skip
    explained = (
        f"Judged on networks that were {source} but not used for the fit: Spearman's rank "
        "correlation, the mean of the absolute relative errors, the share of the networks that "
        "were predicted within 10 %, and the share inside the model's own 90 % intervals."
    )
    if not held_out:
        explained = (
            f"The costs of single operations were {source}, and those of networks are their sums. "
            "No network was left to judge them by."
        )
    searched = (run.measurements_during_search or {"networks": []})["networks"]
    more = measured_during_search(searched) if searched else ""
    drawn = missing("scatter of predictions", f"{source} networks in cost_fit.json")
    if held_out or fitted or searched:
        metric = run.cost_fit.get("metric") or run.metric
        drawn = figure(
            plot_cost_fit(held_out, fitted, searched, metric=metric, obtained=source),
            "cost-fit",
            f"Predicted and {source} costs of whole networks. Bars are one standard deviation of "
            "the prediction.",
        )
    judged = f"<div>{table(head, rows)}{note(explained, more)}</div>"
    return section(title, f'<div class="pair">{drawn}\n{judged}</div>')


def predictions(run: RunFiles) -> str:
    """Returns the section on what was handed back from a device that is not here, if anything."""
    head, *rows = prediction_rows(run) or [()]
    if not rows:
        return ""
    said = note(
        predictions_in_words(run), "Deviations count the standard deviations of the cost model."
    )
    return section(f"Prediction and measurement on {run.elsewhere}", table(head, rows), said)


def details(run: RunFiles) -> str:
    """Returns the section of times, device, versions and config."""
    parts = []
    if run.stages:
        seconds = {
            stage: value.get("seconds") if isinstance(value, dict) else value
            for stage, value in run.stages.items()
        }
        rows = [(stage, _duration(value)) for stage, value in seconds.items()]
        known = [value for value in seconds.values() if isinstance(value, (int, float))]
        rows.append(("all stages", _duration(sum(known))))
        parts.append(f"<div><h3>Time</h3>{table(('stage', 'wall time'), rows)}</div>")
    else:
        parts.append(missing("times of the stages", "stages.json"))
    if run.versions:
        rows = [(key, _value(value)) for key, value in _flat(run.versions)]
        if run.device:
            shown = {key: run.device[key] for key in ("device", "runtime", "batch_size", "reason")}
            rows = [(f"costs.{key}", _value(value)) for key, value in shown.items()] + rows
        if run.measurements:
            for key in ("operations", "networks"):
                done = str(len(run.measurements.get(key) or []))
                rows.append((f"{key} {run.source}", done))
        versions = table(("device and software", ""), rows)
        parts.append(f"<div><h3>Device and versions</h3>{versions}</div>")
    else:
        parts.append(missing("device and versions", "versions.json"))
    config = missing("config", "config.json")
    if run.config:
        rows = [(key, _value(value)) for key, value in _flat(run.config["config"])]
        config = f'<h3>Config</h3><div class="config">{table(("key", "value"), rows)}</div>'
    return section("Details", f'<div class="pair">{"".join(parts)}</div>', config)


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _value(value: Any) -> str:
    if value is None or value in ({}, []):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Returns nested tables as rows with dotted keys."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
