"""Writes JSON files whole or not at all, and says clearly what is wrong with a damaged one."""

import glob
import json
import math
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_text import parse_json
from hwnas_jax.files.whole import write_whole

LARGEST_MIB = 24
"""The largest JSON file that is read; the values of a hostile one take twenty times its size."""


def write_json(path: Path, payload: Any) -> None:
    """Writes `payload` whole or not at all; numbers that are not finite become null."""
    write_whole(path, json.dumps(finite(payload), indent=1, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Returns plain values with null in place of numbers that JSON cannot say: NaN, infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_bytes(path: Path, what: str, largest_mib: int = LARGEST_MIB) -> bytes:
    """Returns the content of a file that is small enough to be what it should be.

    Args:
      path: the file.
      what: names it in messages ("architecture file").
      largest_mib: its largest size.

    Raises:
      UserError: when it is absent, cannot be read, is no ordinary file, or is larger.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise UserError(f"cannot read the {what} {path}: it is no ordinary file")
        with path.open("rb") as file:
            content = file.read(largest_mib * 2**20 + 1)
    except FileNotFoundError as error:
        raise UserError(f"no {what} {path}") from error
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the {what} {path}: {reason}") from error
    if len(content) > largest_mib * 2**20:
        raise UserError(f"cannot read the {what} {path}: it is larger than {largest_mib} MiB")
    return content


def read_json(path: Path, what: str, *, file_format: str | None = None, version: int = 1) -> Any:
    """Returns the content of a JSON file, as `parse_json` takes it.

    Args:
      path: the file.
      what: names it in messages ("architecture file").
      file_format: the `format` that it must declare, if any.
      version: the `version` that it must declare along with its format.

    Raises:
      UserError: when the file is absent, damaged, of another format or of an unknown version.
    """
    try:
        payload = parse_json(read_bytes(path, what))
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"the {what} {path} is damaged: {error}") from error
    if file_format is not None:
        if not isinstance(payload, dict) or payload.get("format") != file_format:
            raise UserError(f"{path} is no {what}: its format is not {file_format!r}")
        found = payload.get("version")
        if isinstance(found, bool) or found != version:
            raise UserError(f"the {what} {path} has version {found!r:.40}; known is {version}")
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
