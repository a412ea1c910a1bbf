"""A finished run held against a published table: where its networks stand, and what ranked well.

Legend: `N` networks that the run's space and the table share, `D` decisions.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost import AnalyticModel, predict_architectures
from hwnas_jax.cost.files.readers import Observed
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.errors import UserError, choose
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.shared_weights import evaluate, search_number
from hwnas_jax.search.candidates import bounded_costs, likely_networks
from hwnas_jax.tabular import Benchmark, check_decisions, known_networks, percentile
from hwnas_jax.tabular.base import numbers_of

LEAST_USED = 0.97
"""Share of the target that a network of the cost window uses at least."""
_COUNTS = ("macs", "params")


class Field(NamedTuple):
    """The networks that a search could have found, with what the table and the limits say of them.

    Attributes:
      networks: `int32[N, D]`, each in its canonical form, once.
      numbers: `int[N]`, of the architectures, as `hwnas_jax.tabular.base` counts them.
      quality: `float64[N]`, what the table reports; more is better.
      feasible: `bool[N]`, predicted to keep every limit.
      window: `bool[N]`, those of them that use at least `LEAST_USED` of the target.
    """

    networks: np.ndarray
    numbers: np.ndarray
    quality: np.ndarray
    feasible: np.ndarray
    window: np.ndarray


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
    """Looks up the networks that a run derived, and correlates what the run knew with a table.

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
    entries = run.read("networks.json", "networks")["networks"]
    rows, searches = [], []
    for number in numbers:
        member = run.members[number]
        field = _field(run, member.target, networks, quality)
        for entry in entries:
            try:
                if entry["search"] == member.label:
                    rows.append(_placed(run, field, entry, member.target, costs))
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{run.folder / 'networks.json'} is damaged: {error!r}") from error
        ranks = _ranks(run, number, field, sample, batches, progress)
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


def _field(run, target: Target, networks, quality) -> Field:
    feasible, used = _kept(run, target, networks)
    return Field(
        networks, numbers_of(run.space, networks), quality, feasible,
        feasible & (used >= LEAST_USED),
    )  # fmt: skip


def _kept(run, target, networks):
    """Returns which networks keep every limit, `bool[N]`, and the share of the target they use."""
    bounds = bounded_costs(run.space, run.cost_model, target, networks)[1]
    used = {metric: bounds[metric] / limit for metric, limit in target.limits.items()}
    kept = np.all([share <= 1.0 for share in used.values()], axis=0)
    return kept, used[target.metric]


def _published_costs(run, published: Observed) -> np.ndarray:
    """Returns published costs in the metric of the target by number of architecture."""
    check_decisions(run.space, published.space, published.source)
    seen, metric = published.observations, run.target.metric
    choose(metric, seen.metrics, f"metric of {published.source}")
    size = math.prod(len(decision.options) for decision in run.space.decisions)
    column = np.full(size, np.nan)
    column[numbers_of(run.space, seen.architectures)] = seen.values[metric]
    return column


def _placed(
    run, field: Field, entry: Mapping[str, Any], target: Target, costs: np.ndarray | None
) -> dict[str, Any]:
    """Returns where one network of the run stands."""
    architecture = run.space.canonical(run.space.from_names(entry["architecture"])[None])
    own = numbers_of(run.space, architecture)[0]
    here = field.numbers == own
    value = float(field.quality[here][0]) if here.any() else math.nan
    kept = bool(_kept(run, target, architecture)[0][0])
    best = field.quality[field.feasible].max(initial=-np.inf)
    placed = {
        "search": entry["search"],
        "label": entry["label"],
        "origin": entry["origin"],
        "selected": bool(entry.get("selected", False)),
        "string": entry["string"],
        "quality": _or_none(value),
        "window_percentile": percentile(value, field.quality[field.window & ~here]),
        "feasible_percentile": percentile(value, field.quality[field.feasible & ~here]),
        "regret": _or_none(best - value),
        "predicted": float(entry["predicted"]),
        "keeps_limit": kept,
    }
    if costs is not None:
        cost = float(costs[own])
        placed["published_cost"] = _or_none(cost)
        placed["keeps_limit_published"] = None if math.isnan(cost) else cost <= target.value
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


def _ranks(run, number, field: Field, sample, batches, progress) -> list[dict[str, Any]]:
    """Returns how well what the search knew ranks the networks of the table."""
    found, member = Found.load(run.folder), run.members[number]
    counted = predict_architectures(
        AnalyticModel.count(run.space), field.networks, run.space.num_options
    )
    counts = {metric: counted[metric].astype(np.float64) for metric in _COUNTS}
    every, window = np.arange(len(field.networks)), np.flatnonzero(field.window)
    ranks = [] if found.probabilities is None else _by_probability(run, number, found, field)
    ranks += [_rank(field, by, score, every, window) for by, score in counts.items()]
    if found.weights is None or sample < 2:
        return ranks
    rng = np.random.default_rng(member.seed)
    every = rng.choice(every, min(sample, len(every)), replace=False)
    window = rng.choice(window, min(sample, len(window)), replace=False)
    judged = np.union1d(every, window)
    loss = np.full(len(field.networks), np.nan)
    loss[judged] = evaluate(
        run, field.networks[judged], search=member.label, batches=batches, progress=progress
    )["loss"]
    scores = {"low_supernet_loss": -loss, **counts}
    sampled = [_rank(field, by, score, every, window) for by, score in scores.items()]
    return ranks + [rank | {"sampled": True} for rank in sampled]


def _by_probability(run, number, found: Found, field: Field):
    """Returns the ranks by the search's probability, and by its ratio to that at the start."""
    assert found.probabilities is not None and found.prior is not None
    networks, log_probability, log_prior = likely_networks(
        run.space, found.probabilities[number], found.prior, seed=run.members[number].seed
    )
    # Spaces too large to list are drawn from: only what was drawn and the table has is ranked.
    _, own, theirs = np.intersect1d(
        field.numbers, numbers_of(run.space, networks), return_indices=True
    )
    window = own[field.window[own]]
    ranks = []
    for by, values in (
        ("log_probability", log_probability),
        ("log_probability_over_start", log_probability - log_prior),
    ):
        score = np.full(len(field.networks), np.nan)
        score[own] = values[theirs]
        ranks.append(_rank(field, by, score, own, window))
    return ranks


def _rank(field: Field, by: str, score: np.ndarray, every, window) -> dict[str, Any]:
    """Returns Kendall's tau of a score with the table, overall and inside the window."""
    rank: dict[str, Any] = {"by": by, "sampled": False}
    for where, wanted in (("overall", every), ("window", window)):
        rows = wanted[~np.isnan(score[wanted])]
        # A probability of zero has no finite logarithm, and ranks lowest all the same.
        finite = np.maximum(score[rows], -1e300)
        rank[where] = _or_none(kendall(field.quality[rows], finite)) if len(rows) > 1 else None
        rank[f"{where}_networks"] = len(rows)
    return rank


def _by_origin(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the means of each origin's networks; what is unknown of one is left out of them."""
    origins: dict[str, dict[str, Any]] = {}
    for origin in dict.fromkeys(row["origin"] for row in rows):
        own = [row for row in rows if row["origin"] == origin]
        origins[origin] = {
            "networks": len(own),
            "over_limit": sum(not r["keeps_limit"] for r in own),
        }
        for name in ("quality", "window_percentile", "feasible_percentile", "regret"):
            known = [row[name] for row in own if row[name] is not None]
            origins[origin][name] = float(np.mean(known)) if known else None
    return origins


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
