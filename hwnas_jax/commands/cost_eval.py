"""`hwnas cost eval`: how well a cost model agrees with measurements it may not have seen."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.cost.judge.metrics import (
    coverage,
    far_from_zero,
    kendall,
    mape,
    share_within,
    spearman,
)
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.cost.models.model_file import read_fitted_to
from hwnas_jax.cost.models.registry import open_cost_model
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.spaces import SPACES
from hwnas_jax.spaces.base import Choices

LEVEL = 0.9
_SHARES = (0.01, 0.05, 0.1)


@dataclasses.dataclass(frozen=True)
class CostEvalOptions:
    """Compares what a cost model predicts with what was measured."""

    model: tyro.conf.Positional[Path]
    """the cost model"""
    data: tyro.conf.Positional[str]
    """a measurement file or a published table; a file of the folder HWNAS_DATA needs only its
    name"""
    device: str | None = None
    """which device, for a table of several"""
    task: str | None = None
    """which task, for a table of several; the first when left out"""
    space: Annotated[str | None, tyro.conf.arg(name="space.name")] = None
    """the Python path of the model's search space, where that is code of your own"""
    fitted: bool = False
    """also count the networks that the model was fitted to; otherwise they are left out"""
    json: bool = False
    """print one JSON object"""


def evaluate(
    model: CostModel, space: Choices, observations: Observations
) -> dict[str, dict[str, Any]]:
    """Scores a model on observed networks.

    Args:
      model: of `space`.
      space: the networks are of.
      observations: at least one metric of the model.

    Returns:
      By metric `networks`, `near_zero` (how many of them cost less than 2 % of the median and are
      left out of relative errors), `spearman`, `kendall` (None where ranks say nothing), `mape`,
      `within_1`, `within_5`, `within_10` as shares, and `coverage`, the share inside the model's
      90 % intervals, None for a model that gives none.

    Raises:
      UserError: when model and observations have no metric in common, or a value is no cost.
    """
    shared = [metric for metric in model.metrics if metric in observations.values]
    if not shared:
        raise UserError(
            f"the model predicts {', '.join(model.metrics)}, "
            f"the data has {', '.join(observations.metrics)}"
        )
    observations.require(1, "the comparison")
    architectures = observations.architectures
    predicted = predict_architectures(model, architectures, space.num_options)
    deviation = std_architectures(model, architectures, space.num_options)
    scores = {}
    for metric in shared:
        measured, mean = observations.values[metric], predicted[metric].astype(float)
        std = deviation[metric].astype(float)
        ranks = (spearman(measured, mean), kendall(measured, mean))
        scores[metric] = {
            "networks": len(measured),
            "near_zero": int((~far_from_zero(measured)).sum()),
            "spearman": None if np.isnan(ranks[0]) else ranks[0],
            "kendall": None if np.isnan(ranks[1]) else ranks[1],
            "mape": mape(measured, mean),
            **{f"within_{share:.0%}"[:-1]: share_within(measured, mean, share)
               for share in _SHARES},
            "coverage": coverage(measured, mean, std, LEVEL) if model.knows_uncertainty else None,
        }  # fmt: skip
    return scores


def run(words: list[str]) -> None:
    """Prints rank correlations, errors and coverage."""
    options = tyro.cli(CostEvalOptions, args=words, prog="hwnas cost eval")
    if options.space is not None:
        SPACES.find(options.space)
    model, space = load_or_offer(options.model, open_cost_model)
    observed = load_observations(
        options.data, device=options.device, task=options.task, space=space
    )
    known = None if options.fitted else read_fitted_to(options.model, space)
    tested, notes = _without_fitted(observed.observations, known)
    scores = evaluate(model, space, tested)
    for metric, row in scores.items():
        if row["near_zero"]:
            notes.append(
                f"{row['near_zero']} networks cost less than 2 % of the median {metric} and are "
                "left out of relative errors"
            )
    notes += observed.notes
    if options.json:
        print(json.dumps({"source": observed.source, "metrics": scores, "notes": notes}))
        return
    display = Terminal()
    header = ("metric", "Spearman", "Kendall", "MAPE", "within 1 %", "5 %", "10 %",
              f"in {LEVEL:.0%} intervals")  # fmt: skip
    rows = [
        (
            metric,
            *("-" if row[k] is None else f"{row[k]:.3f}" for k in ("spearman", "kendall")),
            f"{row['mape']:.1%}",
            *(f"{row[k]:.0%}" for k in ("within_1", "within_5", "within_10")),
            "-" if row["coverage"] is None else f"{row['coverage']:.0%}",
        )
        for metric, row in scores.items()
    ]
    display.table(f"{model.name} on {len(tested):,} networks of {observed.source}", header, rows)
    for note in notes:
        display.say(note)


def _without_fitted(
    observations: Observations, known: np.ndarray | None
) -> tuple[Observations, list[str]]:
    """Returns the networks that the model was not fitted to, and what there is to say about it."""
    if known is None:
        return observations, []
    seen = set(map(tuple, known.tolist()))
    new = np.array([tuple(row) not in seen for row in observations.architectures.tolist()], bool)
    left_out = int((~new).sum())
    if not left_out:
        return observations, []
    if not new.any():
        raise UserError(
            f"the model was fitted to all {left_out} networks of the data: nothing is left to "
            "judge it on. hwnas cost fit has judged it on held-out ones; --fitted counts these"
        )
    return observations.subset(new), [
        f"{left_out:,} networks that the model was fitted to are left out; --fitted counts them"
    ]
