"""The compiled programs of this process, dropped before they use up its memory maps."""

import gc
from pathlib import Path

import jax

_PROCESS = Path("/proc/self/maps")
_LIMIT = Path("/proc/sys/vm/max_map_count")


def drop_if_many(share: float = 0.5) -> bool:
    """Drops all compiled programs once they hold a share of the memory maps a process may have.

    JAX keeps what it compiled, on a CPU in a few memory maps each. A search leaves thousands of
    Linux's 65,530, and where none is left the compiler crashes; so a process that makes several
    runs, as a notebook does, calls this between their stages. A dropped program compiles again,
    from the compilation cache, when it is called again.

    Args:
      share: of the maps, from 0 to 1.

    Returns:
      Whether they were dropped; never where the system does not tell how many maps there are.
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
