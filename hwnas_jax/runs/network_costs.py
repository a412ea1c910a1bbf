"""What networks cost for certain: counted, estimated again, or measured on the device."""

from pathlib import Path

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config
from hwnas_jax.cost import Measured, load_measurements, measure_networks
from hwnas_jax.cost.measure.counts import count_networks
from hwnas_jax.cost.simulate.estimates import estimate_again
from hwnas_jax.display import Silent
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.spaces.base import Space


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
    timed, beside some networks of the profile that take about as long as the target, if there is
    a profile.

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
    path, known = folder / "measurements.json", None
    if path.exists():
        known = load_or_offer(path, lambda path: load_measurements(path, space))
    if known is not None and known.source != "measured":
        rows = estimate_again(space, networks, known, progress)
        metric = target.metric if target.metric in rows[0] else "latency_ms"
        found = [row[metric] for row in rows]
        display.say(f"{len(rows)} networks by {known.source}; nothing was measured")
        return Measured(corrected=found, as_timed=found, drift=1.0)
    return measure_networks(
        space, networks, known, config.profile,
        seed=config.seed, around_ms=target.value, progress=progress,
    )  # fmt: skip
