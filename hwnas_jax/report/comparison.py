"""How the search did beside each control: as figures, and in words.

Legend: `S` seeds.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.report.difference import Difference, of_examples, of_shares, over_seeds
from hwnas_jax.report.numbers import NOTHING, number, plural
from hwnas_jax.report.read import SEARCH, RunFiles

_NAMES = {"most_macs": "most MACs"}
_MEANING = {
    "random": "Random: networks of the budget, drawn by chance.",
    "no_search": (
        "No search: what the derivation picks from where the architecture's parameters began; "
        "where its rule has nothing to go by, that is by chance too. Where its rule trains "
        "networks, it may train more of them, for about as long as the supernet took."
    ),
    "most_macs": "Most MACs: the networks of the budget with the most operations.",
}
_BASES = {
    "examples": (
        "± is half of the 95 % interval of a difference, from how often one network was right "
        "where the other was wrong. It covers the choice of the test examples; another seed moves "
        "both networks besides."
    ),
    "shares": (
        "± is half of the 95 % interval of a difference of two shares of {examples} test examples. "
        "It covers the choice of the examples; another seed moves both networks besides."
    ),
    "seeds": (
        "± is half of the 95 % interval (Student's t) of the mean difference between search and "
        "control, paired by seed, over {seeds} seeds."
    ),
    "": "Whether that is more than chance takes several seeds to tell.",
}
"""By the basis of an interval, what is to be said of it."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the search gained over one control.

    Attributes:
      control: the origin of its networks.
      trainings: how many networks were trained for it.
      value: the test metric of its chosen network; over several pairs, their mean.
      search_value: likewise of the search.
      cost: what its chosen network costs; None where that is unknown, or of several.
      difference: search less control, signed so that more is better for the search.
      basis: what the interval is of: "examples" (the same for both networks), "shares" (as if each
        had examples of its own), "seeds", or "" where there is none.
      seeds: how many there are.
      pairs: how many searches there are.
      same: whether search and control chose the same network each time.
    """

    control: str
    trainings: int
    value: float
    search_value: float
    cost: float | None
    difference: Difference
    basis: str
    seeds: int
    pairs: int
    same: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**dataclasses.asdict(self), "difference": self.difference._asdict()}


def chosen(run: RunFiles, origin: str, search: str | None = None) -> dict[str, Any] | None:
    """Returns the network that stands for an origin ("search" or a control), or None.

    That is the one marked as selected; before the selection, the best on the validation data.

    Args:
      run: the run.
      origin: of the network.
      search: the label of the search that it was found by, or stands beside; any when left out.
    """
    networks = [
        network for network in run.found
        if network["origin"] == origin and search in (None, network.get("search"))
    ]  # fmt: skip

    def rank(network: dict[str, Any]) -> tuple[bool, float]:
        value = network.get("validation_metric")
        known = float("-inf") if value is None else run.task.sign * value
        return bool(network.get("selected")), known

    return max(networks, key=rank, default=None)


def trainings(run: RunFiles, origin: str) -> int:
    """Returns how many networks of an origin were trained and tested."""
    return sum(n["origin"] == origin and n.get("test_metric") is not None for n in run.found)


def comparisons(run: RunFiles) -> list[Comparison]:
    """Returns how the search did beside each control whose networks are tested."""
    return [found for control in run.controls if (found := _beside(run, control))]


def best_control(run: RunFiles) -> Comparison | None:
    """Returns the comparison with the control that is best on the test data, or None."""
    return max(comparisons(run), key=lambda one: run.task.sign * one.value, default=None)


def _beside(run: RunFiles, control: str) -> Comparison | None:
    labels = dict.fromkeys(network.get("search") for network in run.searched)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for label in labels:
        one, other = chosen(run, SEARCH, label), chosen(run, control, label)
        if one and other and None not in (one.get("test_metric"), other.get("test_metric")):
            pairs.append((one, other))
    if not pairs:
        return None
    by_seed: dict[Any, list[tuple[Difference, str]]] = defaultdict(list)
    for one, other in pairs:
        by_seed[one.get("seed")].append(_of_pair(run, one, other))
    difference, basis = _together(list(by_seed.values()))
    return Comparison(
        control=control,
        trainings=trainings(run, control),
        value=float(np.mean([other["test_metric"] for _, other in pairs])),
        search_value=float(np.mean([one["test_metric"] for one, _ in pairs])),
        cost=pairs[0][1].get("measured") if len(pairs) == 1 else None,
        difference=difference,
        basis=basis,
        seeds=len(by_seed),
        pairs=len(pairs),
        same=all(
            one.get("string") is not None and one["string"] == other.get("string")
            for one, other in pairs
        ),
    )


def _of_pair(run: RunFiles, one: dict[str, Any], other: dict[str, Any]) -> tuple[Difference, str]:
    """Returns the difference of two networks, and what its interval is of."""
    gap = run.task.sign * (one["test_metric"] - other["test_metric"])
    right = [run.right.get(network["label"]) for network in (one, other)]
    examples = run.test_examples
    if right[0] is not None and right[1] is not None:
        return Difference(gap, of_examples(right[0], right[1]).half_width), "examples"
    if run.task.name == "accuracy" and examples:
        return of_shares(one["test_metric"], other["test_metric"], examples), "shares"
    return Difference(gap, None), ""


def _together(by_seed: Sequence[Sequence[tuple[Difference, str]]]) -> tuple[Difference, str]:
    """Returns the mean difference: with the interval over seeds, or over examples for one seed."""
    means = [float(np.mean([difference.value for difference, _ in pairs])) for pairs in by_seed]
    if len(means) > 1:
        return over_seeds(means), "seeds"
    halves = [difference.half_width for difference, _ in by_seed[0]]
    known = [half for half in halves if half is not None]
    if len(known) < len(halves):
        return Difference(means[0], None), ""
    # The networks share their test examples, so their errors may all point one way: the error of
    # the mean is at most the mean of the errors.
    return Difference(means[0], float(np.mean(known))), by_seed[0][0][1]


def name_of(control: str) -> str:
    """Returns a control's name in words.

    >>> name_of("most_macs"), name_of("no_search")
    ('most MACs', 'no search')
    """
    return _NAMES.get(control, control.replace("_", " "))


def in_words(run: RunFiles, one: Comparison) -> str:
    """Returns how the search did beside a control, in a few words."""
    if one.same:
        return "the same network"
    if one.difference.is_seen is False:
        return f"no difference seen ({run.task.gap(None, one.difference.half_width)})"
    known = "" if one.basis else ", without an interval"
    return f"{_better_by(run, one)}{known}"


def _better_by(run: RunFiles, one: Comparison) -> str:
    if not one.difference.value:
        return "as good"
    way = "better" if one.difference.value > 0 else "worse"
    return f"{way} by {run.task.gap(*one.difference)}"


def gain(run: RunFiles, one: Comparison | None) -> str:
    """Returns what the search gained over a control as a signed number, for a table."""
    if one is None:
        return NOTHING
    sign = "-" if one.difference.value < 0 else "+"
    return sign + run.task.gap(*one.difference, unit=False)


def against_best(run: RunFiles) -> str:
    """Returns the search beside the best control in sentences; nothing before both are tested."""
    best = best_control(run)
    if best is None:
        return ""
    name = f"the best control ({name_of(best.control)})"
    at = "" if best.cost is None else f" at {number(best.cost)} {run.unit}"
    values = f"{run.task.show(best.search_value)} against {run.task.show(best.value)}{at}"
    where = ""
    if best.seeds > 1:
        where = f"over {plural(best.seeds, 'seed')} "
    elif best.pairs > 1:
        where = f"over {plural(best.pairs, 'target')} and one seed "
    if best.same:
        said = f"{where}{name} chose the same network as the search: {values}."
    elif best.difference.is_seen is False:
        said = f"{where}{in_words(run, best)} between the search and {name}: {values}."
    else:
        than = "than" if best.difference.value else "as"
        said = f"{where}the search is {_better_by(run, best)} {than} {name}: {values}."
    if not best.basis:
        said += f" {_BASES['']}"
    return f"{said[:1].upper()}{said[1:]} {_equal_cost(run)}"


def _equal_cost(run: RunFiles) -> str:
    """Returns how many trainings search and controls had, in a sentence."""
    counts = {origin: trainings(run, origin) for origin in (SEARCH, *run.controls)}
    if len(set(counts.values())) == 1:
        each = plural(counts[SEARCH], "training")
        return f"The search and each control had {each}."
    said = ", ".join(f"{name_of(origin)} {count}" for origin, count in counts.items())
    return f"Trainings: {said}."


def comparison_table(run: RunFiles) -> list[tuple[str, ...]]:
    """Returns the search and each control in a row, headers first; empty without controls."""
    found = comparisons(run)
    if not found:
        return []
    rows: list[tuple[str, ...]] = [
        ("", "trainings", f"test {run.task.name}", "how the search did"),
        ("search", str(trainings(run, SEARCH)), run.task.show(found[0].search_value), NOTHING),
    ]
    for one in found:
        shown = run.task.show(one.value)
        rows.append((name_of(one.control), str(one.trainings), shown, in_words(run, one)))
    return rows


def each_search_table(run: RunFiles) -> list[tuple[str, ...]]:
    """Returns the test metric of each search and of its controls in a row, headers first."""
    origins = (SEARCH, *run.controls)
    rows = [("search", *(f"test {run.task.name}" if origin == SEARCH else name_of(origin)
                         for origin in origins))]  # fmt: skip
    for label in dict.fromkeys(str(network.get("search")) for network in run.searched):
        values = ((chosen(run, origin, label) or {}).get("test_metric") for origin in origins)
        rows.append((label, *(run.task.show(value) for value in values)))
    return rows


def comparison_note(run: RunFiles) -> str:
    """Returns what the controls are and what their intervals cover."""
    found = comparisons(run)
    meant = " ".join(_MEANING[one.control] for one in found if one.control in _MEANING)
    bases = dict.fromkeys(one.basis for one in found)
    said = [_BASES[basis].format(examples=run.test_examples, seeds=found[0].seeds)
            for basis in bases]  # fmt: skip
    if len(found) > 1:
        said.append(
            "The best control is the one with the best test result, which favours the controls."
        )
    return " ".join([meant, *said])
