"""Where each search ended: how sure it was of what was derived from it, and what was asked for."""

import math
from collections.abc import Sequence

import numpy as np

from hwnas_jax.report.numbers import number, percent, plural, probability
from hwnas_jax.report.read import SEARCH, RunFiles
from hwnas_jax.report.series import best_within_budget, by_member, column
from hwnas_jax.search.decided import Decided


def decided_in_words(decided: Decided) -> str:
    """Returns in a sentence how decided a search was."""
    who = "this search" if decided.search == SEARCH else decided.search
    least = decided.least_used
    where = f"at {100 * least:.0f} to 100 % of it" if least else "at or below it"
    verdict = "decided" if decided.is_decided else "did not decide"
    return (
        f"{who} {verdict}: its most probable network has a probability of "
        f"{probability(decided.probability)} and is predicted to cost "
        f"{decided.cost_over_target:.2f} of the target; all networks {where} have "
        f"{probability(decided.within_budget)} together, the derived one "
        f"{probability(decided.derived)}"
    )


def undecided(run: RunFiles) -> str:
    """Returns a sentence about the searches that did not decide; nothing when all did."""
    open_ones = [one for one in run.decided if not one.is_decided]
    if not open_ones:
        return ""
    if not run.several:
        return as_sentence(decided_in_words(open_ones[0]))
    names = ", ".join(one.search for one in open_ones)
    return f"{len(open_ones)} of {plural(len(run.decided), 'search')} did not decide: {names}."


def as_sentence(words: str) -> str:
    """Returns words with a capital first letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def decided_rows(found: Sequence[Decided]) -> list[tuple[str, ...]]:
    """Returns a table of how decided several searches were, headers first."""
    head = ("search", "decided", "most probable network", "its cost / target", "in the budget",
            "derived")  # fmt: skip
    return [
        head,
        *(
            (
                one.search,
                "yes" if one.is_decided else "no",
                probability(one.probability),
                f"{one.cost_over_target:.2f}",
                probability(one.within_budget),
                probability(one.derived),
            )
            for one in found
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
