"""Where each search ended: how sure it was of what was derived from it, and what was asked for."""

import math
from typing import Any, NamedTuple

import numpy as np

from hwnas_jax.report.numbers import NOTHING, number, percent, plural, probability
from hwnas_jax.report.read import RunFiles
from hwnas_jax.report.series import best_within_budget, by_member, column


class Ending(NamedTuple):
    """Where a gradient search ended.

    Attributes:
      label: of the search; "" for a single one.
      likeliest: the probability of its most probable choices, all together.
      used: what these are predicted to cost, as a share of the budget; None when unknown.
      derived: the probability of the networks that were derived from it, together; None before.
      within: the probability of all networks that meet the budget, together; None when unknown.
    """

    label: str
    likeliest: float
    used: float | None
    derived: float | None
    within: float | None


def endings(run: RunFiles) -> list[Ending]:
    """Returns where the gradient searches of a run ended; empty without their probabilities."""
    found = []
    for label, rows in by_member(run.log["search"]).items():
        last = next((row for row in reversed(rows) if row.get("probabilities")), None)
        if last is None:
            continue
        likeliest = float(np.prod([max(own) for own in last["probabilities"] if own]))
        cost, target = last.get("argmax_cost"), last.get("target")
        found.append(
            Ending(label, likeliest, cost / target if cost is not None and target else None,
                   *_derived(run, label))
        )  # fmt: skip
    return found


def _derived(run: RunFiles, label: str) -> tuple[float | None, float | None]:
    """Returns the probability of a search's derived networks, and of all within the budget."""
    networks = [
        network for network in run.found
        if network["origin"] == "search" and network.get("probability") is not None
        and (not label or network.get("search") == label)
    ]  # fmt: skip
    # A network that is listed twice, for two training seeds, counts once.
    different: dict[Any, float] = {n.get("string"): n["probability"] for n in networks}
    within = next((n["probability_within_budget"] for n in networks
                   if n.get("probability_within_budget") is not None), None)  # fmt: skip
    return sum(different.values()) if different else None, within


def ending_in_words(run: RunFiles, ending: Ending) -> str:
    """Returns where one search ended, in sentences."""
    used = ""
    if ending.used is not None:
        used = f" and are predicted to use {ending.used:.2f} of the budget"
    said = [
        f"The most probable choices at the end of the search have a probability of "
        f"{probability(ending.likeliest)} together{used}."
    ]
    if ending.within is not None:
        said.append(
            "All networks that meet the budget together have a probability of "
            f"{probability(ending.within)}."
        )
    if ending.derived is not None:
        said.append(
            "The networks that were derived, which are predicted to meet the budget, have "
            f"{probability(ending.derived)} together."
        )
    return " ".join(said)


def ending_rows(found: list[Ending]) -> list[tuple[str, ...]]:
    """Returns a table of where several searches ended, headers first."""
    head = ("search", "most probable choices", "their cost / target", "in the budget", "derived")
    return [
        head,
        *(
            (
                ending.label,
                probability(ending.likeliest),
                NOTHING if ending.used is None else f"{ending.used:.2f}",
                probability(ending.within),
                probability(ending.derived),
            )
            for ending in found
        ),
    ]


def strategy_in_words(run: RunFiles) -> str:
    """Returns what a strategy asked for and found; nothing without its log."""
    rows = run.log["strategy"]
    if not rows:
        return ""
    members = by_member(rows)
    rounds = max(row["step"] for row in rows)
    share = float(np.nanmean(column(rows, "within_budget")))
    said = (
        f"{'For each search the' if len(members) > 1 else 'The'} strategy asked in "
        f"{plural(rounds, 'round')}; {percent(share)} of what it asked for met the budget."
    )
    if len(members) == 1:
        best = best_within_budget(rows)[-1]
        if not math.isnan(best):
            said += f" The best of these has a score of {number(float(best))}."
    return said
