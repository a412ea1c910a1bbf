"""Measuring during a search where that makes the cost model surer, and fitting it again.

A search knows which networks it may end with: those its distribution favours, near the budget.
A few of them are measured between two calls of the compiled step, and the model is fitted to all
that is known by then. Files in the run folder:

  measurements_during_search.json   what was measured, with what was predicted before
  cost_models/step-<number>.npz     the model as it was fitted after that step

Legend: `S` searches, `N` networks, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, SearchConfig, TargetConfig
from hwnas_jax.cost.files.measurement_file import load_measurements
from hwnas_jax.cost.files.measurements import Measurements, check_spec
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.measure.networks import measure_networks
from hwnas_jax.cost.models.base import CostModel, std_architectures
from hwnas_jax.cost.models.registry import load_cost_model, refit
from hwnas_jax.cost.models.search_model import fitted_model, with_fitted
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import Amount, NotNegative, Whole, read_typed
from hwnas_jax.files.whole import inner_folder
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.search.candidates import bounded_costs, likely_networks
from hwnas_jax.spaces.base import Space

FILE = "measurements_during_search.json"
FOLDER = "cost_models"
_FORMAT = "hwnas_jax.measurements_during_search"
_METRIC = "latency_ms"
# A network that uses 0.9 of the budget still counts as meeting it.
_NEAR = 0.1


def most_informative(
    space: Space,
    model: CostModel,
    targets: Sequence[Target],
    probabilities: np.ndarray,
    prior: np.ndarray,
    known: np.ndarray,
    count: int,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Returns the networks whose measurement would tell most of where the search is going.

    The score of a network is its standard deviation, times its probability under the search,
    times how near its predicted cost (its upper bound, with a confidence) is to the budget: a bell
    as wide as the deviation and a tenth of the budget together. Several searches add up.

    Args:
      space: the search space.
      model: predicts the costs and how sure it is of them.
      targets: the budget of each search, `S` of them.
      probabilities: `float32[S, D, K]`, of each search.
      prior: `float32[D, K]`, where they began.
      known: `int32[N, D]`, networks that were measured already, in any form.
      count: how many to return at most.
      seed: of the draws where a space is too large to enumerate.

    Returns:
      `int32[n, D]` in canonical form, distinct, the highest score first.
    """
    scores: dict[tuple[int, ...], float] = {}
    for target, own in zip(targets, probabilities, strict=True):
        networks, log_probability, _ = likely_networks(space, own, prior, seed=seed)
        bounds = bounded_costs(space, model, target, networks)[1][target.metric]
        std = std_architectures(model, networks, space.num_options)[target.metric].astype(float)
        width = np.sqrt(std**2 + (_NEAR * target.value) ** 2)
        near = np.exp(-0.5 * ((bounds - target.value) / width) ** 2)
        for network, score in zip(networks, std * np.exp(log_probability) * near, strict=True):
            key = tuple(network.tolist())
            scores[key] = scores.get(key, 0.0) + float(score)
    done = {tuple(row) for row in space.canonical(np.asarray(known, np.int32)).tolist()}
    left = [key for key in scores if key not in done]
    left.sort(key=lambda key: (-scores[key], key))
    return np.array(left[:count], np.int32).reshape(-1, space.num_decisions)


def rounds(
    settings: SearchConfig, target: TargetConfig, boundaries: Iterable[int]
) -> dict[int, int]:
    """Returns after which steps how many networks are measured.

    Args:
      settings: of the search.
      target: `measurements` in all, every `measure_every` architecture steps.
      boundaries: the steps between two calls of the compiled step, ascending.

    Raises:
      UserError: when the search ends before the first measurement.
    """
    if not target.measurements:
        return {}
    steps: list[int] = []
    for step in boundaries:
        due = settings.warmup_steps + target.measure_every * (len(steps) + 1)
        if due <= step < settings.steps:
            steps.append(step)
    if not steps:
        raise UserError(
            f"target.measure_every = {target.measure_every} leaves no time for the "
            f"{target.measurements} of target.measurements: the search has "
            f"{settings.steps - settings.warmup_steps} architecture steps, in calls of up to "
            f"{settings.steps_per_dispatch}"
        )
    each, more = divmod(target.measurements, len(steps))
    counts = {step: each + (number < more) for number, step in enumerate(steps)}
    return {step: count for step, count in counts.items() if count}


