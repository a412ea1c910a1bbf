"""A finished run held against a published table: where its networks stand, and what ranked well.

Legend: `N` networks that the run's space and the table share, `D` decisions.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.files.readers import Observed
from hwnas_jax.errors import UserError, choose
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.shared_weights import search_number
from hwnas_jax.runs.table_field import Field, costs_of, field_of, standing_in
from hwnas_jax.runs.table_ranks import ranks_of
from hwnas_jax.tabular import Benchmark, check_decisions, known_networks
from hwnas_jax.tabular.base import numbers_of


def evaluate_on_table(
    run: RunParts,
    table: Benchmark,
    *,
    published: Observed | None = None,
    search: str | None = None,
    sample: int = 100,
    batches: int | None = 16,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Looks up the networks that a run derived in a table, and what the run knew of all others.

    A network counts by its canonical form. It is feasible where the run's cost model predicts that
    it keeps every limit, with the run's confidence if it has one; it lies in the window where it
    also uses 97 % of the target. The oracle is the best feasible network of the table.

    Args:
      run: with derived networks.
      table: of the run's decisions.
      published: costs of a device; adds what each network costs there.
      search: the label of one search, for a run of several; all of them when left out.
      sample: networks that the supernet judges, as many again inside the window; zero asks for
        none.
      batches: as in `evaluate`.
      progress: reports what is done.

    Returns:
      Plain JSON values. `networks` has a row for each derived network, in the order of the file;
      `searches` has the limits, the numbers of networks, the oracle and the `ranks` of each
      search, where a rank is Kendall's tau-b with the table; `origins` has means by origin.

    Raises:
      UserError: when the run derived nothing yet, a file of it is damaged, or the table has other
        decisions.
    """
    if not run.finished("derive"):
        command = "sweep" if run.wanted.several else "search"
        raise UserError(
            f"{run.folder} holds no derived networks; continue it with: hwnas {command} --resume "
            f"{run.folder}"
        )
    check_decisions(run.space, table.space, table.source)
    numbers = [search_number(run, search)] if search else range(len(run.members))
    costs = None if published is None else _published_costs(run, published)
    networks, quality = known_networks(table, run.space)
    entries = run.read("networks")["networks"]
    rows, searches = [], []
    for number in numbers:
        member = run.members[number]
        field = field_of(run, member.target, networks, quality)
        for entry in entries:
            if entry["search"] == member.label:
                rows.append(_placed(run, field, entry, member.target, costs))
        ranks = ranks_of(run, number, field, sample=sample, batches=batches, progress=progress)
        searches.append(_described(run, number, field) | {"ranks": ranks})
    return {
        "run": str(run.folder),
        "table": table.source,
        "quality": table.report,
        "measure": table.measure.name,
        "published_costs": None if published is None else published.source,
        "networks": rows,
        "origins": _by_origin(rows),
        "searches": searches,
    }


def _published_costs(run, published: Observed) -> dict[int, float]:
    """Returns published costs in the metric of the target by number of architecture."""
    check_decisions(run.space, published.space, published.source)
    seen, metric = published.observations, run.target.metric
    choose(metric, seen.metrics, f"metric of {published.source}")
    numbers = numbers_of(run.space, seen.architectures).tolist()
    return dict(zip(numbers, seen.values[metric].tolist(), strict=True))


def _placed(
    run, field: Field, entry: Mapping[str, Any], target: Target,
    published: Mapping[int, float] | None,
) -> dict[str, Any]:  # fmt: skip
    """Returns where one network of the run stands."""
    architecture = run.space.canonical(run.space.from_names(entry["architecture"])[None])
    standing = standing_in(field, run.space, architecture[0])
    cost = costs_of(run, target, architecture)
    best = field.quality[field.feasible].max(initial=-np.inf)
    placed = {
        "search": entry["search"],
        "label": entry["label"],
        "origin": entry["origin"],
        "selected": bool(entry.get("selected", False)),
        "string": run.space.to_string(architecture[0]),
        "quality": _or_none(standing.quality),
        "window_percentile": standing.window_percentile,
        "feasible_percentile": standing.feasible_percentile,
        "regret": _or_none(best - standing.quality),
        "predicted": float(cost.predicted[0]),
        "keeps_limit": bool(cost.feasible[0]),
    }
    if published is not None:
        seen = published.get(standing.number, math.nan)
        placed["published_cost"] = _or_none(seen)
        placed["keeps_limit_published"] = None if math.isnan(seen) else seen <= target.value
    return placed


def _described(run, number, field: Field) -> dict[str, Any]:
    member = run.members[number]
    oracle = None
    if field.feasible.any():
        best = int(np.argmax(np.where(field.feasible, field.quality, -np.inf)))
        oracle = {
            "string": run.space.to_string(field.networks[best]),
            "quality": float(field.quality[best]),
        }
    return {
        "search": member.label,
        "seed": member.seed,
        "metric": member.target.metric,
        "target": member.target.value,
        "networks": len(field.networks),
        "feasible": int(field.feasible.sum()),
        "window": int(field.window.sum()),
        "oracle": oracle,
    }


def _by_origin(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the means of each origin's networks; what is unknown of one is left out of them."""
    origins: dict[str, dict[str, Any]] = {}
    for origin in dict.fromkeys(row["origin"] for row in rows):
        own = [row for row in rows if row["origin"] == origin]
        origins[origin] = {
            "networks": len(own),
            "over_limit": sum(not row["keeps_limit"] for row in own),
        }
        if "published_cost" in own[0]:
            over = sum(row["keeps_limit_published"] is False for row in own)
            origins[origin]["over_limit_published"] = over
        for name in ("quality", "window_percentile", "feasible_percentile", "regret"):
            known = [row[name] for row in own if row[name] is not None]
            origins[origin][name] = float(np.mean(known)) if known else None
    return origins


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
