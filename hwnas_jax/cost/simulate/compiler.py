"""Costs of networks on TPU chips that need not be there, by the TPU compiler's own account.

The compiler writes into the program how many cycles it expects of every fused operation. Their sum,
at the chip's published clock, is a latency. It is an estimate, never a measurement: it leaves out
the time between operations and the time spent waiting for the host.

Each network is compiled once, and its estimate is kept on disk, so that an interrupted job can go
on. An estimate is used again only for the same network, topology, batch size and type, and only
with the same versions of JAX, of libtpu and of the code that builds networks.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hwnas_jax import spaces
from hwnas_jax.compile.hlo import tally
from hwnas_jax.compile.topology import CHIPS, topology_devices
from hwnas_jax.cost.simulate.shape_programs import Program, network_program
from hwnas_jax.cost.simulate.workers import Progress, run_jobs
from hwnas_jax.errors import UserError
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import Amount, NotNegative, Whole, read_typed
from hwnas_jax.nn.platform import platform
from hwnas_jax.nn.precision import compute_dtype
from hwnas_jax.spaces.base import Space

SOURCE = "compiler estimate"
_PACKAGE = Path(__file__).resolve().parents[2]
_DEPENDS_ON = (
    "nn", "spaces", "cost/simulate/shape_programs.py", "cost/simulate/compiler.py",
    "compile/hlo.py", "compile/topology.py",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TPU:
    """What networks are compiled for.

    Attributes:
      topology: as libtpu names it, such as "v5e:1x1"; the program takes its first device.
      batch_size: images per call.
      dtype: of weights and images, "bfloat16" or "float32".
    """

    topology: str = "v5e:1x1"
    batch_size: int = 8
    dtype: str = "bfloat16"

    def __post_init__(self):
        compute_dtype(self.dtype, "dtype")
        if self.batch_size < 1:
            raise UserError(f"batch must be positive, got {self.batch_size}")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What the compiler says of one call.

    Attributes:
      cycles: that the compiler expects when all operations run one after the other.
      latency_ms: these cycles at the published clock.
      peak_memory_mib: arguments, result and temporaries.
      flops: of convolutions and matrix products for one image, two per multiply-add.
    """

    cycles: Whole
    latency_ms: Amount
    peak_memory_mib: NotNegative
    flops: NotNegative


def clock_ghz(topology: str) -> float:
    """Returns the published clock of a topology's chips.

    Raises:
      UserError: without libtpu, for an unknown topology, or a chip whose clock is not known.
    """
    kind = topology_devices(topology)[0].device_kind
    if kind not in CHIPS:
        raise UserError(
            f"the clock of {kind!r} is not known; known are {', '.join(CHIPS)}: cycles have no "
            "milliseconds without it"
        )
    return CHIPS[kind].clock_ghz


def estimate_program(program: Program, tpu: TPU) -> Estimate:
    """Compiles a program for one device of a topology, in this process; nothing runs.

    Raises:
      UserError: as `clock_ghz`.
    """
    clock = clock_ghz(tpu.topology)
    one = jax.sharding.SingleDeviceSharding(topology_devices(tpu.topology)[0])

    def placed(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one)

    with platform("tpu"):
        arguments = jax.tree.map(placed, (program.weights, program.images))
        compiled = jax.jit(program.call).lower(*arguments).compile()
    found = tally(str(compiled.as_text()))
    memory: Any = compiled.memory_analysis()
    held = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return Estimate(
        cycles=int(found["cycles"]),
        latency_ms=found["cycles"] / (clock * 1e6),
        peak_memory_mib=held / 2**20,
        flops=found["flops"] / program.images.shape[0],
    )


def estimate_networks(
    space: Space,
    architectures: np.ndarray,
    tpu: TPU,
    *,
    workers: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[Estimate]:
    """Compiles stand-alone networks in processes of their own, and keeps what they cost.

    Architectures of one canonical form are one program, compiled once.

    Args:
      space: the search space; it must be one of the registry, since processes build it anew.
      architectures: `int32[N, D]`.
      tpu: what for.
      workers: processes; None takes one per core.
      folder: where estimates are kept; None takes the user's cache.
      progress: called with `(done, total, what)`. It may raise to stop; finished work is kept.

    Returns:
      One estimate per architecture.

    Raises:
      UserError: as `clock_ghz`, or when a process dies.
    """
    clock_ghz(tpu.topology)
    folder = kept_in(space, tpu) if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    forms = [tuple(row.tolist()) for row in space.canonical(np.asarray(architectures, np.int32))]
    files = {form: folder / f"{'-'.join(map(str, form))}.json" for form in forms}
    known = {form: _read(path) for form, path in files.items() if path.exists()}

    def keep(form: tuple[int, ...], estimate: Estimate) -> None:
        known[form] = estimate
        write_json(files[form], dataclasses.asdict(estimate))

    run_jobs(
        _work, {form: (space.spec, form, tpu) for form in files if form not in known}, keep,
        workers=workers, done=len(known), what=f"networks on {tpu.topology}", progress=progress,
    )  # fmt: skip
    return [known[form] for form in forms]


def kept_in(space: Space, tpu: TPU) -> Path:
    """Returns the folder for estimates of a space on a TPU with the versions installed here."""
    key = {
        "space": space.spec,
        "tpu": dataclasses.asdict(tpu),
        "jax": jax.__version__,
        "libtpu": importlib.metadata.version("libtpu"),
        "code": _code_digest(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    name = f"{space.name}-{tpu.topology.replace(':', '-')}-{digest}"
    return cache_folder() / "compiler_estimates" / name


@functools.cache
def _code_digest() -> str:
    """Returns a digest of the code that decides what program a network becomes."""
    digest = hashlib.sha256()
    for place in _DEPENDS_ON:
        path = _PACKAGE / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> Estimate:
    try:
        return read_typed(path, Estimate, "kept estimate")
    except UserError as error:
        raise UserError(f"{error}; delete it, and it is made again") from error


def _work(spec: dict[str, Any], form: tuple[int, ...], tpu: TPU) -> Estimate:
    architecture = np.array(form, np.int32)
    dtype = compute_dtype(tpu.dtype, "dtype")
    program = network_program(_space(json.dumps(spec)), architecture, tpu.batch_size, dtype)
    return estimate_program(program, tpu)


@functools.cache
def _space(spec: str) -> Space:
    return spaces.from_spec(json.loads(spec))
