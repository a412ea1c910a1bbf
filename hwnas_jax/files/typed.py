"""JSON as dataclasses: every value is checked against the type and range of its field."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from hwnas_jax.errors import UserError, choose
from hwnas_jax.registry import reason

T = TypeVar("T")


def parse_dataclass(kind: type[T], text: str, what: str) -> T:
    """Builds a dataclass from JSON.

    Args:
      kind: the dataclass; its fields may be dataclasses again, and say their ranges as in
        `Annotated[float, annotated_types.Gt(0)]`.
      text: the JSON of an object with its fields.
      what: names the whole in messages ("config").

    Raises:
      UserError: names the key, the value seen and the values allowed.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    for one in _kinds(kind):
        one.__pydantic_config__ = ConfigDict(  # type: ignore[attr-defined]
            extra="forbid", allow_inf_nan=False, strict=True
        )
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as errors:
        raise UserError(_explain(kind, errors.errors()[0], what)) from None


def flat(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Returns nested values by their dotted keys.

    >>> flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{where}{key}.")
        else:
            found[f"{where}{key}"] = value
    return found


def _kinds(kind: Any) -> list[type]:
    hints = typing.get_type_hints(kind)
    inner = [_kinds(hint) for hint in hints.values() if dataclasses.is_dataclass(hint)]
    return [kind, *(one for kinds in inner for one in kinds)]


def _explain(kind: Any, error: Mapping[str, Any], what: str) -> str:
    """Returns what is wrong with a value, and what is allowed there."""
    place = [str(part) for part in error["loc"]]
    key = ".".join(place)
    holder = _holder(kind, place)
    if error["type"] == "unexpected_keyword_argument" and holder is not None:
        where = ".".join([what, *place[:-1]])
        choose(place[-1], [f.name for f in dataclasses.fields(holder)], f"key of {where}")
    if error["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        choose(str(error["input"]), allowed, f"value of {key}")
    if error["type"] == "dataclass_type":
        return f"{key or what} must be a table of keys, got {error['input']!r}"
    return f"{key} = {error['input']!r} {reason(error)}"


def _holder(kind: Any, place: list[str]) -> Any:
    """Returns the dataclass that holds the key at `place`."""
    for name in place[:-1]:
        kind = typing.get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
    return kind if dataclasses.is_dataclass(kind) else None
