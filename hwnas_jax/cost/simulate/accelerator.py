"""Costs of networks on accelerators that exist only as a description, by the simulator ZigZag.

The cost of a network is the sum over its convolutions and matrix products. Each of these layers is
simulated once and kept on disk. Pooling, sums and element-wise operations are left out, as if they
ran at the same time. Every layer is simulated in two fixed orders of loops, weight-stationary and
output-stationary, and the one with the smaller energy-delay product counts. The simulator's own
search for an order takes ten times as long; when it goes by latency alone, it saves a few cycles at
several times the energy. Arithmetic is 8-bit.

The result has no idle power and no leakage, so an array that is larger than needed looks free.

References: Mei et al., "ZigZag: Enlarging Joint Architecture-Mapping Design Space Exploration for
DNN Accelerators", 2021; Chen et al., "Eyeriss", 2017 (200 MHz); Jouppi et al., "In-Datacenter
Performance Analysis of a Tensor Processing Unit", 2017 (700 MHz); the Edge TPU's clock of 500 MHz
is as Yazdanbakhsh et al., "An Evaluation of Edge TPU Accelerators for CNNs", 2021, gives it.
"""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.cost.simulate import zigzag
from hwnas_jax.cost.simulate.layers import Layer, space_layers
from hwnas_jax.cost.simulate.workers import Progress, run_jobs
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import Amount, read_typed
from hwnas_jax.spaces.base import Space

SOURCE = "simulated"
VERSION = "3.9.1"


class Template(NamedTuple):
    """An accelerator as ZigZag describes it.

    Attributes:
      rows: of its array of multipliers.
      columns: of its array.
      buffer_kib: of its largest memory on the chip.
      clock_mhz: the published clock of the chip that it resembles.
    """

    rows: int
    columns: int
    buffer_kib: int
    clock_mhz: float


TEMPLATES = {
    "tpu-like": Template(32, 32, 2048, 700.0),
    "edge-tpu-like": Template(8, 8, 2048, 500.0),
    "eyeriss-like": Template(14, 12, 1024, 200.0),
}


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """An accelerator: a template with sizes of its own. None takes the template's size.

    Attributes:
      template: a key of `TEMPLATES`.
      rows: of the array of multipliers. "edge-tpu-like" has 16 units, each with such an array.
      columns: of the array of multipliers.
      buffer_kib: of the largest memory on the chip. The energy of an access grows with the square
        root of this size, as it roughly does for large memories.
      clock_mhz: turns cycles into time.
    """

    template: str = "eyeriss-like"
    rows: int | None = None
    columns: int | None = None
    buffer_kib: int | None = None
    clock_mhz: float | None = None

    def __post_init__(self):
        own = TEMPLATES[choose(self.template, TEMPLATES, "accelerator")]
        for name, value in own._asdict().items():
            given = getattr(self, name)
            if given is not None and not given > 0:
                raise UserError(f"{name} of {self.template} must be positive, got {given!r}")
            if given is None:
                object.__setattr__(self, name, value)

    @property
    def label(self) -> str:
        """What tells it from others, for people."""
        return (
            f"{self.template} {self.rows}x{self.columns}, {self.buffer_kib} KiB, "
            f"{self.clock_mhz:g} MHz"
        )


@dataclasses.dataclass(frozen=True)
class Simulated:
    """What a layer or a network costs.

    Attributes:
      cycles: of the accelerator's clock.
      latency_ms: those at its clock.
      energy_mj: of arithmetic and of memories, DRAM included.
    """

    cycles: float
    latency_ms: float
    energy_mj: float


