"""Comparing cost models on a table of costs: accuracy, calibration, gradients and time.

Legend: `N` architectures.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.judge.gradient_fidelity import TEMPERATURES, complete_table, measure_fidelity
from hwnas_jax.cost.judge.metrics import coverage, kendall, mape, share_within, spearman
from hwnas_jax.cost.models.base import CostModel, predict_architectures, std_architectures
from hwnas_jax.cost.models.multilinear import is_enumerable
from hwnas_jax.cost.models.registry import check_cost_model, fit_model
from hwnas_jax.errors import UserError, choose
from hwnas_jax.registry import Part

SCORES = (
    "spearman", "kendall", "mape", "within_1", "within_5", "within_10", "covered_50",
    "covered_90", "fidelity", "gap", "fit_s", "predict_us",
)  # fmt: skip
"""What a study finds out, in the order in which it is shown.

`fidelity` and `gap` are about gradients and need a table of the whole space.
"""

_TIMED = 1000


@dataclasses.dataclass(frozen=True)
class Study:
    """The results, a row for each device, model and draw.

    Attributes:
      source: where the table comes from.
      metric: the cost that was judged.
      train: networks that the models were fitted to.
      draws: how often these networks were drawn.
      rows: `device`, `model`, `draw`, the `SCORES`, and on whole tables `temperatures`, a list of
        the means of `Fidelity` at each temperature.
      refused: `device`, `model` and `reason` where a model could not be fitted.
    """

    source: str
    metric: str
    train: int
    draws: int
    rows: list[dict[str, Any]]
    refused: list[dict[str, str]]

    def summary(self) -> list[dict[str, Any]]:
        """Returns the mean of every score, and its spread as `<score>_sd`, by device and model."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.rows:
            found.setdefault((row["device"], row["model"]), []).append(row)
        lines = []
        for (device, model), rows in found.items():
            line: dict[str, Any] = {"device": device, "model": model}
            for score in SCORES:
                values = [row[score] for row in rows if row[score] is not None]
                line[score] = float(np.mean(values)) if values else None
                line[f"{score}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
            lines.append(line)
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return {**dataclasses.asdict(self), "summary": self.summary()}


def run_study(
    table: CostTable,
    devices: Sequence[str],
    models: Sequence[Part],
    *,
    train: int,
    draws: int,
    metric: str = "latency_ms",
    fidelity_draws: int = 100,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Study:
    """Fits every model to random networks of a table and judges it on all the others.

    Args:
      table: of one metric or several.
      devices: names of devices of the table.
      models: names and options of cost models.
      train: how many networks the models are fitted to.
      draws: how often these networks are drawn; all models see the same ones.
      metric: the cost that is judged.
      fidelity_draws: random logits at each temperature, where the table holds the whole space.
      seed: of all draws.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: for an unknown model, option, device or metric, more networks than a model takes,
        or a table with too few networks. Nothing is fitted before.
    """
    for model in models:
        check_cost_model(model).check_count(train)
    choose(metric, table.values, f"metric of {table.source}")
    if draws < 1 or train < 1:
        raise UserError(f"train and draws must be positive, got {train} and {draws}")
    known = {device: _observed(table, device, metric) for device in devices}
    for device, observed in known.items():
        if len(observed) < train + 2:
            raise UserError(
                f"{device} has {len(observed)} networks with {metric}: too few to fit to {train} "
                "and test on others"
            )
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    report = progress or (lambda done, total, what: None)
    jobs = [(device, model, draw) for device in devices for model in models
            for draw in range(draws)]  # fmt: skip
    for done, (device, model, draw) in enumerate(jobs):
        report(done, len(jobs), "models")
        what = {"device": device, "model": model.label}
        if any(what.items() <= one.items() for one in refused):
            continue
        judge = _Judge(table, known[device], metric, fidelity_draws)
        try:
            scores = judge(model, train, seed=seed + draw)
        except UserError as error:
            refused.append({**what, "reason": str(error)})
            continue
        rows.append({**what, "draw": draw, **scores})
    report(len(jobs), len(jobs), "models")
    return Study(table.source, metric, train, draws, rows, refused)


def _observed(table: CostTable, device: str, metric: str) -> Observations:
    """Returns a device's observations of one metric, of which other metrics may lack networks."""
    alone = dataclasses.replace(table, values={metric: table.values[metric]})
    return alone.observations(device)


@dataclasses.dataclass(frozen=True)
class _Judge:
    table: CostTable
    observed: Observations
    metric: str
    fidelity_draws: int

    def __call__(self, part: Part, train: int, *, seed: int) -> dict[str, Any]:
        """Returns the scores of one model on one draw."""
        space, observed = self.table.space, self.observed
        order = np.random.default_rng(seed).permutation(len(observed))
        fitted, rest = observed.subset(order[:train]), observed.subset(order[train:])
        start = time.perf_counter()
        model = fit_model(part, space, fitted, seed=seed)
        scores: dict[str, Any] = {"fit_s": time.perf_counter() - start}
        if self.metric not in model.metrics:
            raise UserError(f"it does not predict {self.metric}")
        scores |= judge(model, space.num_options, rest, self.metric)
        scores |= {"fidelity": None, "gap": None}
        if is_enumerable(space) and len(observed) == space.size:
            scores |= self._gradients(model, seed)
        return scores

    def _gradients(self, model: CostModel, seed: int) -> dict[str, Any]:
        values = self.observed.values[self.metric]
        table = complete_table(self.table.space, self.observed.architectures, values)
        found = measure_fidelity(
            model, self.table.space, table, self.metric, draws=self.fidelity_draws, seed=seed
        )
        temperatures = [
            {
                key: float(np.mean(value))
                for key, value in dataclasses.asdict(at_temperature).items()
            }
            for at_temperature in found
        ]
        return {
            "fidelity": float(np.mean([row["by_logits"] for row in temperatures])),
            "gap": float(np.max([row["gap"] for row in temperatures])),
            "temperatures": temperatures,
        }


def judge(
    model: CostModel, num_options: int, observed: Observations, metric: str
) -> dict[str, float | None]:
    """Returns how a model does on networks it was not fitted to.

    Args:
      model: the cost model.
      num_options: `K` of the space.
      observed: the networks.
      metric: the cost that is judged.

    Returns:
      The first eight of `SCORES` and `predict_us`, the microseconds per architecture in a batch of
      a thousand. An undefined correlation is None, as is the coverage of a model that does not know
      its uncertainty.
    """
    rows, measured = observed.architectures, observed.values[metric]
    predicted = predict_architectures(model, rows, num_options)[metric]
    deviation = std_architectures(model, rows, num_options)[metric]
    scores: dict[str, float | None] = {
        "spearman": _finite(spearman(measured, predicted)),
        "kendall": _finite(kendall(measured, predicted)),
        "mape": mape(measured, predicted),
    }
    for percent in (1, 5, 10):
        scores[f"within_{percent}"] = share_within(measured, predicted, percent / 100)
    for percent in (50, 90):
        covered = coverage(measured, predicted, deviation, percent / 100)
        scores[f"covered_{percent}"] = covered if model.knows_uncertainty else None
    batch = np.resize(rows, (_TIMED, rows.shape[1]))
    predict_architectures(model, batch, num_options)
    start = time.perf_counter()
    predict_architectures(model, batch, num_options)
    scores["predict_us"] = 1e6 * (time.perf_counter() - start) / _TIMED
    return scores


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def temperature_rows(study: Study) -> Iterable[dict[str, Any]]:
    """Yields the means of `Fidelity` over the draws, by device, model and temperature."""
    keys = sorted({(row["device"], row["model"]) for row in study.rows if "temperatures" in row})
    for device, model in keys:
        rows = [row for row in study.rows if (row["device"], row["model"]) == (device, model)]
        for number in range(len(TEMPERATURES)):
            found = [row["temperatures"][number] for row in rows]
            means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
            yield {"device": device, "model": model, **means}
