"""The user's cache folder, for files that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the cache folder, which need not exist yet.

    It is `$HWNAS_CACHE` if that is set, `$XDG_CACHE_HOME/hwnas_jax` if that one is, and otherwise
    `~/.cache/hwnas_jax`.
    """
    own = os.environ.get("HWNAS_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "hwnas_jax"
