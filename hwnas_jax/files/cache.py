"""Where files live that can be made again: the user's cache folder."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns `$HWNAS_CACHE`, else `$XDG_CACHE_HOME/hwnas_jax`, else `~/.cache/hwnas_jax`.

    The folder need not exist yet.
    """
    own = os.environ.get("HWNAS_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "hwnas_jax"
