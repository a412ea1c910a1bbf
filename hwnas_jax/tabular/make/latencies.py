"""Measures some networks of a table on this device, so many at a time as can be compiled at once.

The first networks are measured as a profile is. They are the references of all later ones, so that
all latencies are at the same speed of the device.

Legend: `N` networks to be measured, `n` of a part, `D` decisions.
"""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.measurements import Measurements, Sample
from hwnas_jax.cost.measure.networks import measure_networks
from hwnas_jax.cost.measure.runtimes import make_runtime
from hwnas_jax.cost.simulate.estimates import computes
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.spaces.base import Space
from hwnas_jax.tabular.make.parts import Parts

_AT_ONCE = 64
_FIELDS = ("median", "iqr", "repeats")


@dataclasses.dataclass(frozen=True)
class Latencies:
    """What was measured.

    Attributes:
      median_ms: `float64[N]`, per call.
      iqr_ms: `float64[N]`, interquartile range over the timed calls.
      device: the device, the runtime and the batch size; plain JSON values.
    """

    median_ms: np.ndarray
    iqr_ms: np.ndarray
    device: dict[str, Any]


def check_measurable(space: Space, config: ProfileConfig) -> None:
    """Raises UserError when networks of the space cannot be measured here."""
    if computes(space, config):
        raise UserError(
            f"what networks of {space.name} cost is computed, not measured: --measured 0 makes the "
            "table without latencies"
        )
    make_runtime(config)


def measure_part_by_part(
    space: Space, networks: np.ndarray, config: ProfileConfig, parts: Parts, *, seed: int,
    progress: Progress,
) -> Latencies:  # fmt: skip
    """Measures networks; those of a part that is there are not measured again.

    Args:
      space: theirs.
      networks: `int32[N, D]`.
      config: device, runtime, batch size and repetitions.
      parts: keeps what is done.
      seed: of the orders.
      progress: reports what is done.

    Raises:
      UserError: when the device or the runtime is not there, or not the one of the first part.
    """
    runtime = make_runtime(config)
    device = {
        **describe_device(runtime.device), "runtime": runtime.name,
        "batch_size": config.batch_size,
    }  # fmt: skip
    samples: list[Sample] = []
    first: Measurements | None = None
    for number, start in enumerate(range(0, len(networks), _AT_ONCE)):
        name, some = f"latency-{number:04}", networks[start : start + _AT_ONCE]
        if not parts.has(name):
            measured = measure_networks(
                space, some, first, config, seed=seed + number, progress=progress
            ).corrected
            parts.write(
                name,
                {field: [getattr(sample, field) for sample in measured] for field in _FIELDS},
            )
        held = parts.read(name, {field: (len(some),) for field in _FIELDS})
        columns = (held[field].tolist() for field in _FIELDS)
        samples += [Sample(*values) for values in zip(*columns, strict=True)]
        if first is None:
            first = Measurements(
                device=describe_device(runtime.device),
                software=describe_software(*runtime.packages),
                batch_size=config.batch_size, space=space.spec, operations={},
                architectures=tuple(space.to_names(row) for row in some),
                networks=tuple({"latency_ms": sample} for sample in samples),
                runtime=runtime.name,
            )  # fmt: skip
    return Latencies(
        np.array([sample.median for sample in samples], float),
        np.array([sample.iqr for sample in samples], float),
        device,
    )
