"""Architecture files: versioned JSON with the space and the names of the options."""

from pathlib import Path

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json, write_json
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.build import from_spec

_FORMAT = "hwnas_jax.architecture"


def save_architecture(path: Path, space: Space, architecture: np.ndarray) -> None:
    """Writes `architecture` (`int32[D]`) so that it can be read, and rebuilt years later."""
    write_json(
        Path(path),
        {
            "format": _FORMAT,
            "version": 1,
            "space": space.spec,
            "architecture": space.to_names(architecture),
            "string": space.to_string(architecture),
        },
    )


def load_architecture(path: Path) -> tuple[Space, np.ndarray]:
    """Returns the space and the architecture `int32[D]` of a file.

    Raises:
      UserError: names the file if it is absent, damaged or of an unknown version, or if it names
        an unknown space, decision or option.
    """
    path = Path(path)
    payload = read_json(path, "architecture file", file_format=_FORMAT)
    try:
        space = from_spec(payload["space"])
        return space, space.from_names(payload["architecture"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the architecture file {path} is damaged: {error!r}") from error
    except UserError as error:
        raise UserError(f"the architecture file {path}: {error}") from error
