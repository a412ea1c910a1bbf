"""The result of a run in words and in a table."""

from collections.abc import Sequence
from typing import Any

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.read import Run

COLUMNS = (
    "network", "target", "predicted", "measured", "vs target",
    "validation accuracy", "test accuracy", "params", "MACs",
)  # fmt: skip
NOTHING = "–"


def number(value: float | None, scale: float | None = None) -> str:
    """Returns a value with at least four significant digits, never in exponents.

    Args:
      value: the value, or None for "nothing there".
      scale: gives the value the decimals that this larger one would have, so that they align.
    """
    if value is None:
        return NOTHING
    size = abs(value if scale is None else scale)
    # Fewer would show a budget of 1.300 and a miss of 0.4 % as the same number.
    digits = 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 or not size else 4
    if 0 < size < 0.1:
        digits = 5
    return f"{value:.{digits}f}"


def percent(value: float | None, *, sign: bool = False, digits: int = 1) -> str:
    """Returns a fraction as a percentage."""
    return NOTHING if value is None else f"{value * 100:{'+' if sign else ''}.{digits}f} %"


def count(value: float | None) -> str:
    """Returns a count, from a million on in millions."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:,.2f} M"


def spread(value: float | None, deviation: float | None) -> str:
    """Returns "value ± deviation" with the same decimals in both."""
    if value is None or deviation is None:
        return number(value)
    return f"{number(value)} ± {number(deviation, scale=value)}"


def half(value: float | None) -> float | None:
    """Returns half of a value, None for None."""
    return None if value is None else value / 2


def chosen(run: Run, origin: str) -> dict[str, Any] | None:
    """Returns the network that stands for an origin ("search" or "random"), or None.

    That is the selected one; before the selection, the best by validation accuracy so far.
    """
    networks = [n for n in (run.networks or {"networks": []})["networks"] if n["origin"] == origin]
    if not networks:
        return None
    return max(
        networks,
        key=lambda n: (bool(n.get("selected")), n.get("validation_accuracy") or 0.0),
    )


def over_target(run: Run, network: dict[str, Any] | None) -> float | None:
    """Returns measured cost over the target, less one; None when either is unknown."""
    if not run.target or not network or network.get("measured_ms") is None:
        return None
    return network["measured_ms"] / run.target["target_ms"] - 1


def network_row(run: Run, network: dict[str, Any]) -> tuple[str, ...]:
    """Returns a network's cells, in the order of `COLUMNS`."""
    return (
        network["label"],
        number(run.target["target_ms"] if run.target else None),
        spread(network.get("predicted_ms"), network.get("predicted_std_ms")),
        spread(network.get("measured_ms"), half(network.get("measured_iqr_ms"))),
        percent(over_target(run, network), sign=True),
        percent(network.get("validation_accuracy")),
        percent(network.get("test_accuracy")),
        count(network.get("params")),
        count(network.get("macs")),
    )


def headings(run: Run) -> tuple[str, ...]:
    """Returns `COLUMNS` with the unit of the metric that has the budget."""
    with_unit = ("target", "predicted", "measured")
    return tuple(f"{c} ({unit(run.metric)})" if c in with_unit else c for c in COLUMNS)


def verdict(run: Run) -> str:
    """Returns the result of the run in a few sentences."""
    found, rival = chosen(run, "search"), chosen(run, "random")
    if not run.target:
        return "This run is not finished: it has no target yet."
    name = unit(run.metric)
    goal = f"Target {number(run.target['target_ms'])} {name}"
    if not found:
        return f"{goal}. This run is not finished: no network was derived yet."
    parts = [goal]
    for key, error, word in (
        ("predicted_ms", found.get("predicted_std_ms"), "predicted"),
        ("measured_ms", half(found.get("measured_iqr_ms")), "measured"),
    ):
        if found.get(key) is not None:
            bound = at_most(run, found) if word == "predicted" else ""
            parts.append(f"{word} {spread(found[key], error)} {name}{bound and f' ({bound})'}")
        else:
            parts.append(f"not {word} yet")
    if found.get("test_accuracy") is not None:
        parts.append(f"test accuracy {percent(found['test_accuracy'])}")
    else:
        parts.append("not tested yet")
    sentences = [", ".join(parts) + ".", _budget(run, found), _rivalry(run, found, rival)]
    return " ".join(filter(None, sentences))


def at_most(run: Run, network: dict[str, Any]) -> str:
    """Returns the upper confidence bound in words; nothing for a run without a confidence."""
    bound = network.get("predicted_bound_ms")
    if bound is None or run.confidence is None:
        return ""
    return f"at most {number(bound)} {unit(run.metric)} with {100 * run.confidence:g} % confidence"


def kept_with(confidence: float) -> str:
    """Returns what a confidence means for the networks of a page."""
    return (
        f"The budget is kept with {100 * confidence:g} % confidence: by the upper bound of the "
        "cost model's prediction, random search alike. A measurement meets it from 0.9 of what "
        "the bound leaves for the prediction."
    )


def measured_during_search(rows: Sequence[dict[str, Any]]) -> str:
    """Returns in a sentence what was measured during a search.

    Args:
      rows: what was measured, with `step`, `measured_ms` and what was predicted before.
    """
    errors = [abs(row["predicted_ms"] / row["measured_ms"] - 1) for row in rows]
    rounds = len({row["step"] for row in rows})
    return (
        f"{len(rows)} networks near the budget were measured during the search, in {rounds} "
        f"round{'s' if rounds > 1 else ''}, and the model was fitted again after each; it had "
        f"predicted them with a mean error of {percent(sum(errors) / len(errors))}."
    )


def _budget(run: Run, network: dict[str, Any]) -> str | None:
    over = over_target(run, network)
    if over is None:
        return None
    if over <= 0:
        return f"The budget was met: {percent(-over)} of it is left."
    excess = network["measured_ms"] * over / (1 + over)
    deviation = half(network.get("measured_iqr_ms"))
    noise = ", which is within the spread of the measurement" if excess <= (deviation or 0) else ""
    much = percent(over) if over >= 0.0005 else "less than 0.1 %"
    return f"The budget was missed by {much}{noise}."


def _rivalry(run: Run, found: dict[str, Any], rival: dict[str, Any] | None) -> str | None:
    if not rival or None in (rival.get("test_accuracy"), found.get("test_accuracy")):
        return None
    trained = {
        origin: sum(
            n["origin"] == origin and n.get("test_accuracy") is not None
            for n in (run.networks or {"networks": []})["networks"]
        )
        for origin in ("search", "random")
    }
    if trained["search"] == trained["random"]:
        terms = f"the same number of retrained networks ({trained['random']})"
    else:
        terms = f"{trained['random']} retrained networks against {trained['search']}"
    gap = 100 * (found["test_accuracy"] - rival["test_accuracy"])
    if round(abs(gap), 1) == 0:
        compared = "as much as the search"
    else:
        compared = f"{abs(gap):.1f} points {'less' if gap > 0 else 'more'} than the search"
    cost = (
        ""
        if rival.get("measured_ms") is None
        else f" at {number(rival['measured_ms'])} {unit(run.metric)}"
    )
    return (
        f"Random search under the same target, with {terms}, "
        f"reached {percent(rival['test_accuracy'])}{cost}: {compared}."
    )
