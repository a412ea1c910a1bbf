"""Lays a run out as one self-contained HTML page."""

from typing import Any

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError
from hwnas_jax.report.cell import plot_cell
from hwnas_jax.report.html import document
from hwnas_jax.report.html import figure as _figure
from hwnas_jax.report.html import missing as _missing
from hwnas_jax.report.html import prose as _prose
from hwnas_jax.report.html import section as _section
from hwnas_jax.report.html import table as _table
from hwnas_jax.report.html import text as _text
from hwnas_jax.report.plots import (
    plot_cost_fit,
    plot_probabilities,
    plot_progress,
    plot_retraining,
    plot_tradeoff,
)
from hwnas_jax.report.read import Run
from hwnas_jax.report.style import option_colours
from hwnas_jax.report.summary import (
    NOTHING,
    at_most,
    chosen,
    half,
    headings,
    kept_with,
    measured_during_search,
    network_row,
    number,
    over_target,
    percent,
    verdict,
)


def render(run: Run) -> str:
    """Returns the whole page."""
    body = "\n".join(
        [_header(run), _result(run), _network(run), _search(run), cost(run), _tradeoff(run),
         details(run)]
    )  # fmt: skip
    return document(f"{run.name}: search report", body)


def _header(run: Run) -> str:
    device = (run.versions or {}).get("device") or {}
    facts = [
        (run.settings("space", "name"), "search space {}"),
        (run.settings("data", "name"), "data {}"),
        (device.get("kind") or device.get("platform"), "device {}"),
        (run.settings("seed"), "seed {}"),
        ((run.versions or {}).get("started"), "started {}"),
    ]
    line = " · ".join(_text(form.format(value)) for value, form in facts if value is not None)
    return (
        f'<header>\n<p class="kicker">Hardware-aware architecture search</p>\n'
        f'<h1>{_text(run.name)}</h1>\n<p class="facts">{line}</p>\n'
        f'<p class="verdict">{_prose(verdict(run))}</p>\n{_tiles(run)}\n</header>'
    )


def _tiles(run: Run) -> str:
    found, rival = chosen(run, "search"), chosen(run, "random")
    if not run.target or not found:
        return ""
    name = unit(run.metric)
    over = over_target(run, found)
    random_accuracy = rival.get("test_accuracy") if rival else None
    percentile = run.target.get("percentile")
    deviation = half(found.get("measured_iqr_ms"))
    budget = "" if over is None else f"{percent(over, sign=True)} vs target"
    tiles = [
        ("target", number(run.target["target_ms"]), name,
         "given" if percentile is None else f"percentile {percentile:g} of the space"),
        ("predicted", number(found.get("predicted_ms")), name,
         ", ".join(filter(None, [
             _plus_minus(found.get("predicted_std_ms"), found.get("predicted_ms"), name),
             at_most(run, found)]))),
        ("measured", number(found.get("measured_ms")), name,
         ", ".join(filter(None, [_plus_minus(deviation, found.get("measured_ms"), name),
                                 budget]))),
        ("test accuracy", percent(found.get("test_accuracy")).removesuffix(" %"), "%",
         "" if random_accuracy is None else f"random search {percent(random_accuracy)}"),
    ]  # fmt: skip
    items = "".join(
        f"<li><span>{_text(label)}</span><strong>{_text(value)}"
        f"{f' <small>{_text(what)}</small>' if value != NOTHING else ''}</strong>"
        f"<em>{_prose(note)}</em></li>"
        for label, value, what, note in tiles
    )
    return f'<ul class="tiles">{items}</ul>'


def _plus_minus(deviation: float | None, value: float | None, name: str) -> str:
    if deviation is None or value is None:
        return ""
    return f"± {number(deviation, scale=value)} {name}"


def _result(run: Run) -> str:
    if not run.networks or not run.networks["networks"]:
        return _section("Result", _missing("table of networks", "networks.json"))
    networks = run.networks["networks"]
    found = [chosen(run, origin) for origin in ("search", "random")]
    batch = (run.measurements or {}).get("batch_size")
    notes = [
        "The highlighted network of each origin was chosen by validation accuracy, among those "
        "that met the budget when measured before the training, if any did.",
        "± is one standard deviation of the cost model for a prediction, half the interquartile "
        "range for a measurement.",
    ]
    if batch:
        notes.append(f"Costs are per call of {batch} images.")
    if run.confidence is not None:
        notes.append(kept_with(run.confidence))
    if run.networks.get("drift") is not None:
        notes.append(
            f"Measurements are at the device's pace when it was profiled: networks of the profile, "
            f"timed again in between, took {run.networks['drift']:.3f} times as long, and the "
            "clock's figures are divided by that, round by round."
        )
    table = _table(
        headings(run),
        [network_row(run, network) for network in networks],
        [any(network is one for one in found) for network in networks],
    )
    return _section("Result", table, f'<p class="note">{_text(" ".join(notes))}</p>')


def _colours(run: Run) -> dict[str, str]:
    decisions = run.space["decisions"] if run.space else []
    options = [option for decision in decisions for option in decision["options"]]
    return option_colours([*options, *_names(run).values()])


def _names(run: Run) -> dict[str, str]:
    names = run.architecture["architecture"] if run.architecture else {}
    return {str(decision): str(option) for decision, option in names.items()}


def _network(run: Run) -> str:
    title = "The network found"
    if not run.architecture:
        return _section(title, _missing("network", "architecture.json"))
    figure = plot_cell(_names(run), colours=_colours(run))
    caption = "What was decided; dashed where the search left an edge out."
    if not any("<-" in name for name in _names(run)):
        caption = "What was decided, in order."
    string = run.architecture.get("string")
    code = f'<p class="string"><code>{_text(string)}</code></p>' if string else ""
    return _section(title, _figure(figure, "cell", caption), code)


