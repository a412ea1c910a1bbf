"""`hwnas cost eval`: how well a cost model agrees with measurements it may not have seen."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.cost.judge.metrics import coverage, kendall, mape, share_within, spearman
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
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
      By metric `networks`, `spearman`, `kendall` (None where ranks say nothing), `mape`,
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
    scores = evaluate(model, space, observed.observations)
    if options.json:
        print(json.dumps({"source": observed.source, "metrics": scores, "notes": observed.notes}))
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
    count = len(observed.observations)
    display.table(f"{model.name} on {count:,} networks of {observed.source}", header, rows)
    for note in observed.notes:
        display.say(note)
