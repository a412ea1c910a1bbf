"""Doubts about the unit of latencies, judged by the kind of device and the work of the networks.

A doubt is told and the figures are kept: `unit_checks` refuses what no device could do. The bands
are what devices of a kind reach on convolutional networks, small ones included, which spend most of
a call on starting operations.

Legend: `N` architectures, `D` decisions.
"""

import dataclasses
import re

import numpy as np

from hwnas_jax.cost.files.measurements import Measurements
from hwnas_jax.cost.files.unit_checks import disconnected, running_macs, running_operations
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Space

_CALL_S = 0.1
_OPERATION_S = 5e-7
_UNITS = {"microseconds": 1e-3, "nanoseconds": 1e-6, "seconds": 1e3}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of device.

    Attributes:
      name: in messages.
      words: a regular expression that names of such devices contain.
      least: multiply-accumulates per second below which a figure is doubted.
      most: multiply-accumulates per second above which a figure is doubted.
      limit: what no device of the kind can do.
    """

    name: str
    words: str
    least: float
    most: float
    limit: float


_KINDS = (
    Kind("a microcontroller", r"esp32|stm32|arduino|cortex-?m\d|\bmcu\b", 1e5, 2e9, 1e12),
    Kind(
        "a GPU or an accelerator",
        r"gpu|tpu|cuda|nvidia|titan|rtx|gtx|tesla|[0-9]{4}ti|\b[avh]100\b|h200|jetson",
        1e8, 3e14, 1e16,
    ),
    Kind(
        "a CPU, a board or a phone",
        r"cpu|xeon|epyc|ryzen|gold_|silver_|raspi|raspberry|\bpi ?[0-9]|pixel|samsung|galaxy"
        r"|iphone|phone|snapdragon|cortex-?a\d|intel|amd",
        3e7, 3e12, 2e14,
    ),
)  # fmt: skip
_ANY = Kind("a device", "", 3e7, 1e14, 1e16)


def kind_of(device: str) -> Kind:
    """Returns the kind of a device by its name; one with wide bands for an unknown name.

    >>> kind_of("Raspberry Pi 5").name, kind_of("titan_rtx_256").name
    ('a CPU, a board or a phone', 'a GPU or an accelerator')
    """
    name = device.lower()
    return next((kind for kind in _KINDS if re.search(kind.words, name)), _ANY)


def doubt_latencies(
    space: Choices, architectures: np.ndarray, latencies_ms: np.ndarray, *,
    device: str, batch_size: int = 1,
) -> tuple[str, ...]:  # fmt: skip
    """Returns a sentence when latencies look as if they were in another unit, else nothing.

    Spaces whose operations are unknown here are not judged, nor are networks without a path.

    Args:
      space: the space of the architectures.
      architectures: `int32[N, D]`.
      latencies_ms: `float64[N]`, positive.
      device: its name.
      batch_size: images per call.

    Raises:
      UserError: when no device of the kind could be as quick.
    """
    if not isinstance(space, Space) or not len(architectures):
        return ()
    rows = np.flatnonzero(~disconnected(space, architectures))
    if not len(rows):
        return ()
    kind = kind_of(device)
    work = batch_size * running_macs(space, architectures[rows])
    operations = running_operations(space, architectures[rows])
    spent_s = 1e-3 * latencies_ms[rows]

    def slow(seconds: np.ndarray) -> bool:
        return float(np.median(seconds - work / kind.least)) > _CALL_S

    def quick(seconds: np.ndarray) -> bool:
        least_s = np.maximum(work / kind.most, _OPERATION_S * operations)
        return float(np.median(seconds / least_s)) < 1

    def plausible(seconds: np.ndarray) -> bool:
        return not slow(seconds) and not quick(seconds)

    if plausible(spent_s):
        return ()
    units = [unit for unit, factor in _UNITS.items() if plausible(spent_s * factor)]
    likely = f"are these {' or '.join(units)}?" if units else "is the space the one measured?"
    word = "slow" if slow(spent_s) else "quick"
    said = (
        f"latency_ms is {np.median(latencies_ms[rows]):.3g} in the middle, for "
        f"{np.median(work):.1e} multiply-accumulates in {np.median(operations):.0f} operations: "
        f"{word} for {kind.name} ({device}); {likely} latency_ms counts milliseconds per call"
    )
    if float(np.median(work / spent_s)) > kind.limit:
        raise UserError(said)
    return (f"warning: {said}",)


def measurement_doubts(measurements: Measurements, space: Choices) -> tuple[str, ...]:
    """Returns what there is to doubt about a measurement file of `space`, for people.

    Raises:
      UserError: as `doubt_latencies`.
    """
    if measurements.source not in ("measured", "published") or not measurements.networks:
        return ()
    if "latency_ms" not in measurements.metrics:
        return ()
    device = measurements.device
    return doubt_latencies(
        space, measurements.encoded(space), measurements.latencies_ms,
        device=str(device.get("platform", "")) + " " + str(device.get("kind", "")),
        batch_size=measurements.batch_size,
    )  # fmt: skip
