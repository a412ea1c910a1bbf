"""What networks cost for certain: counted, estimated again, or measured on the device."""

from pathlib import Path

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config
from hwnas_jax.cost import AnalyticModel, Measured, Measurements, load_measurements
from hwnas_jax.cost.measure.counts import count_networks
from hwnas_jax.cost.measure.networks import (
    check_comparable,
    measure_network_energies,
    measure_networks,
)
from hwnas_jax.cost.measure.runtimes import make_runtime
from hwnas_jax.cost.simulate.codesign import Systolic
from hwnas_jax.cost.simulate.estimates import Hardware, computes, estimate, hardware_of
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.spaces.base import Space

_MEASURED = ("latency_ms", "energy_mj")
"""The metrics that a device can be asked for."""


def cost_of(
    space: Space,
    architectures: list[np.ndarray],
    target: Target,
    folder: Path,
    config: Config,
    display: Silent,
    progress: Progress,
) -> Measured:
    """Returns what networks cost in the metric of the target.

    Where the metric follows from the architecture they are counted. Where the run's measurement
    file was estimated or simulated they are estimated again in the same way. Otherwise they are
    measured, latencies beside some networks of the profile that take about as long as the target,
    if there is a profile.

    Args:
      space: of the networks.
      architectures: `int32[D]` each.
      target: the budget.
      folder: the run folder.
      config: `profile` and `seed` are read.
      display: says how the costs were found.
      progress: reports what is done.

    Raises:
      UserError: when they cannot be measured here.
    """
    networks = np.stack(architectures)
    counted = count_networks(space, networks, target.metric)
    if counted is not None:
        display.say(f"{len(networks)} networks counted: {target.metric}")
        return counted
    known = _measurements(folder, space)
    if known is not None and not known.networks:
        known = None  # operations alone, which no network can be timed beside
    hardware, batch_size = _simulated(space, known, config)
    if hardware is not None:
        figures = estimate(space, networks, hardware, batch_size=batch_size, progress=progress)
        choose(target.metric, figures.metrics, f"metric of figures that are {figures.source}")
        found = [row[target.metric] for row in figures.networks]
        display.say(f"{len(found)} networks {figures.source}; nothing was measured")
        return Measured(corrected=found, as_timed=found, drift=1.0)
    choose(target.metric, _MEASURED, "metric that networks can be measured by")
    if target.metric == "energy_mj":
        return measure_network_energies(
            space, networks, config.profile, seed=config.seed, progress=progress
        )
    return measure_networks(
        space, networks, known, config.profile,
        seed=config.seed, around_ms=target.value, progress=progress,
    )  # fmt: skip


def check_costs(space: Space, metric: str, folder: Path, config: Config) -> None:
    """Refuses before a search what `cost_of` would refuse after it.

    Args:
      space: that is searched.
      metric: that has the budget.
      folder: the run folder, with the measurement file if there is one.
      config: `profile` is read.

    Raises:
      UserError: when the networks that are found could be neither counted, estimated nor measured.
    """
    if metric in AnalyticModel.counted_metrics(space):
        return
    known = _measurements(folder, space)
    try:
        if _simulated(space, known, config)[0] is not None:
            return
        choose(metric, _MEASURED, "metric that networks can be measured by")
        if metric == "latency_ms" and known is not None and known.networks:
            check_comparable(space, known, make_runtime(config.profile), config.profile.batch_size)
    except UserError as error:
        raise UserError(
            f"the networks that the search finds could not be confirmed: {error}. With "
            "--derive.confirm 0 they are not; --until retrain leaves the last measurements out"
        ) from error


def _simulated(
    space: Space, known: Measurements | None, config: Config
) -> tuple[Hardware | None, int]:
    """Returns the hardware that figures are computed for, None where they are measured.

    With it comes the batch size.
    """
    if known is None:
        simulated = Systolic() if computes(space, config.profile) else None
        return simulated, config.profile.batch_size
    return None if known.source == "measured" else hardware_of(known), known.batch_size


def _measurements(folder: Path, space: Space) -> Measurements | None:
    path = folder / "measurements.json"
    if not path.exists():
        return None
    return load_or_offer(path, lambda path: load_measurements(path, space))
