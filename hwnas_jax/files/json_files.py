"""Writes JSON files whole or not at all, and says clearly what is wrong with a damaged one."""

import glob
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError


def write_json(path: Path, payload: Any) -> None:
    """Writes `payload` beside `path`, then renames it into place."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(payload, indent=1) + "\n")
    partial.replace(path)


def finite(value: Any) -> Any:
    """Returns plain values with null in place of numbers that JSON cannot say: NaN, infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path, what: str, *, file_format: str | None = None, version: int = 1) -> Any:
    """Returns the content of a JSON file.

    Args:
      path: the file.
      what: names it in messages ("architecture file").
      file_format: the `format` that it must declare, if any.
      version: the `version` that it must declare along with its format.

    Raises:
      UserError: when the file is absent, damaged, of another format or of an unknown version.
    """
    try:
        payload = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"no {what} {path}") from error
    except OSError as error:
        raise UserError(f"cannot read the {what} {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"the {what} {path} is damaged: {error}") from error
    if file_format is not None:
        if not isinstance(payload, dict) or payload.get("format") != file_format:
            raise UserError(f"{path} is no {what}: its format is not {file_format!r}")
        if payload.get("version") != version:
            raise UserError(
                f"the {what} {path} has version {payload.get('version')!r}; known is {version}"
            )
    return payload


def load_or_offer(path: Path, load: Callable[[Path], Any]) -> Any:
    """Returns `load(path)`; when that fails, the message names the newest file that is good.

    The files looked through are those of the same name in the neighbouring folders.
    """
    path = Path(path)
    try:
        return load(path)
    except UserError as error:
        pattern = f"*/{glob.escape(path.name)}"
        others = [p for p in path.absolute().parent.parent.glob(pattern) if p.is_file()]
        others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
        for other in others:
            if other == path.absolute():
                continue
            try:
                load(other)
            except UserError:
                continue
            end = "" if str(error).endswith((".", "?")) else "."
            raise UserError(f"{error}{end} The newest good one is {other}") from error
        raise
