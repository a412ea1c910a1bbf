"""What a comparison of data sources found, and what it says in words and rows."""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.compare_tables import plain, points
from hwnas_jax.report.difference import Difference, over_seeds
from hwnas_jax.report.numbers import NOTHING, number

_COLUMNS = ("against the real data", "against random networks")


@dataclasses.dataclass(frozen=True)
class SourceFigures:
    """What the networks of one source reach on one data set of the table.

    Attributes:
      values: of each seed.
      mean: of them.
      half_width: half of the mean's 95 % interval, by Student's t over the seeds.
      percentile: of all networks within the budget, the share that is worse, in percent; mean over
        the seeds.
      against_real: the difference to the searches on the real data, paired by seeds, and half of
        its 95 % interval; None for the real data themselves.
      against_random: likewise to the mean of random networks within the budget.
    """

    values: tuple[float, ...]
    mean: float
    half_width: float | None
    percentile: float
    against_real: Difference | None
    against_random: Difference | None

    @classmethod
    def of(
        cls, values: np.ndarray, percentile: float, *,
        against_real: Difference | None, against_random: Difference | None,
    ) -> "SourceFigures":  # fmt: skip
        """Returns the figures of one value for each seed, `float[S]`."""
        mean, half_width = over_seeds(values.tolist())
        return cls(
            tuple(values.tolist()), mean, half_width, percentile, against_real, against_random
        )


@dataclasses.dataclass(frozen=True)
class SourceResult:
    """What was found on one source.

    Attributes:
      source: what it is called.
      networks: that the searches derived, one for each seed; empty for random networks.
      figures: by data set of the table.
    """

    source: str
    networks: tuple[str, ...]
    figures: dict[str, SourceFigures]


@dataclasses.dataclass(frozen=True)
class SourcesCompared:
    """A whole comparison of sources.

    Attributes:
      table: of trained networks.
      reported: what it says of them.
      is_share: whether that is a share, which is shown in percent.
      space: that was searched.
      real: the name of the real data.
      search: the strategy, with its options.
      rule: of the derivation, likewise.
      metric: that has the budget.
      target: the budget.
      feasible: networks of the table within the budget.
      drawn: of these, how many were drawn for every seed.
      seeds: of the searches.
      sources: the real data first, random networks last.
    """

    table: str
    reported: str
    is_share: bool
    space: str
    real: str
    search: str
    rule: str
    metric: str
    target: float
    feasible: int
    drawn: int
    seeds: tuple[int, ...]
    sources: tuple[SourceResult, ...]

    @property
    def data_sets(self) -> list[str]:
        """The data sets of the table."""
        return list(self.sources[0].figures)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        plain_values = dataclasses.asdict(self)
        for source in plain_values["sources"]:
            for figures in source["figures"].values():
                for name in ("against_real", "against_random"):
                    if figures[name] is not None:
                        figures[name] = figures[name]._asdict()
        return {"format": "hwnas_jax.sources_compared", "version": 1, **plain_values}


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
