"""Compiles programs before their first call, and says whether they fit into memory."""

import contextlib
import ctypes
import dataclasses
import functools
import gc
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from hwnas_jax.errors import UserError
from hwnas_jax.nn.platform import target_platform

_MIB = 2**20
_HELPS = {
    "batch_size": "a smaller {}",
    "accumulate": "a larger {}",
    "rematerialise": "{} = true",
    "dtype": "{} = bfloat16",
}
_CPU_OPTIONS: dict[str, str | int] = {
    # The barriers between the parts of an operation stay. Without them XLA computes a node of a
    # cell again in every operation that reads it. The pass that makes one kernel of a small loop
    # cannot emit barriers and would end the process, so it is left out as well.
    "xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting",
    # YNNPACK is used for sums alone: its plain convolutions take twice as long as Eigen's.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    # This preset unrolls no loops: compiling takes up to a third less time, steps are 2 % faster
    # and take less memory.
    "xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE",
    "xla_backend_optimization_level": 2,
    # XLA takes half of this width by default. Where the machine has vectors of 512 bits, steps take
    # 1 to 3 % less time with them.
    "xla_cpu_prefer_vector_width": 512,
    # This order of operations takes a sixth less memory at the same speed.
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled dispatch, and the compiler's own figures for one device.

    Attributes:
      call: the dispatch; it cannot compile again, and refuses other shapes and placements.
      lower_seconds: time spent tracing and lowering.
      compile_seconds: time spent compiling, or reading the compilation cache.
      argument_bytes: memory of everything passed in.
      output_bytes: memory of everything returned.
      alias_bytes: part of the output that takes the place of donated arguments.
      temporary_bytes: memory of everything in between.
      code_bytes: size of the program itself.
      flops: as XLA counts them, which counts the body of a loop once.
      bytes_accessed: likewise.
    """

    call: jax.stages.Compiled
    lower_seconds: float
    compile_seconds: float
    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temporary_bytes: int
    code_bytes: int
    flops: float
    bytes_accessed: float

    @property
    def new_bytes(self) -> int:
        """The memory that a call needs beside its arguments."""
        return self.output_bytes - self.alias_bytes + self.temporary_bytes + self.code_bytes

    @property
    def total_bytes(self) -> int:
        """The memory that a call needs, its arguments included."""
        return self.argument_bytes + self.new_bytes

    @property
    def summary(self) -> str:
        """The figures as one line for the terminal."""
        return (
            f"step compiled in {self.lower_seconds + self.compile_seconds:.1f} s: "
            f"{self.total_bytes / _MIB:.0f} MiB per device of which "
            f"{self.temporary_bytes / _MIB:.0f} temporary"
        )

    def check_fits(self, devices: Sequence[jax.Device], what: str, helps: str) -> None:
        """Raises UserError when a call needs more memory than is free beside its arguments.

        Args:
          devices: the devices that the program runs on.
          what: what runs, for the message.
          helps: settings that make it smaller, from `memory_help`.
        """
        free = free_bytes(devices)
        if free is not None and self.new_bytes > free:
            raise UserError(
                f"{what} does not fit: a step needs {self.new_bytes / _MIB:.0f} MiB per device "
                f"({self.temporary_bytes / _MIB:.0f} of them temporary) beside state and data, "
                f"and {free / _MIB:.0f} MiB are free. What helps: {helps}"
            )


def compile_ahead(dispatch: Any, state: Any, data: Any, what: str, helps: str) -> Program:
    """Lowers and compiles a dispatch for the arguments that it will be called with.

    Args:
      dispatch: from `Replicas.compile`.
      state: its first argument, or the shapes of it.
      data: its second argument, or the shapes of it.
      what: what runs, for messages.
      helps: settings that make it smaller, from `memory_help`.

    Raises:
      UserError: when the compiler finds that the program does not fit the device.
    """
    started = time.perf_counter()
    with no_garbage_collection():
        lowered = dispatch.lower(state, data)
    lowered_at = time.perf_counter()
    try:
        compiled = lowered.compile(compiler_options=compiler_options())
    except jax.errors.JaxRuntimeError as error:
        message, _, _ = str(error).partition("\n\n")
        code, _, reason = message.partition(":")
        if code != "RESOURCE_EXHAUSTED":
            raise
        reason = " ".join(reason.split())
        raise UserError(
            f"{what} does not fit, says the compiler: {reason} What helps: {helps}"
        ) from error
    finished_at = time.perf_counter()
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    del lowered
    _return_freed()
    return Program(
        call=compiled,
        lower_seconds=lowered_at - started,
        compile_seconds=finished_at - lowered_at,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=float(costs.get("flops", 0.0)),
        bytes_accessed=float(costs.get("bytes accessed", 0.0)),
    )


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keeps the garbage collector from looking through the million objects that tracing makes.

    None of them is garbage, and looking through them took a fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _return_freed() -> None:
    """Gives the memory that compiling has freed back to the system, which glibc would not do."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


@functools.cache
def _are_known(*options: tuple[str, str | int]) -> bool:
    try:
        jax.jit(lambda x: x, compiler_options=dict(options)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def compiler_options() -> dict[str, str | int]:
    """Returns the XLA options with which programs that take gradients are fastest on a CPU.

    They go to `jax.jit(step, compiler_options=...)` as well. There are none for other targets. An
    option that the environment variable `XLA_FLAGS` names is left out, and so is one that the
    installed XLA does not know.
    """
    if target_platform() != "cpu":
        return {}
    flags = os.environ.get("XLA_FLAGS", "").split()
    named = {flag.lstrip("-").partition("=")[0] for flag in flags}
    options = [item for item in _CPU_OPTIONS.items() if item[0] not in named]
    if not _are_known(*options):
        options = [item for item in options if _are_known(item)]
    return dict(options)


def memory_help(section: str, settings: Any, *, platform: str | None = None) -> str:
    """Returns the settings of `config.<section>` that make its step smaller, as text.

    Args:
      section: name of the section ("search").
      settings: the section itself; only settings that it has are named.
      platform: of the devices. More devices do not help on CPU, where they share one memory.
    """
    names = [field.name for field in dataclasses.fields(settings)]
    found = [text.format(f"{section}.{key}") for key, text in _HELPS.items() if key in names]
    if (platform or jax.default_backend()) != "cpu":
        found.append("more devices")
    return ", ".join(found)


def free_bytes(devices: Sequence[jax.Device]) -> int | None:
    """Returns how many bytes are free on each device of this process, or None when unknown.

    Devices that keep no account of their memory (CPU) share what the machine has available.
    """
    own = [device for device in devices if device.process_index == jax.process_index()]
    accounts = [device.memory_stats() or {} for device in own]
    if all("bytes_limit" in account for account in accounts):
        return min(account["bytes_limit"] - account["bytes_in_use"] for account in accounts)
    available = available_bytes()
    return None if available is None else available // len(own)


def available_bytes(table: Path = Path("/proc/meminfo")) -> int | None:
    """Returns the available memory of the machine, or all of it where there is no `table`."""
    try:
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
