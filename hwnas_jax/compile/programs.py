"""Drops the compiled programs of this process before they use up its memory maps."""

import gc
from pathlib import Path

import jax

_PROCESS = Path("/proc/self/maps")
_LIMIT = Path("/proc/sys/vm/max_map_count")


def drop_if_many(share: float = 0.5) -> bool:
    """Drops all compiled programs when this process holds many of the memory maps it may have.

    JAX keeps every program that it has compiled, on a CPU in a few memory maps each. A search
    leaves thousands of them. Linux allows a process 65,530, and the compiler crashes when none is
    left. A process that makes several runs, as a notebook does, therefore calls this between the
    stages. A dropped program compiles again when it is called, usually from the compilation cache.

    Args:
      share: the share of the allowed maps, from 0 to 1, at which programs are dropped.

    Returns:
      Whether they were dropped. They never are where the system does not say how many maps there
      are.
    """
    try:
        held = _PROCESS.read_bytes().count(b"\n")
        allowed = int(_LIMIT.read_text())
    except OSError:
        return False
    if held < share * allowed:
        return False
    gc.collect()
    jax.clear_caches()
    return True
