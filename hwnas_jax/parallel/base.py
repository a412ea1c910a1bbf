"""What runs on the devices step by step: a search, a training, a strategy.

An `Experiment` says how a state begins, what one compiled call does to it, and which data that call
reads. One loop (`hwnas_jax.runs.loop`) runs every experiment, with checkpoints, a log, resuming and
clean stops; it never looks inside a state beyond its `key`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol


class Reads(Protocol):
    """The data of an experiment, either whole on every device or gathered for each call."""

    def resident(self) -> Any:
        """Returns what stays on the devices, a pytree of arrays with a dictionary at its top."""

    def stream(self, replicas: Any) -> Any:
        """Returns a `hwnas_jax.data.stream.Stream` of what each call reads."""


@dataclasses.dataclass(frozen=True)
class Resident:
    """Data that lie whole on every device and are never streamed.

    Attributes:
      arrays: a pytree of arrays with a dictionary at its top.
    """

    arrays: dict[str, Any]

    def resident(self) -> dict[str, Any]:
        """Returns the arrays."""
        return self.arrays

    def stream(self, replicas: Any) -> Any:
        """Raises ValueError: an experiment on such data has `streams` false."""
        raise ValueError("these data are kept on the devices and cannot be streamed")


def no_parts(tree: Any) -> dict[str, Any]:
    """Returns the whole as one part without a name."""
    return {"": tree}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Something that runs in equal steps, several of them in one compiled call.

    Attributes:
      name: names the folder of its checkpoints.
      describe: what runs, for progress and messages.
      init: returns the initial state, unreplicated; it has `step` and `key`.
      dispatch: `(state, data) -> (state, info)`, a pure function that takes `per_dispatch` steps;
        `info` is a NamedTuple whose leaves are stacked over those steps.
      data: what a call reads.
      total: steps in all.
      per_dispatch: steps per call; divides `total - start`.
      start: steps that the initial state has taken already.
      streams: whether each replica gets data of its own, gathered on the host.
      checkpoint_every: steps between checkpoints, rounded up to whole calls.
      keep: how many checkpoints are kept.
      log: constant values of its log lines.
      parts: splits a state or an info into what has a log line each, by name.
      extra: from a part's state, further values of its log line.
      inputs: `(step, read_state) -> dict`, more entries of the data, asked for before every call:
        with the steps done and a function that returns the state.
      helps: what makes a step smaller that does not fit into memory.
    """

    name: str
    describe: str
    init: Callable[[], Any]
    dispatch: Callable[[Any, Any], tuple[Any, Any]]
    data: Reads
    total: int
    per_dispatch: int
    start: int = 0
    streams: bool = False
    checkpoint_every: int = 1
    keep: int = 3
    log: dict[str, Any] = dataclasses.field(default_factory=dict)
    parts: Callable[[Any], dict[str, Any]] = no_parts
    extra: Callable[[Any], dict[str, Any]] = lambda state: {}
    inputs: Callable[[int, Callable[[], Any]], dict[str, Any]] = lambda step, read_state: {}
    helps: str = "a smaller batch"


def steps_per_dispatch(total: int, wanted: int) -> int:
    """Returns the largest divisor of `total` up to `wanted`, so that one program serves all calls.

    >>> steps_per_dispatch(100, 30)
    25
    """
    return max(size for size in range(1, min(total, wanted) + 1) if total % size == 0)