def _search(run: Run) -> str:
    title = "The search"
    if not run.search:
        return _section(title, _missing("search figure", "search lines in metrics.jsonl"))
    warmup = run.settings("search", "warmup_steps")
    progress = _figure(
        plot_progress(
            run.search, metric=run.metric, warmup_steps=warmup, confidence=run.confidence
        ),
        "progress",
        "Losses on the two halves of the training data, the cost against its target, and the "
        "multiplier that weighs them. Only weights are trained during the warm-up (shaded).",
    )
    rows = [row for row in run.search if row.get("probabilities")]
    if not run.space:
        return _section(title, progress, _missing("figure of the probabilities", "space.json"))
    if not rows:
        missing = _missing("figure of the probabilities", "probabilities in metrics.jsonl")
        return _section(title, progress, missing)
    try:
        figure = plot_probabilities(
            [row["step"] for row in rows],
            [row["probabilities"] for row in rows],
            {d["name"]: d["options"] for d in run.space["decisions"]},
            warmup_steps=warmup,
            colours=_colours(run),
        )
    except ValueError as error:
        file = run.path / "metrics.jsonl"
        raise UserError(f"{file} does not fit the run's space.json: {error}") from error
    probabilities = _figure(
        figure,
        "probabilities",
        "Probability of each option over time, one panel per decision; above each panel, on the "
        "right, the option that ended as the most probable.",
    )
    return _section(title, progress, probabilities)


def cost(run: Run) -> str:
    """Returns the section that judges the cost model."""
    title = "The cost model"
    if not run.cost_fit:
        return _section(title, _missing("judgement of the cost model", "cost_fit.json"))
    held_out, fitted = run.cost_fit["held_out"], run.cost_fit.get("fitted") or []
    rows = [
        (
            model.get("label") or model["name"],
            NOTHING if model.get("spearman") is None else f"{model['spearman']:.3f}",
            percent(model.get("mape")),
            percent(model.get("within_10"), digits=0),
        )
        for model in run.cost_fit["models"]
    ]
    head = ("model", "rank correlation", "mean error", "within 10\u00a0%")
    note = (
        "Judged on networks that were measured but not used for the fit: Spearman's rank "
        "correlation, mean absolute percentage error, and the share predicted within 10 % of "
        "the measurement."
    )
    searched = (run.measurements_during_search or {"networks": []})["networks"]
    if searched:
        note += " " + measured_during_search(searched)
    figure = _missing("scatter of predictions", "measured networks in cost_fit.json")
    if held_out or fitted or searched:
        figure = _figure(
            plot_cost_fit(
                held_out, fitted, searched, metric=run.cost_fit.get("metric", run.metric)
            ),
            "cost-fit",
            "Predicted against measured cost of whole networks; bars are one standard deviation.",
        )
    table = f'<div>{_table(head, rows)}<p class="note">{_text(note)}</p></div>'
    return _section(title, f'<div class="pair">{figure}\n{table}</div>')


def _tradeoff(run: Run) -> str:
    title = "Accuracy against cost"
    parts = []
    networks = (run.networks or {"networks": []})["networks"]
    if any(None not in (n.get("measured_ms"), n.get("test_accuracy")) for n in networks):
        target = run.target["target_ms"] if run.target else None
        parts.append(
            _figure(
                plot_tradeoff(networks, target, metric=run.metric),
                "tradeoff",
                "Retrained networks: test accuracy against measured cost. Filled: chosen by "
                "validation accuracy.",
            )
        )
    else:
        parts.append(_missing("trade-off figure", "tested and measured network in networks.json"))
    if run.retrain:
        caption = "Training loss of the derived networks, from scratch."
        parts.append(_figure(plot_retraining(run.retrain), "retraining", caption))
    else:
        parts.append(_missing("retraining figure", "retrain lines in metrics.jsonl"))
    return _section(title, f'<div class="pair">{"".join(parts)}</div>')


def details(run: Run) -> str:
    """Returns the section of times, device, versions and config."""
    parts = []
    if run.stages:
        seconds = {
            stage: value.get("seconds") if isinstance(value, dict) else value
            for stage, value in run.stages.items()
        }
        rows = [(stage, _duration(value)) for stage, value in seconds.items()]
        known = [v for v in seconds.values() if isinstance(v, (int, float))]
        rows.append(("all stages", _duration(sum(known))))
        parts.append(f"<div><h3>Time</h3>{_table(('stage', 'wall time'), rows)}</div>")
    else:
        parts.append(_missing("times per stage", "stages.json"))
    if run.versions:
        rows = [(key, _value(value)) for key, value in _flat(run.versions)]
        if run.measurements:
            for key in ("operations", "networks"):
                rows.append((f"{key} measured", str(len(run.measurements.get(key) or []))))
        table = _table(("device and software", ""), rows)
        parts.append(f"<div><h3>Device and versions</h3>{table}</div>")
    else:
        parts.append(_missing("device and versions", "versions.json"))
    config = _missing("config", "config.json")
    if run.config:
        rows = [(key, _value(value)) for key, value in _flat(run.config["config"])]
        config = f'<h3>Config</h3><div class="config">{_table(("key", "value"), rows)}</div>'
    return _section("Details", f'<div class="pair">{"".join(parts)}</div>', config)


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Returns nested tables as rows with dotted keys."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
