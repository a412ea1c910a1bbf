"""Runs slow, independent jobs in processes and keeps each result as soon as it is there."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from hwnas_jax.errors import UserError

Progress = Callable[[int, int, str], None]
Key = TypeVar("Key", bound=Hashable)

_POLL_S = 0.5


def run_jobs(
    work: Callable[..., Any],
    jobs: Mapping[Key, tuple[Any, ...]],
    keep: Callable[[Key, Any], None],
    *,
    workers: int | None = None,
    done: int = 0,
    what: str = "jobs",
    progress: Progress | None = None,
) -> None:
    """Calls `work(*arguments)` for every job.

    Args:
      work: a function of a module; it runs in spawned processes, which inherit nothing.
      jobs: arguments by key.
      keep: called here with a key and its result, in the order in which they are ready.
      workers: processes; None takes one per core.
      done: jobs that were finished before, for the progress.
      what: names the jobs in the progress and in messages.
      progress: called with `(done, total, what)` twice a second. When it raises, jobs that have not
        begun are dropped.

    Raises:
      UserError: when a process dies, or there are no workers.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be positive, got {workers}")
    report = progress or (lambda done, total, what: None)
    total = done + len(jobs)
    report(done, total, what)
    if not jobs:
        return
    # Forked processes would lack the threads that the libraries have started.
    context = multiprocessing.get_context("spawn")
    count = min(workers or os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start) as pool:
        pending = {pool.submit(work, *arguments): key for key, arguments in jobs.items()}
        try:
            while pending:
                ready = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED).done
                for future in ready:
                    keep(pending.pop(future), future.result())
                    done += 1
                report(done, total, what)
        except BrokenProcessPool as error:
            raise UserError(
                f"{what}: a process died, perhaps for want of memory; {done} of {total} are kept: "
                "run the same again, with fewer workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start() -> None:
    """Prepares a process. It uses the CPU only and leaves interrupts to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
