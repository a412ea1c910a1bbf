"""`hwnas estimate`: what networks would cost on hardware that is not on the desk."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from hwnas_jax.commands.options import Experiment, data_and_space, parse
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.new import taken_file


@dataclasses.dataclass(frozen=True)
class EstimateOptions:
    """Estimates a sample of networks for a TPU or an accelerator, and writes a measurement file.

    --topology compiles each network for a TPU chip, which need not be there, and takes the
    compiler's own estimate of cycles. --accelerator simulates each distinct layer. Neither is a
    measurement, and the file says so. `hwnas cost fit` and `hwnas search --measurements` read it.
    """

    topology: str | None = None
    """a TPU such as v5e:1x1, v6e:1x1, v4:1x1x1 or v5p:1x1x1; extra `tpu`"""
    accelerator: str | None = None
    """tpu-like, edge-tpu-like or eyeriss-like; extra `accelerator`"""
    networks: int = 200
    """networks to estimate"""
    batch: int | None = None
    """images per call; when left out 8 on a TPU and 1 on an accelerator"""
    dtype: str | None = None
    """TPU: type of weights and activations, bfloat16 or float32; bfloat16 when left out"""
    rows: int | None = None
    """accelerator: rows of its array of multipliers"""
    columns: int | None = None
    """accelerator: columns of its array"""
    buffer_kib: int | None = None
    """accelerator: size of its largest memory on the chip"""
    clock_mhz: float | None = None
    """accelerator: its clock"""
    input_shape: tuple[int, int, int] | None = None
    """height, width and channels of the images; those of the data set when left out"""
    classes: int = 10
    """with --input-shape: how many classes there are"""
    workers: int | None = None
    """processes; one per core when left out"""
    out: Path = Path("measurements.json")
    """the measurement file to write"""
    config: Experiment = Config()


_TPU_ONLY = ("dtype",)
_ACCELERATOR_ONLY = ("rows", "columns", "buffer_kib", "clock_mhz")


def run(words: list[str]) -> None:
    """Writes a measurement file of estimates."""
    options = parse(EstimateOptions, words, "estimate")
    with taken_file(options.out):
        _estimate(options)


def _estimate(options: EstimateOptions) -> None:
    if (options.topology is None) == (options.accelerator is None):
        raise UserError("name either --topology (a TPU) or --accelerator, one of the two")
    if options.networks < 1:
        raise UserError(f"--networks must be positive, got {options.networks}")
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers must be positive, got {options.workers}")
    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch must be positive, got {options.batch}")
    wrong = _ACCELERATOR_ONLY if options.topology is not None else _TPU_ONLY
    for name in wrong:
        if getattr(options, name) is not None:
            goes = "--accelerator" if options.topology is not None else "--topology"
            raise UserError(f"--{name.replace('_', '-')} goes with {goes}")
    if "JAX_PLATFORMS" not in os.environ:
        import jax

        jax.config.update("jax_platforms", "cpu")  # no hardware is looked for, or taken
    from hwnas_jax.cost.files.measurement_file import save_measurements
    from hwnas_jax.cost.measure.design import choose_networks
    from hwnas_jax.cost.simulate.estimates import estimate as estimate_space

    hardware, batch_size = _hardware(options)
    space = _space(options)
    rng = np.random.default_rng(options.config.seed)
    held_out = min(options.config.profile.held_out, options.networks // 4)
    architectures = choose_networks(space, options.networks - held_out, held_out, rng)
    held_out = max(0, len(architectures) - (options.networks - held_out))
    display = Terminal()
    with display.stage("estimate") as report:
        found = estimate_space(
            space, architectures, hardware,
            batch_size=batch_size, held_out=held_out, workers=options.workers, progress=report,
        )  # fmt: skip
        save_measurements(found, options.out)
    times = found.latencies_ms
    display.say(
        f"{len(times)} networks on {found.device['kind']} at batch {found.batch_size}: "
        f"{times.min():.3g} to {times.max():.3g} ms, median {np.median(times):.3g} ms"
    )
    display.say(f"{found.source}, not a measurement")
    display.say(f"wrote {options.out}")


def _hardware(options):
    """Returns the hardware, known to exist, and the images per call."""
    from hwnas_jax.cost.simulate.accelerator import Accelerator, require_zigzag
    from hwnas_jax.cost.simulate.compiler import TPU, clock_ghz

    if options.topology is not None:
        batch_size = 8 if options.batch is None else options.batch
        tpu = TPU(options.topology, batch_size, options.dtype or "bfloat16")
        clock_ghz(tpu.topology)
        return tpu, batch_size
    sizes = {name: getattr(options, name) for name in _ACCELERATOR_ONLY}
    hardware = Accelerator(options.accelerator, **sizes)
    require_zigzag()
    return hardware, options.batch or 1


def _space(options):
    from hwnas_jax.spaces import make_space

    if options.input_shape is None:
        return data_and_space(options.config)[1]
    config = options.config.space
    return make_space(
        config.name, config.args, off=config.off,
        input_shape=options.input_shape, num_outputs=options.classes,
    )  # fmt: skip
