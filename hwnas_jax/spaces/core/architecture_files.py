"""Architecture files: versioned JSON with the space and the names of the options."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import read_typed
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.build import from_spec

_FORMAT = "hwnas_jax.architecture"


@dataclasses.dataclass(frozen=True)
class _File:
    """What the file holds: the space, the option of each decision, and the same as one text."""

    space: dict[str, Any]
    architecture: dict[str, str]
    string: str | None = None


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
    found = read_typed(path, _File, "architecture file", file_format=_FORMAT)
    try:
        space = from_spec(found.space)
        architecture = space.from_names(found.architecture)
        if found.string not in (None, space.to_string(architecture)):
            raise UserError(
                f"its string is {found.string!r:.200}, and that of its architecture is "
                f"{space.to_string(architecture)!r}: change one of them, or leave out the string"
            )
        return space, architecture
    except UserError as error:
        raise UserError(f"the architecture file {path}: {error}") from error
