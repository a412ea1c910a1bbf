"""What runs the networks that are measured: XLA through JAX, or ONNX Runtime.

The runtime matters as much as the device. It is recorded with the figures, and the figures of one
runtime are never compared with those of another.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import jax
import numpy as np

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.measure.build import Call, compile_all
from hwnas_jax.cost.measure.device import find_device
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Operation, Space


class Runtime(Protocol):
    """Turns networks and operations into calls.

    Attributes:
      name: as in `Measurements.runtime`.
      device: where they run.
      packages: packages, besides JAX, whose versions a latency depends on.
      options: settings that a latency depends on, as plain JSON values.
    """

    name: str
    device: jax.Device
    packages: tuple[str, ...]
    options: dict[str, Any]

    def compile_all(
        self,
        space: Space,
        architectures: Iterable[np.ndarray],
        operations: Iterable[Operation],
        batch_size: int,
        on_compiled: Callable[[int], None] | None = None,
    ) -> tuple[list[Call], list[Call]]:
        """Returns the calls of the networks and of the operations, as `build.compile_all` does."""


class JaxRuntime:
    """XLA on any JAX device."""

    name = "jax"
    packages: tuple[str, ...] = ()

    def __init__(self, device: jax.Device):
        self.device, self.options = device, {"device": f"{device.platform}:{device.id}"}

    def compile_all(
        self,
        space: Space,
        architectures: Iterable[np.ndarray],
        operations: Iterable[Operation],
        batch_size: int,
        on_compiled: Callable[[int], None] | None = None,
    ) -> tuple[list[Call], list[Call]]:
        """Compiles for the device; see `build.compile_all`."""
        return compile_all(
            space, architectures, operations, batch_size, on_compiled, device=self.device
        )


def make_runtime(config: ProfileConfig) -> Runtime:
    """Returns the runtime that a config asks for, on its device.

    Raises:
      UserError: when the device or the packages are not there, or do not go together.
    """
    if config.runtime == "jax":
        if config.threads is not None:
            raise UserError(
                "profile.threads is for profile.runtime = 'onnxruntime'; XLA takes all cores that "
                "the process may use"
            )
        return JaxRuntime(find_device(config.device))
    from hwnas_jax.cost.measure.onnx_runtime import OnnxRuntime

    device = find_device(config.device or "cpu")
    if device.platform != "cpu":
        raise UserError(
            "profile.runtime = 'onnxruntime' runs on the CPU; profile.device is "
            f"{config.device!r}: leave it out"
        )
    return OnnxRuntime(device, config.threads)
