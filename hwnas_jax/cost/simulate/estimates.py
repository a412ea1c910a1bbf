"""Measurement files for hardware that is not there: networks are compiled for it, or simulated.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.compile.topology import topology_devices
from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.environment import describe_software
from hwnas_jax.cost.files.measurements import Measurements, Sample
from hwnas_jax.cost.simulate import accelerator as accelerators
from hwnas_jax.cost.simulate import compiler
from hwnas_jax.cost.simulate.accelerator import Accelerator
from hwnas_jax.cost.simulate.codesign import RUNTIME, Systolic, joint_costs
from hwnas_jax.cost.simulate.compiler import TPU
from hwnas_jax.cost.simulate.workers import Progress
from hwnas_jax.errors import UserError
from hwnas_jax.files.typed import check_value
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.codesign import Codesign

Hardware = TPU | Accelerator | Systolic


def estimate(
    space: Space,
    architectures: np.ndarray,
    hardware: Hardware,
    *,
    batch_size: int = 1,
    held_out: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Measurements:
    """Returns what networks cost on hardware that need not be there.

    There are no operations in it: the cost of one alone is not what it adds to a fused program.

    Args:
      space: the search space.
      architectures: `int32[N, D]`, distinct.
      hardware: a chip to compile for, which has its own batch size; an accelerator to simulate; or
        the analytical model of a space whose networks bring their own accelerators.
      batch_size: images per call on an accelerator.
      held_out: how many of the last architectures are only for judging cost models.
      workers: processes; None takes one per core.
      progress: called with `(done, total, what)`. It may raise to stop; finished work is kept.

    Raises:
      UserError: when a package that the hardware needs is missing, or for unknown hardware.
    """
    if isinstance(space, Codesign) and not isinstance(hardware, Systolic):
        raise UserError(
            f"the networks of {space.name} bring accelerators of their own: profile them with "
            f"profile.runtime = {RUNTIME!r}, or estimate those of {space.network_space.name}"
        )
    architectures = np.asarray(architectures, np.int32)
    device: dict[str, Any]
    rows: list[dict[str, float]]
    if isinstance(hardware, TPU):
        batch_size = hardware.batch_size
        found = compiler.estimate_networks(
            space, architectures, hardware, workers=workers, progress=progress
        )
        kind = topology_devices(hardware.topology)[0].device_kind
        device = {
            "platform": "tpu", "kind": kind, "count": 1,
            "topology": hardware.topology, "dtype": hardware.dtype,
        }  # fmt: skip
        rows = [dataclasses.asdict(each) for each in found]
        source, runtime, software = compiler.SOURCE, "libtpu", describe_software("libtpu")
    elif isinstance(hardware, Systolic):
        columns = joint_costs(space, architectures, hardware, batch_size=batch_size)
        device = {
            "platform": "accelerator", "kind": hardware.label, "resident": hardware.resident,
        }  # fmt: skip
        rows = [
            {metric: float(column[number]) for metric, column in columns.items()}
            for number in range(len(architectures))
        ]
        source, runtime, software = accelerators.SOURCE, RUNTIME, describe_software()
    else:
        simulated = accelerators.simulate_networks(
            space, architectures, hardware,
            batch_size=batch_size, workers=workers, progress=progress,
        )  # fmt: skip
        device = {
            "platform": "accelerator", "kind": hardware.label, **dataclasses.asdict(hardware),
        }  # fmt: skip
        rows = [dataclasses.asdict(each) for each in simulated]
        source, runtime = accelerators.SOURCE, "zigzag"
        software = describe_software("zigzag-dse")
    return Measurements(
        device=device,
        software=software,
        batch_size=batch_size,
        space=space.spec,
        operations={},
        architectures=tuple(space.to_names(row) for row in architectures),
        networks=tuple(
            {metric: Sample(float(value)) for metric, value in row.items()} for row in rows
        ),
        source=source,
        runtime=runtime,
        held_out=held_out,
    )


def hardware_of(measurements: Measurements) -> Hardware:
    """Returns the hardware of a file that `estimate` made, so that it can be asked again.

    Raises:
      UserError: for a file of another source, or one that does not say which hardware.
    """
    device = measurements.device
    if measurements.runtime == RUNTIME:
        return Systolic(bool(device.get("resident", True)))
    kinds: dict[str, Any] = {compiler.SOURCE: TPU, accelerators.SOURCE: Accelerator}
    if measurements.source not in kinds:
        raise UserError(
            f"the figures are {measurements.source}, not one of {', '.join(kinds)}: they cannot be "
            "estimated again here"
        )
    given = {**device, "batch_size": measurements.batch_size}
    fields = [field.name for field in dataclasses.fields(kinds[measurements.source])]
    missing = [name for name in fields if name not in given]
    if missing:
        raise UserError(
            f"the {measurements.source} does not say its {', '.join(missing)}: it cannot be made "
            "again here"
        )
    return check_value(kinds[measurements.source], {name: given[name] for name in fields}, "device")


def computes(space: Space, config: ProfileConfig) -> bool:
    """Returns whether a profile of a space is computed, because its networks bring accelerators.

    Raises:
      UserError: where the runtime and the space do not go together.
    """
    brings = isinstance(space, Codesign)
    if brings != (config.runtime == RUNTIME):
        raise UserError(
            f"profile.runtime = {config.runtime!r} does not go with the space {space.name}: "
            f"{RUNTIME!r} is for the space codesign, whose networks run on accelerators that are "
            "not there, and only that"
        )
    return brings