def simulate_networks(
    space: Space,
    architectures: np.ndarray,
    accelerator: Accelerator,
    *,
    batch_size: int = 1,
    workers: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[Simulated]:
    """Returns what stand-alone networks cost, layer by layer.

    Args:
      space: the search space.
      architectures: `int32[N, D]`.
      accelerator: the hardware.
      batch_size: images per call.
      workers: processes; None takes one per core.
      folder: where simulated layers are kept; None takes the user's cache.
      progress: called with `(done, total, what)`. It may raise to stop; finished work is kept.

    Raises:
      UserError: without the simulator, in another version, or when it cannot place a layer.
    """
    require_zigzag()
    layers_of = space_layers(space, batch_size)
    networks = [layers_of(row) for row in np.asarray(architectures, np.int32)]
    distinct = sorted(set().union(*networks))
    costs = simulate_layers(
        distinct, accelerator, workers=workers, folder=folder, progress=progress
    )
    return [_total(layers, costs) for layers in networks]


def _total(layers: Counter[Layer], costs: dict[Layer, Simulated]) -> Simulated:
    fields = [field.name for field in dataclasses.fields(Simulated)]
    return Simulated(
        **{
            name: sum(times * getattr(costs[layer], name) for layer, times in layers.items())
            for name in fields
        }
    )


def simulate_layers(
    layers: Iterable[Layer],
    accelerator: Accelerator,
    *,
    workers: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> dict[Layer, Simulated]:
    """Returns the cost of each layer. Each is simulated once and kept on disk.

    Args:
      layers: the layers.
      accelerator: the hardware.
      workers: processes; None takes one per core.
      folder: where simulated layers are kept; None takes the user's cache.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: without the simulator, in another version, or when it cannot place a layer.
    """
    require_zigzag()
    folder = cache_folder() / "simulated_layers" if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {layer: folder / f"{_digest(layer, accelerator)}.json" for layer in layers}
    found = {layer: _read(path) for layer, path in files.items() if path.exists()}

    def keep(layer: Layer, result: tuple[float, float]) -> None:
        found[layer] = cycles, energy_pj = result
        payload = {"cycles": cycles, "energy_pj": energy_pj, "layer": repr(layer)}
        write_json(files[layer], payload)

    run_jobs(
        _simulate, {layer: (layer, accelerator) for layer in files if layer not in found}, keep,
        workers=workers, done=len(found), what=f"layers on {accelerator.template}",
        progress=progress,
    )  # fmt: skip
    clock_mhz = accelerator.clock_mhz
    assert clock_mhz is not None
    return {
        layer: Simulated(cycles, cycles / (1e3 * clock_mhz), 1e-9 * energy_pj)
        for layer, (cycles, energy_pj) in found.items()
    }


def require_zigzag() -> None:
    """Raises UserError unless the simulator is installed in the version used for known figures."""
    if importlib.util.find_spec("zigzag") is None:
        raise UserError(
            "simulating accelerators needs ZigZag, the extra `accelerator`: "
            "pip install 'hwnas_jax[accelerator]'"
        )
    version = importlib.metadata.version("zigzag-dse")
    if version != VERSION:
        raise UserError(
            f"zigzag-dse {version} is installed, allowed is {VERSION}: releases differ by up to a "
            "third in latency"
        )


def _digest(layer: Layer, accelerator: Accelerator) -> str:
    described = zigzag.describe(accelerator.template, *_sizes(accelerator))
    key = [VERSION, described, zigzag.workload(layer), zigzag.ORDERS, zigzag.SPATIAL]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def _sizes(accelerator: Accelerator) -> tuple[int, int, int]:
    sizes = accelerator.rows, accelerator.columns, accelerator.buffer_kib
    assert all(size is not None for size in sizes)
    return sizes  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class _Kept:
    """A layer on disk."""

    cycles: Amount
    energy_pj: Amount
    layer: str


def _read(path: Path) -> tuple[float, float]:
    try:
        layer = read_typed(path, _Kept, "simulated layer")
    except UserError as error:
        raise UserError(f"{error}; delete it, and it is made again") from error
    return layer.cycles, layer.energy_pj


def _simulate(layer: Layer, accelerator: Accelerator) -> tuple[float, float]:
    return zigzag.evaluate(layer, accelerator.template, *_sizes(accelerator))
