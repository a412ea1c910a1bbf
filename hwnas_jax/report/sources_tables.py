"""The tables of a comparison of data sources, and what it says in words."""

import csv
import io

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.compare_tables import plain, points
from hwnas_jax.report.difference import Difference
from hwnas_jax.report.numbers import NOTHING, number
from hwnas_jax.report.sources_compared import SourceResult, SourcesCompared

_COLUMNS = ("against the real data", "against random networks")


def what_was_searched(found: SourcesCompared) -> str:
    """Returns what was compared in sentences."""
    return (
        f"Each source was searched with {len(found.seeds)} seeds by the strategy {found.search}, "
        f"and a network was derived by the rule {found.rule}; the settings are the same for all. "
        f"The budget is {number(found.target)} {unit(found.metric)}, as the cost model predicts it "
        f"for networks with the outputs of {found.real}. The networks are looked up in "
        f"{found.table}. For every seed, {min(found.drawn, found.feasible)} random networks of the "
        f"{found.feasible:,} within the budget were drawn, and their mean stands in the last row."
    )


def verdict(found: SourcesCompared, data_set: str) -> str:
    """Returns which sources differ from the real data by more than chance, in sentences."""
    groups: dict[str, list[str]] = {"worse": [], "better": [], "none": []}
    for one in found.sources[1:-1]:
        seen = one.figures[data_set].against_real
        assert seen is not None
        side = "better" if seen.value > 0 else "worse"
        groups[side if seen.is_seen else "none"].append(
            f"{one.source} ({points(seen.value, found.is_share, sign=True)})"
        )
    said = [
        f"On {data_set} searches on {', '.join(groups[side])} end {side} than those on {found.real}"
        " by more than chance."
        for side in ("worse", "better")
        if groups[side]
    ]
    if groups["none"]:
        said.append(
            f"On {data_set} {len(found.seeds)} seeds show no difference to {found.real} for "
            f"{', '.join(groups['none'])}."
        )
    return " ".join(said)


def source_rows(found: SourcesCompared, data_set: str) -> list[tuple[str, ...]]:
    """Returns the table of a data set, headers first, with a row for every source."""
    percents = " (%)" if found.is_share else ""
    head = (
        "searched on", f"{found.reported}{percents}", *_COLUMNS, "percentile within the budget",
    )  # fmt: skip
    return [head, *(_row(found, one, data_set) for one in found.sources)]


def _row(found: SourcesCompared, one: SourceResult, data_set: str) -> tuple[str, ...]:
    own = one.figures[data_set]
    return (
        one.source,
        _with_interval(Difference(own.mean, own.half_width), found.is_share),
        *(
            NOTHING if seen is None else _with_interval(seen, found.is_share, sign=True)
            for seen in (own.against_real, own.against_random)
        ),
        f"{own.percentile:.1f}",
    )


def _with_interval(value: Difference, is_share: bool, *, sign: bool = False) -> str:
    return f"{plain(value.value, is_share, sign=sign)} ± {plain(value.half_width, is_share)}"


def to_csv(found: SourcesCompared) -> str:
    """Returns a row for every data set and source; shares stay shares, what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    pairs = ("against_real", "against_random")
    writer.writerow(
        ["data_set", "source", "mean", "half_width", "percentile"]
        + [name for pair in pairs for name in (pair, f"{pair}_half_width")]
        + [f"seed_{seed}" for seed in found.seeds]
    )
    for data_set in found.data_sets:
        for one in found.sources:
            own = one.figures[data_set]
            differences = [
                value for pair in pairs for value in (getattr(own, pair) or (None, None))
            ]
            figures = [own.mean, own.half_width, own.percentile, *differences, *own.values]
            writer.writerow([data_set, one.source, *figures])
    return file.getvalue()
