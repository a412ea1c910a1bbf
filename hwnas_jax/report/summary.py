"""What one search found, in words and as a table."""

from collections.abc import Sequence
from typing import Any

from hwnas_jax.report.comparison import against_best, chosen, comparisons, gain, trainings
from hwnas_jax.report.elsewhere import predictions_in_words
from hwnas_jax.report.limits import limit_cells, limit_headings
from hwnas_jax.report.numbers import (
    count,
    half,
    number,
    percent,
    plural,
    with_deviation,
)
from hwnas_jax.report.outcome import undecided
from hwnas_jax.report.read import MEASURED, PREDICTED, SEARCH, RunFiles


def over_target(run: RunFiles, network: dict[str, Any] | None) -> float | None:
    """Returns a network's cost over its target, less one; None when either is unknown."""
    target = (network or {}).get("target") or run.target
    if not target or not network or network.get("measured") is None:
        return None
    return network["measured"] / target - 1


def headings(run: RunFiles) -> tuple[str, ...]:
    """Returns what the cells of `network_row` are called."""
    unit, metric = run.unit, run.task.name
    return (
        "network", f"target ({unit})", f"predicted ({unit})", f"{run.obtained_where} ({unit})",
        "vs target", *limit_headings(run), f"validation {metric}", f"test {metric}",
        "params", "MACs",
    )  # fmt: skip


def measured_cell(run: RunFiles, network: dict[str, Any]) -> str:
    """Returns what a network costs for certain, or that this is not measured here."""
    if run.elsewhere and network.get("measured") is None:
        return "not measured here"
    return with_deviation(network.get("measured"), half(network.get("measured_iqr")))


def network_row(run: RunFiles, network: dict[str, Any]) -> tuple[str, ...]:
    """Returns what is known about a network as text, in the order of `headings`."""
    return (
        network["label"],
        number(network.get("target") or run.target),
        with_deviation(network.get("predicted"), network.get("predicted_std")),
        measured_cell(run, network),
        percent(over_target(run, network), sign=True),
        *limit_cells(run, network),
        run.task.show(network.get("validation_metric")),
        run.task.show(network.get("test_metric")),
        count(network.get("params")),
        count(network.get("macs")),
    )


def rows(run: RunFiles) -> list[tuple[str, ...]]:
    """Returns the final table, headers first: a column for the chosen network of each origin."""
    networks = [network for origin in (SEARCH, *run.controls) if (network := chosen(run, origin))]
    if not networks:
        return []
    columns = [headings(run), *(network_row(run, network) for network in networks)]
    table = list(zip(*columns, strict=True))
    found = {one.control: one for one in comparisons(run)}
    if found:
        unit = run.task.gap_unit
        origins = [network["origin"] for network in networks]
        gains = (gain(run, found.get(origin)) for origin in origins)
        table += [
            ("trainings", *(str(trainings(run, origin)) for origin in origins)),
            (f"search gains ({unit})" if unit else "search gains", *gains),
        ]
    return table


def verdict(run: RunFiles) -> str:
    """Returns the result of a search in a few sentences."""
    found = chosen(run, "search")
    if run.target is None:
        return "This run is not finished: it has no target yet."
    unit = run.unit
    where = f" on {run.elsewhere}" if run.elsewhere else ""
    goal = f"Target {number(run.target)} {unit}{where}"
    if not found:
        return f"{goal}. This run is not finished: no network was derived yet."
    parts = [goal]
    if found.get("predicted") is None:
        parts.append("not predicted yet")
    else:
        bound = bound_in_words(run, found)
        predicted = with_deviation(found["predicted"], found.get("predicted_std"))
        parts.append(f"predicted {predicted} {unit}{f' ({bound})' if bound else ''}")
    if found.get("measured") is None:
        parts.append("not measured here" if run.elsewhere else f"not {run.obtained} yet")
    else:
        cost = with_deviation(found["measured"], half(found.get("measured_iqr")))
        parts.append(f"{run.obtained_where} {cost} {unit}")
    if found.get("test_metric") is None:
        parts.append("not tested yet")
    else:
        parts.append(f"test {run.task.name} {run.task.show(found['test_metric'])}")
    return " ".join(filter(None, [", ".join(parts) + ".", _budget(run, found), *conclusion(run)]))


def conclusion(run: RunFiles) -> list[str]:
    """Returns what there is to say of a search beside its figures, in sentences.

    That is how predictions did on a device that is not here, the search beside its best control,
    and whether it failed to decide.
    """
    return list(filter(None, (predictions_in_words(run), against_best(run), undecided(run))))


def bound_in_words(run: RunFiles, network: dict[str, Any]) -> str:
    """Returns the upper bound of a prediction; nothing for a run without a confidence."""
    bound = network.get("predicted_bound")
    if bound is None or run.confidence is None:
        return ""
    return f"at most {number(bound)} {run.unit} with {100 * run.confidence:g} % confidence"


def confidence_note(confidence: float) -> str:
    """Returns what a confidence means for the networks of a page."""
    return (
        f"The budget is kept with {100 * confidence:g} % confidence: the upper bound of the cost "
        "model's prediction had to meet it, for the controls as well."
    )


def confirmations_note(run: RunFiles) -> str:
    """Returns how many networks met the budget before the training; nothing if none was tried."""
    tried = (run.networks or {}).get("confirmations") or []
    names = {
        "search": "from the searches" if run.several else "from the search",
        "random": "random ones", "no_search": "without search", "most_macs": "of most MACs",
    }  # fmt: skip
    groups: dict[str, list[bool]] = {}
    for row in tried:
        origin = str(row.get("origin"))
        groups.setdefault(names.get(origin, origin), []).append(bool(row.get("meets_budget")))
    if not groups:
        return ""
    said = ", ".join(f"{sum(met)} of {len(met)} {name}" for name, met in groups.items())
    return f"Networks that met the budget when {run.obtained} before the training: {said}."


def pace_note(run: RunFiles) -> str:
    """Returns how the device's pace has changed since the profile; nothing if it is unknown."""
    drifts = {network["drift"] for network in run.found if network.get("drift") is not None}
    if run.obtained != "measured" or not drifts or drifts == {1.0}:
        return ""
    low, high = min(drifts), max(drifts)
    times = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
    return (
        "Measurements are given at the pace that the device had when it was profiled: networks of "
        f"the profile that were timed again in between took {times} times as long, and what the "
        "clock said was divided by that, round by round."
    )


def measured_during_search(rows: Sequence[dict[str, Any]]) -> str:
    """Returns in a sentence what was measured during a search.

    Args:
      rows: what was measured, with the step and what was predicted before.
    """
    errors = [abs(row[PREDICTED] / row[MEASURED] - 1) for row in rows]
    rounds = len({row["step"] for row in rows})
    return (
        f"{plural(len(rows), 'network')} near the budget were measured during the search, in "
        f"{plural(rounds, 'round')}, and the model was fitted again after each round. Before that, "
        f"it had predicted them with a mean error of {percent(sum(errors) / len(errors))}."
    )


def _budget(run: RunFiles, network: dict[str, Any]) -> str | None:
    over = over_target(run, network)
    if over is None:
        return None
    if over <= 0:
        return f"The budget was met: {percent(-over)} of it is left."
    excess = network["measured"] * over / (1 + over)
    deviation = half(network.get("measured_iqr"))
    noise = ", which is within the spread of the measurement" if excess <= (deviation or 0) else ""
    much = percent(over) if over >= 0.0005 else "less than 0.1 %"
    return f"The budget was missed by {much}{noise}."
