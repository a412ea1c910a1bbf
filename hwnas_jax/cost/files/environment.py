"""The device and the software that a figure was taken with."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax


def describe_device(device: jax.Device | None = None) -> dict[str, Any]:
    """Returns what identifies a JAX device and its host.

    Args:
      device: the device; None takes the default one.
    """
    device = jax.devices()[0] if device is None else device
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(device.platform),
        "host_cpu": _host_cpu(),
        "cpu_count": os.cpu_count(),
    }


def _host_cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_software(*more: str) -> dict[str, str]:
    """Returns the versions that a latency depends on, and those of `more` packages."""
    versions = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "hwnas_jax", *more):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
