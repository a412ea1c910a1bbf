"""JSON as dataclasses: every value is checked against the type and range of its field.

A dataclass is the schema of a file: its fields are the keys, a field with a default may be absent,
and other keys are refused unless the class is `open_ended`. Types hold strictly ("5" is no number),
numbers are finite, and ranges are annotations, as in `Annotated[float, annotated_types.Gt(0)]`.
"""

import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Interval, Le, Predicate

from hwnas_jax.errors import UserError, choose, shortened
from hwnas_jax.files.json_files import read_json
from hwnas_jax.registry import reason

T = TypeVar("T")

_SAFE = re.compile(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]{0,99}")


def is_safe_name(name: str) -> bool:
    """Returns whether a text may become the name of a file or folder.

    >>> is_safe_name("0.25ms-seed1"), is_safe_name("../x"), is_safe_name(".hidden")
    (True, False, False)
    """
    return _SAFE.fullmatch(name) is not None


def safe_name(text: str) -> str:
    """Returns a text as a safe name, with a low line in place of every other character.

    >>> safe_name("12images/s-seed0")
    '12images_s-seed0'
    """
    return re.sub(r"[^A-Za-z0-9._+=-]|^\.", "_", text)[:100] or "_"


SafeName = Annotated[str, Predicate(is_safe_name)]
"""A text that becomes the name of a file."""

Amount = Annotated[float, Gt(0), Le(10**18)]
"""A positive number, such as a cost or a budget, that float32 can square."""

Probability = Annotated[float, Interval(ge=0, le=1)]
NotNegative = Annotated[float, Ge(0)]
Whole = Annotated[int, Ge(0)]


def open_ended(kind: type[T]) -> type[T]:
    """Marks a dataclass whose JSON may have keys beside its fields; a decorator."""
    kind.__open_ended__ = True  # type: ignore[attr-defined]
    return kind


def parse_dataclass(kind: type[T], text: str, what: str) -> T:
    """Builds a dataclass, or another type that pydantic knows, from JSON.

    Args:
      kind: the type; its fields may be dataclasses again.
      text: the JSON.
      what: names the whole in messages ("config").

    Raises:
      UserError: names the key, the value seen and the values allowed.
    """
    from pydantic import ValidationError

    try:
        adapter = _adapter(kind)  # type: ignore[arg-type]
        return adapter.validate_json(text, strict=True)
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


def check_value(kind: type[T], value: Any, what: str) -> T:
    """Builds a dataclass from plain JSON values; arguments and errors as `parse_dataclass`."""
    return parse_dataclass(kind, json.dumps(value), what)


def read_typed(
    path: Path, kind: type[T], what: str, *, file_format: str | None = None, version: int = 1
) -> T:
    """Reads a JSON file as a dataclass.

    Args:
      path: the file.
      kind: its schema, without the keys `format` and `version`.
      what: names the file in messages ("architecture file").
      file_format: the `format` that the file must declare, if any.
      version: the `version` that it must declare along with its format.

    Raises:
      UserError: names the file, the key, the value seen and the values allowed.
    """
    payload = read_json(path, what, file_format=file_format, version=version)
    if file_format is not None:
        payload = {k: v for k, v in payload.items() if k not in ("format", "version")}
    try:
        return check_value(kind, payload, "file")
    except UserError as error:
        raise UserError(f"the {what} {path}: {error}") from error


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    strict = ConfigDict(allow_inf_nan=False, strict=True)
    for one in _kinds(kind):
        extra: Any = "ignore" if "__open_ended__" in vars(one) else "forbid"
        config = ConfigDict(extra=extra, **strict)
        one.__pydantic_config__ = config  # type: ignore[attr-defined]
    own = None if dataclasses.is_dataclass(kind) else strict
    return TypeAdapter(kind, config=own)


def _kinds(hint: Any) -> set[type]:
    """Returns the dataclasses that a type is made of."""
    if not dataclasses.is_dataclass(hint):
        return {one for inner in typing.get_args(hint) for one in _kinds(inner)}
    assert isinstance(hint, type)
    inner = typing.get_type_hints(hint).values()
    return {hint}.union(*(_kinds(one) for one in inner))


def _explain(kind: Any, error: Mapping[str, Any], what: str) -> str:
    """Returns what is wrong with a value, and what is allowed there."""
    place: tuple[Any, ...] = error["loc"] or ("",)
    *parents, last = place
    key, within = place_of(place) or f"the {what}", place_of(parents) or f"the {what}"
    holder = _holder(kind, parents)
    if parents[-2:-1] == ["args"] and last in ("int", "float", "bool", "str"):
        return (
            f"{within} = {_shown(error['input'])} must be a number, true, false or a text; a list "
            "is written as a text with commas, and a table as JSON"
        )
    match error["type"]:
        case "unexpected_keyword_argument" if holder is not None:
            where = ".".join(filter(None, [what, place_of(parents)]))
            choose(str(last), [f.name for f in dataclasses.fields(holder)], f"key of {where}")
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            choose(str(error["input"]), allowed, f"value of {key}")
        case "missing":
            return f"{within} has no {last!r}"
        case "dataclass_type" | "dict_type":
            return f"{key} must be a table of keys, got {_shown(error['input'])}"
        case "list_type" | "tuple_type":
            return f"{key} must be a list, got {_shown(error['input'])}"
        case "too_short" if error["ctx"]["min_length"] == 1:
            return f"{key} must not be empty"
        case "predicate_failed":
            return (
                f"{key} = {_shown(error['input'])} must be of at most 100 letters, digits and "
                "._+=- and not begin with a dot, since it names files"
            )
    return f"{key} = {_shown(error['input'])} {reason(error)}"


def place_of(parts: typing.Iterable[str | int]) -> str:
    """Returns where a value is, by the keys and numbers that lead to it.

    >>> place_of(("networks", 3, "label"))
    'networks[3].label'
    """
    found = "".join(
        f"[{part}]" if isinstance(part, int) else f".{shortened(part)}" for part in parts
    )
    return found.removeprefix(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _holder(hint: Any, place: typing.Iterable[str | int]) -> Any:
    """Returns the dataclass at `place` within a type, or None."""
    for part in place:
        hint = _only(hint)
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            hint = typing.get_type_hints(hint).get(str(part))
        else:
            hint = (typing.get_args(hint) or (None,))[0 if isinstance(part, int) else -1]
    hint = _only(hint)
    return hint if dataclasses.is_dataclass(hint) else None


def _only(hint: Any) -> Any:
    """Returns the one type of an optional one."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return next((one for one in typing.get_args(hint) if one is not type(None)), None)
