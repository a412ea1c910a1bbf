"""One job of several processes: how they start together, agree with each other, and end.

Every process runs the same program and calls `start` before JAX touches a device. Process 0 does
what only one process should do. Outside a job these functions behave as for a job of one process.
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax

from hwnas_jax.config import ParallelConfig
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.sockets import Job, address, bind_host, gather

EXIT_CODE = 1
_GRACE_S = 5.0
_ABORT_S = 20.0

_job: Job | None = None
_leaving = threading.Lock()
_last_words: list[Callable[[], str]] = []


def start(config: ParallelConfig, folder: Path = Path()) -> None:
    """Joins the job that `config` describes, if it describes one.

    From then on all processes end when one of them is lost or ends before `finish`. Each says
    which checkpoint is safe on disk, and exits with code 1.

    Args:
      config: where the processes meet.
      folder: as `hwnas_jax.parallel.sockets.gather` takes it.

    Raises:
      UserError: when flags are missing or out of range, no cluster is detected, the coordinator
        does not answer, or processes stay away.
      RuntimeError: when this process is in a job already, or JAX has touched a device.
    """
    global _job  # noqa: PLW0603
    place = _place(config)
    if place is None:
        return
    if _job is not None:
        raise RuntimeError("this process is in a job already")
    coordinator, processes, process, local_devices = place
    started = time.monotonic()
    job = gather(coordinator, processes, process, config.initialization_timeout_s, folder)
    job.watch(_on_lost)
    _job = job
    _libc_signal(signal.SIGABRT, _on_abort)
    atexit.register(fail, EXIT_CODE, "its program ended early")
    host, port = address(coordinator)
    bind = bind_host(host)
    # JAX's service would take SIGTERM for itself. `StopRequest.agree` handles stops here.
    jax.config.update("jax_enable_preemption_service", False)
    remaining = config.initialization_timeout_s - (time.monotonic() - started)
    jax.distributed.initialize(
        coordinator, processes, process, local_device_ids=local_devices,
        cluster_detection_method="deactivate", initialization_timeout=max(10, int(remaining)),
        coordinator_bind_address=f"[{bind}]:{port}" if ":" in bind else f"{bind}:{port}",
    )  # fmt: skip
    # JAX opens the devices only when all processes do, so no process may wait for another before.
    jax.devices()


def is_first() -> bool:
    """Returns whether this is the process that does what only one should do."""
    return _job is None or _job.process == 0


def processes() -> int:
    """Returns how many processes the job has; 1 without a job."""
    return 1 if _job is None else _job.processes


def exchange(value: Any, idle: Callable[[], None] = lambda: None) -> list[Any]:
    """Returns what every process gave, in order of their numbers; every process must call this.

    Args:
      value: anything JSON holds.
      idle: called twice a second while this process waits for others.
    """
    return [value] if _job is None else _job.exchange(value, idle)


def check_same(values: dict[str, Any], what: str) -> None:
    """Raises UserError in every process whose `values` differ from those of process 0.

    Args:
      values: by name, anything JSON holds.
      what: what the values are, for the message ("config").
    """
    own = json.loads(json.dumps(values))  # as it comes from another process: tuples are lists
    first = exchange(own)[0]
    differing = [key for key in first if first[key] != own.get(key)]
    if differing:
        key = differing[0]
        raise UserError(
            f"the processes of a job need the same {what}: {key} is {own.get(key)!r} here and "
            f"{first[key]!r} in process 0"
        )


@contextlib.contextmanager
def last_words(words: Callable[[], str]) -> Iterator[None]:
    """Adds `words()` to what is said when another process is lost inside the block."""
    _last_words.append(words)
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if _job is not None:
            # The usual reason is a lost process; `_on_lost` then ends this one in plainer words.
            time.sleep(2 * _GRACE_S)
        raise
    finally:
        _last_words.remove(words)


def name() -> str:
    """Returns how messages name this process in a job ("process 1 of 4: "), or an empty text."""
    return "" if _job is None else f"process {_job.process} of {_job.processes}: "


def finish() -> None:
    """Waits until all processes have come here, and ends the job."""
    global _job  # noqa: PLW0603
    if _job is None:
        return
    _job.exchange(None)
    _job.leave()
    jax.distributed.shutdown()
    _job = None


def fail(code: int, reason: str) -> None:
    """Ends this process with `code` and tells the others why; does nothing outside a job.

    Show the reason to the user before. A normal exit would wait for the other processes, which may
    be waiting for this one.
    """
    if _job is None:
        return
    _leaving.acquire()
    _job.leave(reason)
    _exit(code)


def _on_lost(process: int, reason: str | None) -> None:
    """Says which process was lost and what is safe on disk, and ends this process."""
    if reason is not None:
        # When all were asked to stop, or all found the same mistake, each says so itself first.
        time.sleep(_GRACE_S)
    _leaving.acquire()
    said = "was lost" if reason is None else f"stopped ({reason})"
    sys.stderr.write(f"error: {name()}process {process} {said}")
    sys.stderr.flush()
    words = "; ".join(filter(None, (words() for words in _last_words)))
    sys.stderr.write(f"; {words}\n" if words else "\n")
    assert _job is not None
    _job.leave(reason, lost=process)
    _exit(EXIT_CODE)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(signum: int) -> None:
    """Delays the abort of a JAX that lost its coordinator, until `_on_lost` has said so."""
    del signum
    time.sleep(_ABORT_S)
    os._exit(EXIT_CODE)


def _libc_signal(number: int, handler: Any) -> None:
    # Python runs its own handlers between two byte codes of the main thread, too late for an abort.
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, type(handler)], ctypes.c_void_p
    libc.signal(number, handler)


def _exit(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _place(config: ParallelConfig) -> tuple[str, int, int, Any] | None:
    """Returns coordinator, processes, process and local devices, or None without a job."""
    given = {
        "coordinator": config.coordinator,
        "processes": config.processes,
        "process": config.process,
    }
    missing = [key for key, value in given.items() if value is None]
    if len(missing) < len(given):
        if missing:
            raise UserError(
                f"parallel.{', parallel.'.join(sorted(given.keys() - set(missing)))} given, but "
                f"not parallel.{', parallel.'.join(missing)}: a job of several processes needs "
                "all three; or leave all to --parallel.distributed on Slurm, Cloud TPU or Open MPI"
            )
        coordinator, processes, process = config.coordinator, config.processes, config.process
        assert coordinator is not None and processes is not None and process is not None
        address(coordinator)
        if process >= processes:
            raise UserError(
                f"parallel.process = {process} must lie in [0, {processes}), the number of "
                "parallel.processes"
            )
        return coordinator, processes, process, None
    return _detect(config.initialization_timeout_s) if config.distributed else None


def _detect(timeout_s: int) -> tuple[str, int, int, Any]:
    from jax._src.clusters import ClusterEnv

    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, timeout_s
        )
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UserError(
            f"parallel.distributed: detection of the cluster failed: {error}"
        ) from error
    coordinator, processes, process, local_devices = found
    if coordinator is None or processes is None or process is None:
        raise UserError(
            "parallel.distributed found no Slurm, Cloud TPU, Open MPI or Kubernetes job around "
            "this process; name --parallel.coordinator, --parallel.processes and "
            "--parallel.process instead"
        )
    return coordinator, processes, process, local_devices
