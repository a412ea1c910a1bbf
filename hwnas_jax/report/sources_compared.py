"""What a comparison of data sources found."""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.report.difference import Difference, over_seeds


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
