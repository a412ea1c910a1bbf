"""The one loop that runs every experiment: progress, log lines, checkpoints, divergence, stops."""

import contextlib
import functools
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hwnas_jax.compile.ahead import compile_ahead
from hwnas_jax.data.stream import Stream
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import finite
from hwnas_jax.files.json_text import parse_json
from hwnas_jax.files.typed import check_value
from hwnas_jax.files.whole import inner_folder, refuse_link, write_whole
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.base import Experiment
from hwnas_jax.parallel.progress import Progress, StopRequest, quiet
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs.checkpoint import Checkpoints


class MetricsLog:
    """Appends JSON lines to a file; on resuming, forgets lines after the checkpoint."""

    def __init__(self, path: Path, **constant: Any):
        self.path, self.constant = Path(path), constant

    def rewind(self, step: int) -> None:
        """Drops this log's lines of later steps, and what is no line of a log, as after a crash."""
        if not self.path.exists():
            return
        kept = []
        for text in self.path.read_bytes().splitlines():
            with contextlib.suppress(UserError):
                line = check_value(dict[str, Any], parse_json(text), "line")
                own = all(line.get(key) == value for key, value in self.constant.items())
                if not own or check_value(int, line.get("step"), "step") <= step:
                    kept.append(text + b"\n")
        write_whole(self.path, b"".join(kept))

    def write(self, **values: Any) -> None:
        """Appends one line."""
        refuse_link(self.path)
        with self.path.open("a") as file:
            file.write(json.dumps(finite({**self.constant, **values})) + "\n")


def run_experiment(
    experiment: Experiment,
    place: Replicas,
    *,
    folder: Path | None = None,
    from_step: int | None = None,
    progress: Progress = quiet,
) -> Any:
    """Runs an experiment to its end, from the newest checkpoint if there is one.

    The dispatch is compiled before the first call, and again only when the experiment's `inputs`
    change their shapes.

    Args:
      experiment: what runs.
      place: the devices.
      folder: the run folder, which takes `checkpoints/<name>/` and `metrics.jsonl`; None keeps
        nothing.
      from_step: the checkpoint to continue from; None takes the newest.
      progress: reports steps done.

    Returns:
      The final state, unreplicated.

    Raises:
      UserError: when a step does not fit into memory, before the first one; for a damaged
        checkpoint; when a reported value is not finite, naming the step.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    checkpoints = log = None
    if folder is not None:
        where = inner_folder(inner_folder(folder, "checkpoints"), experiment.name)
        checkpoints = Checkpoints(where, keep=experiment.keep, last=experiment.total)
        if distributed.is_first():
            log = MetricsLog(folder / "metrics.jsonl", **experiment.log)
    try:
        return _run(experiment, place, checkpoints, log, from_step, progress)
    finally:
        if checkpoints is not None:
            checkpoints.close()


def _run(
    experiment: Experiment,
    place: Replicas,
    checkpoints: Checkpoints | None,
    log: MetricsLog | None,
    from_step: int | None,
    progress: Progress,
) -> Any:
    total, per_dispatch, describe = experiment.total, experiment.per_dispatch, experiment.describe
    done, state = experiment.start, experiment.init()
    if checkpoints is not None:
        found = checkpoints.restore(state, step=from_step)
        if found is not None:
            done, state = found
    if log is not None:
        log.rewind(done)
    progress(done, total, describe)
    dispatch = place.compile(experiment.dispatch, own_data=experiment.streams)
    data: Any = experiment.data
    data = data.stream(place) if experiment.streams else place.share(data.resident())
    placed = place.place(state)
    placed_inputs = _Placed(place, experiment.streams)
    every = max(1, math.ceil(experiment.checkpoint_every / per_dispatch)) * per_dispatch
    started = time.perf_counter()
    with (
        distributed.last_words(lambda: "" if checkpoints is None else checkpoints.safe()),
        _dispatches(data, state, range(done, total, per_dispatch)) as reads,
    ):
        program, compiled_for = None, None
        for given in reads:
            inputs = experiment.inputs(done, functools.partial(place.read, placed))
            read = {**given, **placed_inputs(inputs)}
            if program is None or compiled_for != _shapes(read):
                compiled_for = _shapes(read)
                own_state, own_data = place.lowered_as(placed, read)
                program = compile_ahead(dispatch, own_state, own_data, describe, experiment.helps)
                program.check_fits(place.devices, describe, experiment.helps)
                progress(0, 0, program.summary)
            # Without this, one that still compiles would keep the others waiting in a collective,
            # which gives up after half a minute.
            distributed.exchange(None)
            placed, info = program.call(placed, read)
            info = jax.tree.map(np.asarray, place.read(info))
            infos = experiment.parts(info)
            for name, values in infos.items():
                _check_finite(values, done, f"{describe} {name}".rstrip(), checkpoints)
            done += per_dispatch
            if log is not None:
                seconds = time.perf_counter() - started
                for name, part in experiment.parts(place.read(placed)).items():
                    means = {k: float(value.mean()) for k, value in infos[name]._asdict().items()}
                    whose = {"member": name} if name else {}
                    line = {**means, **experiment.extra(part), "step": done, "seconds": seconds}
                    log.write(**whose, **line)
            stopping = StopRequest.agree()
            if checkpoints is not None and (done % every == 0 or done == total or stopping):
                checkpoints.save(done, place.read(placed))
            if stopping and done < total:
                if checkpoints is not None:
                    checkpoints.close()
                distributed.exchange(None)
                StopRequest.check(f"stopped {describe} at step {done} of {total}")
            progress(done, total, describe)
    place.check_identical(placed)
    return place.read(placed)


class _Placed:
    """Places an experiment's inputs on the devices, each only when it is another object."""

    def __init__(self, place: Replicas, own_data: bool):
        self._place, self._own_data = place, own_data
        self._known: dict[str, tuple[Any, Any]] = {}

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        for name, value in inputs.items():
            if name not in self._known or self._known[name][0] is not value:
                self._known[name] = value, self._put(value)
        return {name: self._known[name][1] for name in inputs}

    def _put(self, value: Any) -> Any:
        if not self._own_data:
            return self._place.share(value)
        copies = len(self._place.own)
        return self._place.spread(jax.tree.map(lambda leaf: np.stack([leaf] * copies), value))


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