class Refinement:
    """The cost model that a search goes by, refitted whenever more was measured.

    Without `target.measurements` it stays as given.

    Args:
      space: the search space.
      model: as it was fitted before the search.
      targets: of the searches that go by the model.
      config: `target`, `search`, `cost`, `profile` and `seed` are read.
      boundaries: the steps between two calls of the compiled step.
      folder: the run folder, with the `measurements.json` the model was fitted to.
      progress: shows what is measured.

    Raises:
      UserError: when measurements are asked for and cannot be taken: for a model that does not
        know its uncertainty, a metric that is not timed, without a run folder or the measurements
        of its profile, or when the search is too short.
    """

    def __init__(
        self,
        space: Space,
        model: CostModel,
        targets: Sequence[Target],
        config: Config,
        boundaries: Iterable[int],
        *,
        folder: Path | None = None,
        progress: Progress = quiet,
    ):
        self.model = model
        self._space, self._targets, self._config = space, targets, config
        self._progress, self._fitted_at = progress, -1
        self._rounds = rounds(config.search, config.target, boundaries)
        if self._rounds:
            self._folder, self._profiled = _ready(space, model, targets, folder)

    def at(
        self, step: int, read_probabilities: Callable[[], np.ndarray], prior: np.ndarray
    ) -> CostModel:
        """Returns the model for the steps from `step` on, after measuring if that is due.

        A run that is continued takes from its folder what was measured there before. In a job of
        several processes all must call it; process 0 measures, the others read its files.

        Args:
          step: steps taken.
          read_probabilities: returns `float32[S, D, K]`, of every search.
          prior: `float32[D, K]`, where they began.
        """
        passed = max((number for number in self._rounds if number < step), default=-1)
        if passed > self._fitted_at:
            there = [path.exists() for path in (self._path(passed), self._folder / FILE)]
            if not any(there):
                raise UserError(
                    f"the search goes by what was measured up to step {passed}, and "
                    f"{self._folder} has neither {FILE} nor {FOLDER}/{self._path(passed).name}: "
                    "put one back, or continue from an earlier step with --from-step"
                )
            self._take(passed, make=not there[0])
        if step in self._rounds and step > self._fitted_at:
            probabilities = read_probabilities()
            if distributed.is_first():
                self._measure(step, probabilities, prior)
            self._take(step, make=True)
        return self.model

    def _take(self, step: int, *, make: bool) -> None:
        """Goes by the model that was fitted after `step`, once process 0 has made it."""
        if distributed.is_first() and make:
            self._fit(step)
        distributed.exchange(None)  # the folder is shared, the file is whole
        # Read even where it was just written: a run that is continued has only the file.
        fitted = load_cost_model(self._path(step), self._space)
        self.model, self._fitted_at = with_fitted(self.model, fitted), step

    def _path(self, step: int) -> Path:
        return self._folder / FOLDER / f"step-{step}.npz"

    def _measure(self, step: int, probabilities: np.ndarray, prior: np.ndarray) -> None:
        """Measures what is due after `step`, but for what is in the file already."""
        space, config = self._space, self._config
        rows = read_rows(self._folder / FILE, space)
        before = [row for row in rows if row["step"] < step]
        known = np.concatenate([self._profiled.encoded(space), _encoded(space, before)])
        chosen = most_informative(
            space,
            self.model,
            self._targets,
            probabilities,
            prior,
            known,
            self._rounds[step],
            seed=config.seed,
        )
        there = _encoded(space, [row for row in rows if row["step"] == step]).tolist()
        left = np.array([row for row in chosen.tolist() if row not in there], np.int32)
        if not len(left):
            return
        target = self._targets[0]
        predicted, _ = bounded_costs(space, self.model, target, left)
        std = std_architectures(self.model, left, space.num_options)[target.metric]
        measured = measure_networks(
            space, left, self._profiled, config.profile, seed=config.seed,
            around_ms=float(np.median(predicted)),
            progress=lambda done, total, what: self._progress(done, total, f"{what} at {step}"),
        )  # fmt: skip
        for number, architecture in enumerate(left):
            corrected, as_timed = measured.corrected[number], measured.as_timed[number]
            rows.append(
                {
                    "step": step,
                    "string": space.to_string(architecture),
                    "architecture": space.to_names(architecture),
                    "predicted": float(predicted[number]),
                    "std": float(std[number]),
                    "measured": corrected.median,
                    "measured_iqr": corrected.iqr,
                    "measured_now": as_timed.median,
                    "repeats": corrected.repeats,
                    "drift": measured.drift,
                }
            )
        payload = {"format": _FORMAT, "version": 1, "space": space.spec, "networks": rows}
        write_json(self._folder / FILE, payload)
        error = max(abs(row["predicted"] / row["measured"] - 1) for row in rows[-len(left) :])
        said = f"step {step}: {len(left)} networks measured, predicted within {error:.1%}"
        self._progress(0, 0, said)

    def _fit(self, step: int) -> None:
        rows = [row for row in read_rows(self._folder / FILE, self._space) if row["step"] <= step]
        rows.sort(key=lambda row: row["step"])
        model = fitted_model(self.model)
        if rows:  # none where the profile measured the whole space
            profiled = self._profiled.observations(self._space)
            latencies_ms = [row["measured"] for row in rows]
            observations = Observations(
                np.concatenate([profiled.architectures, _encoded(self._space, rows)]),
                {_METRIC: np.concatenate([profiled.values[_METRIC], latencies_ms])},
                profiled.operations,
            )
            model = refit(
                model, self._config.cost.model, self._space, observations, seed=self._config.seed
            )
        inner_folder(self._folder, FOLDER)
        model.save(self._path(step), self._space)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A network that was measured during a search, with what was predicted before."""

    step: Whole
    string: str
    architecture: dict[str, str]
    predicted: float
    std: NotNegative
    measured: Amount
    measured_iqr: NotNegative
    measured_now: Amount
    repeats: Whole
    drift: Amount


@dataclasses.dataclass(frozen=True)
class _File:
    space: dict[str, Any]
    networks: list[_Row]


def newest_model(folder: Path) -> Path:
    """Returns the file of the cost model that a finished search in `folder` went by last."""
    numbered = {
        int(path.stem.removeprefix("step-")): path
        for path in (Path(folder) / FOLDER).glob("step-*.npz")
        if re.fullmatch(r"step-[0-9]{1,18}", path.stem)
    }
    return numbered[max(numbered)] if numbered else Path(folder) / "cost_model.npz"


def read_rows(path: Path, space: Space) -> list[dict[str, Any]]:
    """Returns what was measured during a search, a row for every network; empty without a file.

    Raises:
      UserError: when the file is damaged or of another space; names the row.
    """
    if not path.exists():
        return []
    file = read_typed(path, _File, "file of measurements", file_format=_FORMAT)
    check_spec(file.space, space, f"the file of measurements {path}: its networks")
    for number, row in enumerate(file.networks):
        try:
            space.from_names(row.architecture)
        except UserError as error:
            raise UserError(
                f"the file of measurements {path}: networks[{number}]: {error}"
            ) from error
    return [dataclasses.asdict(row) for row in file.networks]


def _encoded(space: Space, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    encoded = [space.from_names(row["architecture"]) for row in rows]
    return np.array(encoded, np.int32).reshape(-1, space.num_decisions)


def _ready(
    space: Space, model: CostModel, targets: Sequence[Target], folder: Path | None
) -> tuple[Path, Measurements]:
    """Returns the run folder and the measurements of its profile, or says what is lacking."""
    asked = "target.measurements"
    for target in targets:
        if target.metric != _METRIC:
            raise UserError(
                f"{asked}: what can be measured during a search is {_METRIC}, not {target.metric}"
            )
    if folder is None:
        raise UserError(f"{asked} needs a run folder, to keep what is measured")
    path = folder / "measurements.json"
    if not path.exists():
        raise UserError(
            f"{asked} needs the measurements the cost model was fitted to, to add to them; "
            f"there is no {path}: give them with --measurements"
        )
    measurements = load_measurements(path, space)
    if not model.knows_uncertainty:
        raise UserError(
            f"{asked} needs a cost model that knows its uncertainty; cost.model = "
            f"{model.name!r} does not: choose another, or leave the measurements out"
        )
    return folder, measurements
