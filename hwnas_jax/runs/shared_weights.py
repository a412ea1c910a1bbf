"""What a finished run's shared weights say of networks, without training any of them.

Legend: `n` architectures, `D` decisions.
"""

import dataclasses
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.errors import UserError, choose
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.given import Architecture, as_architectures
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.strategy_search import bench_of
from hwnas_jax.search.evaluators import EVALUATORS, Bench, SharedWeights

_PROGRAMS: weakref.WeakKeyDictionary[RunParts, Callable[..., dict[str, jax.Array]]] = (
    weakref.WeakKeyDictionary()
)


def evaluate(
    run: RunParts | Path | str,
    architectures: Iterable[Architecture],
    *,
    search: str | None = None,
    batches: int | None = 16,
    progress: Progress = quiet,
) -> dict[str, np.ndarray]:
    """Returns what the shared weights of a finished run say of any architectures of its space.

    Each architecture runs as one path through the trained supernet, on training examples of the
    data that were searched on, from which the supernet's weights did not learn. Every batch is
    normalised by its own statistics, as in the search. One program is compiled for all
    architectures; a `Run` keeps it for later calls, a folder is opened anew each time.

    Args:
      run: a run, or its folder.
      architectures: each a text (in the space's notation, the numbers of its options as "[0,3,1]",
        or a row of a table as "TABLE:6111"), a mapping from the names of decisions to those of
        options, or `int[D]`; an array `int[n, D]` holds several.
      search: the label of one search, for a run of several.
      batches: batches to judge by, of the search's batch size; None takes all there are.
      progress: reports how many are judged.

    Returns:
      `{metric: float32[n]}`: the task's metrics and its mean `loss`.

    Raises:
      UserError: when the search is not finished or has no shared weights, for what is no
        architecture of its space, and for `batches` below one.

    References: Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform
    Sampling", ECCV 2020.
    """
    if not isinstance(run, RunParts):
        run = Run.open(Path(run))
    if batches is not None and batches < 1:
        raise UserError(f"batches must be positive, got {batches}")
    given = run.for_search
    number, weights = weights_of(run, search)
    asked = as_architectures(run.space, architectures)
    config = dataclasses.replace(given.config, seed=run.members[number].seed)
    bench = bench_of(given.space, given.dataset, given.task, config, weights)
    arrays = jax.device_put(SharedWeights(batches).arrays(bench))
    program = _program(run, bench)
    found = []
    for done, architecture in enumerate(asked, 1):
        found.append({name: value[0] for name, value in program(arrays, architecture).items()})
        progress(done, len(asked), "judged by the supernet")
    return {name: np.array([one[name] for one in found], np.float32) for name in found[0]}


def weights_of(run: RunParts, label: str | None) -> tuple[int, np.ndarray]:
    """Returns the number of the search called `label`, and the weights that its networks share.

    Raises:
      UserError: when there is no such search, or it is not finished or has no shared weights.
    """
    found = Found.load(run.folder, run.for_search.space, len(run.members))
    if found.weights is None:
        raise UserError(_without_weights(run))
    number = search_number(run, label)
    return number, found.weights[number]


def search_number(run: RunParts, label: str | None) -> int:
    """Returns the number of the search called `label`.

    Raises:
      UserError: when there is none, or when there are several and none is named.
    """
    labels = [member.label for member in run.members]
    if label is None and len(labels) > 1:
        raise UserError(
            f"{run.folder} holds several searches; name one, on the command line with --search: "
            f"{', '.join(labels)}"
        )
    return labels.index(choose(label or labels[0], labels, "search"))


def _program(run: RunParts, bench: Bench) -> Callable[..., dict[str, jax.Array]]:
    """Returns `(arrays, int32[D]) -> {metric: float32[1]}`, compiled once for a run."""
    if run not in _PROGRAMS:
        bare = dataclasses.replace(bench, data=None, weights=None)
        judge, highest, key = SharedWeights(), jnp.int32(0), jax.random.key(0)
        _PROGRAMS[run] = jax.jit(
            lambda arrays, one: judge.evaluate(bare, arrays, one[None], highest, key)
        )
    return _PROGRAMS[run]


def _without_weights(run: RunParts) -> str:
    search = run.config.search
    having = [name for name in EVALUATORS if EVALUATORS[name].needs_weights]
    return (
        f"{run.folder} has no shared weights: its strategy {search.strategy.name!r} judged "
        f"networks by {search.evaluator.name!r}. A search by gradients (search.strategy gradient) "
        f"has them, and so has a strategy with search.evaluator {' or '.join(having)}"
    )
