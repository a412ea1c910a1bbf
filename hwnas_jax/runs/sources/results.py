"""From the derived networks of each source to what the sources are worth.

Legend: `S` seeds, `N` networks of the table within the budget.
"""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.report.difference import over_seeds
from hwnas_jax.report.sources_compared import SourceFigures, SourceResult, SourcesCompared
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.sources.plan import REAL
from hwnas_jax.runs.sources.settings import SourceComparison
from hwnas_jax.runs.table_field import field_of, standing_in
from hwnas_jax.tabular import Benchmark, known_networks

RANDOM = "random networks"


def compared(
    settings: SourceComparison, runs: Mapping[str, Run], tables: Mapping[str, Benchmark]
) -> SourcesCompared:
    """Looks up what was derived and compares the sources by pairs of searches with the same seed.

    Args:
      settings: of the comparison.
      runs: by what their sources are called, all with the same seeds and budget; the real one too.
      tables: by data set.

    Raises:
      UserError: when the table lacks a network, or has none within the budget.
    """
    real, results = runs[REAL], []
    seeds = [member.seed for member in real.members]
    values: dict[tuple[str, str], np.ndarray] = {}
    standing: dict[tuple[str, str], float] = {}
    networks: dict[str, list[str]] = {}
    feasible = 0
    for data_set, table in tables.items():
        field = field_of(real, real.target, *known_networks(table, real.space))
        if field.feasible.sum() < 2:
            raise UserError(f"{table.source} has fewer than two networks within the budget")
        for label, run in runs.items():
            derived = run.read("networks")["networks"]
            networks[label] = [entry["string"] for entry in derived]
            places = [
                standing_in(field, real.space, real.space.from_names(entry["architecture"]))
                for entry in derived
            ]
            values[label, data_set] = _known([place.quality for place in places], table, label)
            standing[label, data_set] = float(np.mean([p.feasible_percentile for p in places]))
        within = field.quality[field.feasible]
        feasible = len(within)
        values[RANDOM, data_set] = _random_means(within, seeds, settings.drawn)
        standing[RANDOM, data_set] = 50.0
    for label in (*runs, RANDOM):
        figures = {
            data_set: SourceFigures.of(
                values[label, data_set], standing[label, data_set],
                against_real=_against(values, label, REAL, data_set),
                against_random=_against(values, label, RANDOM, data_set),
            )
            for data_set in tables
        }  # fmt: skip
        results.append(SourceResult(label, tuple(networks.get(label, ())), figures))
    first = next(iter(tables.values()))
    return SourcesCompared(
        table=settings.table,
        reported=first.measure.name,
        is_share=first.measure.percent,
        space=real.space.name,
        real=real.dataset.name,
        search=real.config.search.strategy.label,
        rule=real.config.derive.rule.label,
        metric=real.target.metric,
        target=real.target.value,
        feasible=feasible,
        drawn=settings.drawn,
        seeds=tuple(seeds),
        sources=tuple(results),
    )


def _known(values: list[float], table: Benchmark, label: str) -> np.ndarray:
    """Returns values as `float64[S]`; UserError when the table lacks one."""
    if np.isnan(values).any():
        raise UserError(f"{table.source} lacks a network that was found on {label}")
    return np.array(values)


def _random_means(within: np.ndarray, seeds: list[int], drawn: int) -> np.ndarray:
    """Returns for every seed the mean of some networks drawn with it, `float64[S]`."""
    return np.array([
        np.random.default_rng(seed).choice(within, min(drawn, len(within)), replace=False).mean()
        for seed in seeds
    ])  # fmt: skip


def _against(values, label: str, other: str, data_set: str):
    """Returns the paired difference to another row; None for the row itself."""
    if label == other:
        return None
    return over_seeds((values[label, data_set] - values[other, data_set]).tolist())
