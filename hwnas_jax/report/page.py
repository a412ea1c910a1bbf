"""Lays the page of a run out: that of one search, or that of several."""

from typing import Any

from hwnas_jax.report import sweep_page
from hwnas_jax.report.cell import plot_cell
from hwnas_jax.report.comparison import best_control, chosen, name_of
from hwnas_jax.report.examples import examples_section
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
from hwnas_jax.report.limits import limits_of
from hwnas_jax.report.network_plots import plot_retraining, plot_tradeoff
from hwnas_jax.report.numbers import NOTHING, half, number, percent
from hwnas_jax.report.read import SEARCH, RunFiles
from hwnas_jax.report.sections import (
    beside_controls,
    cost_model,
    details,
    header,
    network_colours,
    network_names,
    predictions,
    search,
)
from hwnas_jax.report.summary import (
    bound_in_words,
    confidence_note,
    confirmations_note,
    headings,
    network_row,
    over_target,
    pace_note,
    verdict,
)


def render(run: RunFiles) -> str:
    """Returns the whole page."""
    if run.several:
        parts = [sweep_page.head(run), sweep_page.result(run), sweep_page.front(run), search(run),
                 cost_model(run), predictions(run), details(run)]  # fmt: skip
        return document(f"{run.name}: sweep report", "\n".join(parts))
    head = header(run, "Hardware-aware architecture search", verdict(run), _tiles(run))
    parts = [head, _result(run), _network(run), search(run), cost_model(run), predictions(run),
             _trained(run), examples_section(run), details(run)]  # fmt: skip
    return document(f"{run.name}: search report", "\n".join(parts))


def _tiles(run: RunFiles) -> str:
    """Returns the most important figures of one search."""
    found, best = chosen(run, SEARCH), best_control(run)
    if not run.targets or run.target is None or not found:
        return ""
    over, percentile = over_target(run, found), run.targets["targets"][0].get("percentile")
    tested = run.task.show(found.get("test_metric"))
    tiles = [
        ("target", number(run.target), run.unit,
         "given" if percentile is None else f"percentile {percentile:g} of the space"),
        ("predicted", number(found.get("predicted")), run.unit,
         _joined(_plus_minus(found.get("predicted_std"), found.get("predicted"), run.unit),
                 bound_in_words(run, found))),
        (run.obtained_where, number(found.get("measured")), run.unit,
         _joined(_plus_minus(half(found.get("measured_iqr")), found.get("measured"), run.unit),
                 "" if over is None else f"{percent(over, sign=True)} vs target",
                 "not measured here" if run.elsewhere and over is None else "")),
        (f"test {run.task.name}", tested.removesuffix(" %"), "%" if tested.endswith(" %") else "",
         "" if best is None else f"{name_of(best.control)} {run.task.show(best.value)}"),
    ]  # fmt: skip
    items = "".join(
        f"<li><span>{escaped(label)}</span><strong>{escaped(value)}"
        f"{f' <small>{escaped(unit)}</small>' if value != NOTHING and unit else ''}</strong>"
        f"<em>{sentences(more)}</em></li>"
        for label, value, unit, more in tiles
    )
    return f'<ul class="tiles">{items}</ul>'


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _plus_minus(deviation: float | None, value: float | None, unit: str) -> str:
    if not deviation or value is None:
        return ""
    return f"± {number(deviation, scale=value)} {unit}"


def _result(run: RunFiles) -> str:
    if not run.found:
        return section("Result", missing("table of networks", "networks.json"))
    found = [chosen(run, origin) for origin in (SEARCH, *run.controls)]
    rows = table(
        headings(run),
        [network_row(run, network) for network in run.found],
        [any(network is one for one in found) for network in run.found],
    )
    among = f", among those that met the budget when {run.obtained} before the training, if any did"
    if run.elsewhere:
        measured = f", among those that met the budget when {run.obtained_where}, if any did"
        among = measured if run.handed_back else ""
    selection = f"The highlighted network of each origin was chosen on the validation data{among}."
    notes = note(selection, confirmations_note(run)), note(*cost_notes(run))
    return section("Result", rows, *notes, *beside_controls(run))


def cost_notes(run: RunFiles) -> list[str]:
    """Returns what a reader has to know about the costs on a page."""
    batch = (run.measurements or run.device or {}).get("batch_size")
    limits = limits_of(run)
    others = ", ".join(f"{metric} at most {number(float(most))}" for metric, most in limits.items())
    return [
        "± is one standard deviation of the cost model for a prediction, and half the "
        "interquartile range for a measurement.",
        f"Costs are per call of {batch} examples." if batch and run.obtained != "counted" else "",
        f"Further limits: {others}." if others else "",
        "" if run.confidence is None else confidence_note(run.confidence),
        pace_note(run),
    ]


def _network(run: RunFiles) -> str:
    title = "The network found"
    if not run.architecture:
        return section(title, missing("network", "architecture.json"))
    drawn = plot_cell(network_names(run), colours=network_colours(run))
    caption = "What was decided. An edge that the search left out is dashed."
    if not any("<-" in name for name in network_names(run)):
        caption = "What was decided, in order."
    string = run.architecture.get("string")
    code = f'<p class="string"><code>{sentences(string)}</code></p>' if string else ""
    return section(title, figure(drawn, "cell", caption), code)


def _trained(run: RunFiles) -> str:
    parts = []
    rows, obtained = run.found, run.obtained
    if run.elsewhere and not run.handed_back:
        rows, obtained = [{**row, "measured": row.get("predicted")} for row in rows], "predicted"
    known: list[Any] = [
        row for row in rows if None not in (row.get("measured"), row.get("test_metric"))
    ]
    if known:
        drawn = plot_tradeoff(rows, run.target, metric=run.metric, task=run.task, obtained=obtained)
        caption = (
            f"Retrained networks: test {run.task.name} and {obtained} cost. Filled ones were "
            "chosen on the validation data."
        )
        parts.append(figure(drawn, "tradeoff", caption))
    else:
        parts.append(missing("trade-off figure", "tested and measured network in networks.json"))
    if run.log["retrain"]:
        caption = "The training loss of the derived networks, from scratch."
        parts.append(figure(plot_retraining(run.log["retrain"]), "retraining", caption))
    else:
        parts.append(missing("retraining figure", "retrain lines in metrics.jsonl"))
    title = f"{run.task.name} and cost"
    return section(title[:1].upper() + title[1:], f'<div class="pair">{"".join(parts)}</div>')
