"""How well what a search knew ranks the networks of a published table.

Legend: `N` networks that the run's space and the table share.
"""

import math
from typing import Any

import numpy as np

from hwnas_jax.cost import AnalyticModel, predict_architectures
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.shared_weights import evaluate
from hwnas_jax.runs.table_field import Field
from hwnas_jax.search.candidates import likely_networks
from hwnas_jax.tabular.base import numbers_of

_COUNTS = ("macs", "params")


def ranks_of(
    run: RunParts, number: int, field: Field, *, sample: int, batches: int | None,
    progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """Returns how well what one search knew ranks the networks of its field.

    A gradient search ranks them by probability, and by how many times as probable it made them as
    they were at the start; shared weights rank them by their loss. Multiply-adds and parameters
    stand beside them, and once more on the networks that were drawn for the shared weights.

    Args:
      run: with a finished search.
      number: of the search.
      field: the networks of the table.
      sample: networks that the shared weights judge, as many again inside the window.
      batches: that they are judged by.
      progress: reports what is done.

    Returns:
      A row for each score: `by`, whether it is `sampled`, Kendall's tau-b with the table
      `overall` and inside the `window`, None where it says nothing, and the number of networks.
    """
    found = Found.load(run.folder, run.for_search.space, len(run.members))
    member = run.members[number]
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
        tau = kendall(field.quality[rows], finite) if len(rows) > 1 else math.nan
        rank[where] = None if math.isnan(tau) else tau
        rank[f"{where}_networks"] = len(rows)
    return rank
