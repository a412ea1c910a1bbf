"""Programs compiled before their first call: what they need, and whether that fits."""

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
    # Barriers between an operation's parts stay; without them a node of a cell is computed again
    # in every operation that reads it. What makes one kernel of a small loop cannot emit them, and
    # ends the process.
    "xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting",
    # YNNPACK sums; its plain convolutions take twice as long as Eigen's.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    # No unrolled loops: up to a third less to compile, steps 2 % faster, less memory.
    "xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE",
    "xla_backend_optimization_level": 2,
    # Where there are vectors of 512 bits; XLA takes half of that. Steps take 1 to 3 % less.
    "xla_cpu_prefer_vector_width": 512,
    # A sixth less memory at the same speed.
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled dispatch and the compiler's own figures, each for one device.

    Attributes:
      call: the dispatch; it cannot compile again, and refuses other shapes and placements.
      lower_seconds: time spent tracing and lowering.
      compile_seconds: time spent compiling, or reading the compilation cache.
      argument_bytes: of everything passed in.
      output_bytes: of everything returned.
      alias_bytes: of what is returned in the place of donated arguments.
      temporary_bytes: of everything in between.
      code_bytes: of the program itself.
      flops: as XLA counts them, the body of a loop once.
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
        """What a call needs beside its arguments."""
        return self.output_bytes - self.alias_bytes + self.temporary_bytes + self.code_bytes

    @property
    def total_bytes(self) -> int:
        """What a call needs with its arguments."""
        return self.argument_bytes + self.new_bytes

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        return (
            f"step compiled in {self.lower_seconds + self.compile_seconds:.1f} s: "
            f"{self.total_bytes / _MIB:.0f} MiB per device of which "
            f"{self.temporary_bytes / _MIB:.0f} temporary"
        )

    def check_fits(self, devices: Sequence[jax.Device], what: str, helps: str) -> None:
        """Raises UserError when a call needs more memory than is free, its arguments in place.

        Args:
          devices: those the program runs on.
          what: what runs, for the message.
          helps: what needs less memory, from `memory_help`.
        """
        free = free_bytes(devices)
        if free is not None and self.new_bytes > free:
            raise UserError(
                f"{what} does not fit: a step needs {self.new_bytes / _MIB:.0f} MiB per device "
                f"({self.temporary_bytes / _MIB:.0f} of them temporary) beside state and data, "
                f"and {free / _MIB:.0f} MiB are free. What helps: {helps}"
            )


def compile_ahead(dispatch: Any, state: Any, data: Any, what: str, helps: str) -> Program:
    """Lowers and compiles a dispatch for what it will be called with.

    Args:
      dispatch: from `Replicas.compile`.
      state: what it will be called with, or shapes alone.
      data: likewise.
      what: what runs, for messages.
      helps: what needs less memory, from `memory_help`.

    Raises:
      UserError: when the compiler finds that the program does not fit the device.
    """
    started = time.perf_counter()
    with _no_garbage_collection():
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
def _no_garbage_collection() -> Iterator[None]:
    """Tracing makes a million objects to keep; looking through them again and again is a fifth."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _return_freed() -> None:
    """Gives what compiling took and freed back to the system; glibc keeps it otherwise."""
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
    """Returns the options of XLA with which programs that take gradients are fastest.

    For `jax.jit(step, compiler_options=...)` too; empty where the target is no CPU. What the
    environment's `XLA_FLAGS` names is left to it, and what the installed XLA does not know, out.
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
    """Returns what makes a step of `config.<section>` smaller, among the options there are.

    Args:
      section: name of the section ("search").
      settings: the section itself.
      platform: of the devices; CPU devices share one memory, so more of them do not help.
    """
    names = [field.name for field in dataclasses.fields(settings)]
    found = [text.format(f"{section}.{key}") for key, text in _HELPS.items() if key in names]
    if (platform or jax.default_backend()) != "cpu":
        found.append("more devices")
    return ", ".join(found)


def free_bytes(devices: Sequence[jax.Device]) -> int | None:
    """Returns the memory that is free on each of this process's devices; None when unknown.

    Devices that keep no account (CPU) share what the machine has available.
    """
    own = [device for device in devices if device.process_index == jax.process_index()]
    accounts = [device.memory_stats() or {} for device in own]
    if all("bytes_limit" in account for account in accounts):
        return min(account["bytes_limit"] - account["bytes_in_use"] for account in accounts)
    available = available_bytes()
    return None if available is None else available // len(own)


def available_bytes(table: Path = Path("/proc/meminfo")) -> int | None:
    """Returns the machine's available memory; all of its memory where it keeps no `table`."""
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
