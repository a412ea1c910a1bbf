"""TPU chips that need not be present: their published figures, and topologies from libtpu."""

import importlib.util
import os
from typing import NamedTuple

import jax

from hwnas_jax.errors import UserError, nearest

EXAMPLES = ("v4:2x2x2", "v5e:2x4", "v5e:4x4", "v5e:16x16", "v5p:2x2x2", "v5p:4x4x4", "v6e:4x4")


class Chip(NamedTuple):
    """The published figures of a chip.

    Attributes:
      hbm_gib: its memory.
      clock_ghz: its clock, computed from the published peak and the size of the matrix units.
      link_gb_s: gigabytes per second that it can send to its neighbours over all links together.
    """

    hbm_gib: float
    clock_ghz: float
    link_gb_s: float


CHIPS = {
    "TPU v4": Chip(32, 1.05, 300),
    "TPU v5 lite": Chip(16, 1.5, 200),
    "TPU v5": Chip(95, 1.75, 600),
    "TPU v6 lite": Chip(32, 1.75, 448),
}


def topology_devices(name: str) -> tuple[jax.Device, ...]:
    """Returns the devices of a TPU topology without any hardware.

    Args:
      name: generation and layout as libtpu names them, such as "v5e:16x16".

    Raises:
      UserError: when libtpu is missing or does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "compiling for TPUs needs libtpu, the extra `tpu`: pip install 'hwnas_jax[tpu]'"
        )
    from jax.experimental import topologies

    # libtpu asks about the machine that it runs on, and complains at length when that is no TPU.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no hardware is touched
    single = set(name.partition(":")[2].split("x")) == {"1"}
    options = {"chips_per_host_bounds": (1, 1, 1)} if single else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not str(error).startswith("INVALID_ARGUMENT"):
            raise UserError(f"libtpu cannot describe {name!r}: {error}") from error
        close = nearest(name, EXAMPLES)
        hint = f" Did you mean {close!r}?" if close else ""
        reason = str(error).partition(": ")[2].partition("\n")[0] or str(error)
        raise UserError(
            f"no TPU topology {name!r} ({reason}); topologies are such as {', '.join(EXAMPLES)}."
            + hint
        ) from error
    return tuple(found.devices)
