"""Which JAX device is measured, and what of it."""

import os

import jax

from hwnas_jax.errors import UserError, choose


def find_device(name: str | None) -> jax.Device:
    """Returns a local device by its platform and number.

    Args:
      name: a platform ("cpu", "gpu", "tpu", "cuda", "rocm") for its first device, or a platform
        with a number ("gpu:1"). None takes the default device.

    Raises:
      UserError: when there is no such device here.
    """
    if name is None:
        return jax.local_devices()[0]
    known = _local_devices()
    label = name if ":" in name else f"{name}:0"
    return known[choose(label, known, "device")]


def _local_devices() -> dict[str, jax.Device]:
    """Returns the devices of all backends here, by platform and number."""
    known: dict[str, jax.Device] = {}
    for platform in ("cpu", "gpu", "cuda", "rocm", "tpu", jax.default_backend()):
        try:
            devices = jax.local_devices(backend=platform)
        except RuntimeError:  # no such backend on this machine
            continue
        known.update({f"{platform}:{number}": d for number, d in enumerate(devices)})
    return known


def check_same(taken: dict[str, object], here: dict[str, object]) -> None:
    """Raises UserError when measurements were taken on another device than the one here.

    Args:
      taken: `Measurements.device`.
      here: the same description of the device here.
    """
    for key in ("platform", "kind"):
        if taken.get(key) != here[key]:
            other = taken.get(key) or taken.get("kind") or "a device that is not named"
            raise UserError(
                f"the measurements were taken on {other!r}, "
                f"this device is {here[key]!r}: profile it first"
            )


def usable_cores() -> int:
    """Returns how many cores the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
