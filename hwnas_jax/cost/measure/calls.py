"""Compiled networks and operations, kept for the whole process so that none is compiled twice.

A profile, the measurements before retraining and those after it time many of the same networks.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas_jax.cost.measure.build import Call
from hwnas_jax.cost.measure.runtimes import Runtime
from hwnas_jax.spaces.base import Operation, Space

_MOST = 256

_KEPT: OrderedDict[tuple[Any, ...], Call] = OrderedDict()


def compiled_calls(
    runtime: Runtime,
    space: Space,
    architectures: np.ndarray,
    operations: Mapping[str, Operation],
    batch_size: int,
    on_compiled: Callable[[int, int], None] | None = None,
) -> tuple[list[Call], list[Call]]:
    """Returns the calls of networks and operations; those made before are not compiled again.

    Args:
      runtime: what runs them.
      space: the search space.
      architectures: `int32[N, D]`.
      operations: of the space, by name.
      batch_size: images per call.
      on_compiled: called with `(done, total)`.

    Returns:
      The calls of the networks and of the operations, in the order given.
    """
    place = (runtime.name, json.dumps(runtime.options, sort_keys=True),
             json.dumps(space.spec, sort_keys=True), batch_size)  # fmt: skip
    networks = [(*place, "network", *row) for row in np.asarray(architectures).tolist()]
    parts = [(*place, "operation", name) for name in operations]
    wanted = dict.fromkeys([*networks, *parts])
    ready = {key: _KEPT.pop(key) for key in wanted if key in _KEPT}
    missing = [number for number, key in enumerate(networks) if key not in ready]
    lacking = [name for key, name in zip(parts, operations, strict=True) if key not in ready]
    total = len(networks) + len(parts)
    made = runtime.compile_all(
        space, [architectures[number] for number in missing],
        [operations[name] for name in lacking], batch_size,
        None if on_compiled is None else lambda done: on_compiled(len(ready) + done, total),
    )  # fmt: skip
    new = [networks[number] for number in missing]
    new += [key for key in parts if key not in ready]
    found = ready | dict(zip(new, [*made[0], *made[1]], strict=True))
    _KEPT.update(found)
    while len(_KEPT) > max(_MOST, len(found)):
        _KEPT.popitem(last=False)
    return [found[key] for key in networks], [found[key] for key in parts]


def forget_calls() -> None:
    """Drops all compiled calls of the process, with the memory they hold."""
    _KEPT.clear()
