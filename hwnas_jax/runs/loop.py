"""Runs compiled steps to the end: progress, log lines, checkpoints, divergence, clean stops.

A search and a training differ in their step, not in this.
"""

import contextlib
import functools
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hwnas_jax.compile.ahead import compile_ahead
from hwnas_jax.data.stream import Stream
from hwnas_jax.errors import UserError
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress, StopRequest, quiet
from hwnas_jax.parallel.replicas import Dispatch, Replicas
from hwnas_jax.runs.checkpoint import Checkpoints


class MetricsLog:
    """Appends JSON lines to a file; on resuming, forgets lines after the checkpoint."""

    def __init__(self, path: Path, **constant: Any):
        self.path, self.constant = Path(path), constant

    def rewind(self, step: int) -> None:
        """Drops this log's lines of later steps, and a line cut off by a crash."""
        if not self.path.exists():
            return
        kept = []
        for text in self.path.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            own = all(line.get(key) == value for key, value in self.constant.items())
            if not own or line["step"] <= step:
                kept.append(text)
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text("".join(f"{text}\n" for text in kept))
        partial.replace(self.path)

    def write(self, **values: Any) -> None:
        """Appends one line."""
        with self.path.open("a") as file:
            file.write(json.dumps({**self.constant, **values}) + "\n")


def steps_per_dispatch(total: int, wanted: int) -> int:
    """Returns the largest divisor of `total` up to `wanted`, so that one program serves all calls.

    >>> steps_per_dispatch(100, 30)
    25
    """
    return max(size for size in range(1, min(total, wanted) + 1) if total % size == 0)


def run_steps(
    dispatch: Dispatch,
    state: Any,
    data: Any,
    *,
    total: int,
    per_dispatch: int,
    replicas: Replicas,
    describe: str,
    helps: str = "a smaller batch",
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 1,
    from_step: int | None = None,
    log: MetricsLog | None = None,
    extra: Callable[[Any], dict[str, Any]] = lambda state: {},
    parts: Callable[[Any], dict[str, Any]] = lambda tree: {"": tree},
    start: int = 0,
    prepare: Callable[[int, Callable[[], Any], Any], Any] = lambda step, read_state, data: data,
    progress: Progress = quiet,
) -> Any:
    """Runs `total` steps, from the newest checkpoint if there is one.

    The dispatch is compiled before the first step, and again only when `prepare` returns arrays of
    other shapes.

    Args:
      dispatch: `Replicas.compile` of a function that runs `per_dispatch` steps and returns info
        whose leaves are stacked over those steps.
      state: the initial state, unreplicated.
      data: what every dispatch reads, on the devices; or a stream of it.
      total: steps in all.
      per_dispatch: steps per call; divides `total - start`.
      replicas: the devices.
      describe: what runs, for progress and messages.
      helps: what makes a step smaller that does not fit, from `memory_help`.
      checkpoints: where the state is kept, if anywhere.
      checkpoint_every: steps between checkpoints, rounded up to whole dispatches.
      from_step: the checkpoint to continue from; None takes the newest.
      log: takes one line per dispatch and part, the mean of its infos.
      extra: more values for the line, or others in place of a mean, from a part's state.
      parts: splits a state or an info into what has a log line of its own, by name; the name is
        the line's `member`. By default the whole, without a name.
      start: steps that the initial state has taken already.
      prepare: `(step, read_state, data) -> data`, called before every dispatch with the steps
        done, a function that returns the state, unreplicated, and what would be read; returns
        what the dispatch reads.
      progress: reports steps done.

    Returns:
      The final state, unreplicated.

    Raises:
      UserError: when a step does not fit into memory, before the first one; when a loss or norm
        is not finite, naming the step.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    done = start
    if checkpoints is not None:
        found = checkpoints.restore(state, step=from_step)
        if found is not None:
            done, state = found
    if log is not None:
        log.rewind(done)
    progress(done, total, describe)
    placed = replicas.place(state)
    every = max(1, math.ceil(checkpoint_every / per_dispatch)) * per_dispatch
    started = time.perf_counter()
    with (
        distributed.last_words(lambda: "" if checkpoints is None else checkpoints.safe()),
        _dispatches(data, state, range(done, total, per_dispatch)) as reads,
    ):
        program, compiled_for = None, None
        for given in reads:
            read = prepare(done, functools.partial(replicas.read, placed), given)
            if program is None or compiled_for != _shapes(read):
                compiled_for = _shapes(read)
                own_state, own_data = replicas.lowered_as(placed, read)
                program = compile_ahead(dispatch, own_state, own_data, describe, helps)
                program.check_fits(replicas.devices, describe, helps)
                progress(0, 0, program.summary)
            placed, info = program.call(placed, read)
            info = jax.tree.map(np.asarray, replicas.read(info))
            infos = parts(info)
            for name, values in infos.items():
                _check_finite(values, done, f"{describe} {name}".rstrip(), checkpoints)
            done += per_dispatch
            if log is not None:
                seconds = time.perf_counter() - started
                for name, part in parts(replicas.read(placed)).items():
                    means = {k: float(value.mean()) for k, value in infos[name]._asdict().items()}
                    whose = {"member": name} if name else {}
                    line = {**means, **extra(part), "step": done, "seconds": seconds}
                    log.write(**whose, **line)
            stopping = StopRequest.agree()
            if checkpoints is not None and (done % every == 0 or done == total or stopping):
                checkpoints.save(done, replicas.read(placed))
            if stopping and done < total:
                if checkpoints is not None:
                    checkpoints.close()
                distributed.exchange(None)
                StopRequest.check(f"stopped {describe} at step {done} of {total}")
            progress(done, total, describe)
    replicas.check_identical(placed)
    return replicas.read(placed)


def _dispatches(data: Any, state: Any, starts: range) -> Any:
    """Returns a context that yields what each dispatch reads."""
    if isinstance(data, Stream):
        return data.running(state.key, starts)
    return contextlib.nullcontext(itertools.repeat(data, len(starts)))


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _check_finite(info, done, describe, checkpoints):
    for key, values in info._asdict().items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            kept = ""
            if checkpoints is not None:
                checkpoints.close()
                steps = checkpoints.steps()
                kept = (
                    f"; the last good checkpoint is step {steps[-1]}"
                    if steps
                    else "; there is no checkpoint yet"
                )
            raise UserError(
                f"{describe}: {key} is {values[bad[0]]} at step {done + int(bad[0]) + 1}{kept}. "
                "A lower learning rate usually helps"
            )
