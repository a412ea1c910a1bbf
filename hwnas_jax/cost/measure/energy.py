"""Energy per call on an NVIDIA GPU, by the driver's own counter.

NVML counts the millijoules that the whole board has drawn since the driver was loaded, and updates
the count every few tens of milliseconds. Calls are therefore repeated from one update to a later
one. The count includes what the board draws while it is idle; the idle power is measured too.
"""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.cost.measure.timing import summarise
from hwnas_jax.errors import UserError

ROUNDS = 3
_IDLE_S = 1.0
_PATIENCE_S = 5.0


class EnergyMeter:
    """The energy counter of one GPU.

    Attributes:
      name: of the GPU, as NVML calls it.
    """

    def __init__(self, device: jax.Device):
        """Opens the counter.

        Args:
          device: the JAX device that runs what is measured.

        Raises:
          UserError: without nvidia-ml-py, an NVIDIA GPU or a counter.
        """
        if device.platform not in {"gpu", "cuda"}:
            raise UserError(
                "profile.energy counts the energy of NVIDIA GPUs; the device that is profiled is "
                f"{device.platform!r}: leave it out, or choose a GPU with profile.device"
            )
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError as error:
            raise UserError(
                "profile.energy needs nvidia-ml-py, the extra `energy`: "
                "pip install 'hwnas_jax[energy]'"
            ) from error
        try:
            self._nvml.nvmlInit()
            self._handle = self._open(device)
            self.name = str(self._nvml.nvmlDeviceGetName(self._handle))
            self._millijoules()
        except self._nvml.NVMLError as error:
            raise UserError(
                f"profile.energy: NVML gives no energy of {device.device_kind!r} ({error}); "
                "GPUs count it from Volta on"
            ) from error

    def _open(self, device: jax.Device) -> Any:
        number = getattr(device, "local_hardware_id", None)
        number = device.id if number is None else number
        visible = [w for w in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if w.strip()]
        wanted = visible[number].strip() if number < len(visible) else str(number)
        if wanted.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(wanted))
        return self._nvml.nvmlDeviceGetHandleByUUID(wanted)

    def _millijoules(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def idle_w(self, seconds: float = _IDLE_S) -> float:
        """Returns the power in watts that the GPU draws while nothing runs."""
        millijoules, lasted_s, _ = self._between_updates(lambda: time.sleep(1e-3), seconds)
        return 1e-3 * millijoules / lasted_s

    def per_call_mj(self, call: Callable[[], Any], seconds: float) -> float:
        """Returns the millijoules of one call, from a stretch of at least `seconds` of calls."""
        jax.block_until_ready(call())
        millijoules, _, calls = self._between_updates(
            lambda: jax.block_until_ready(call()), seconds
        )
        return millijoules / calls

    def _between_updates(self, work: Callable[[], Any], seconds: float) -> tuple[float, float, int]:
        """Works from an update of the counter to one at least `seconds` later.

        Returns:
          Millijoules, seconds, and how often `work` was called.
        """
        first_mj, begin_s = self._next_update(work)[:2]
        calls = 0
        while time.perf_counter() - begin_s < seconds:
            work()
            calls += 1
        last_mj, end_s, more = self._next_update(work)
        return last_mj - first_mj, end_s - begin_s, calls + more

    def _next_update(self, work: Callable[[], Any]) -> tuple[int, float, int]:
        """Works until the counter changes; returns it, the time, and the calls."""
        before, started, calls = self._millijoules(), time.perf_counter(), 0
        while time.perf_counter() - started < _PATIENCE_S:
            work()
            calls += 1
            now = self._millijoules()
            if now != before:
                return now, time.perf_counter(), calls
        raise UserError(
            f"profile.energy: the energy counter of {self.name} stood still for {_PATIENCE_S:.0f} s"
        )


def measure_energy(
    calls: Sequence[Callable[[], Any]],
    meter: EnergyMeter,
    *,
    seconds: float,
    seed: int,
    on_round: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Measures the energy of every call, several times, each time in a fresh random order.

    Args:
      calls: what is measured.
      meter: of the GPU that runs them.
      seconds: the least length of a stretch of calls.
      seed: of the orders.
      on_round: called with `(rounds done, rounds)`.

    Returns:
      Of each call the sample in millijoules per call.
    """
    rng = np.random.default_rng(seed)
    found = np.zeros((len(calls), ROUNDS))
    for turn in range(ROUNDS):
        for i in rng.permutation(len(calls)):
            found[i, turn] = meter.per_call_mj(calls[i], seconds)
        if on_round is not None:
            on_round(turn + 1, ROUNDS)
    return [summarise(row) for row in found]
