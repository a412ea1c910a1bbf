"""How a method is chosen on the command line, and given options of its own.

    --search.relaxation drnas learning_rate 0.03
    --search.relaxation.name drnas --search.relaxation.args learning_rate 0.03

mean the same. The second form names the keys as a config does.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Options, Part

METHODS = ConstructorRegistry()
"""Tells tyro how to read a `Part`."""


@METHODS.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Part] | None:
    if info.type is not Part:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME [OPTION VALUE ...]",
        instance_from_str=_part,
        is_instance=lambda value: isinstance(value, Part),
        str_from_instance=_words,
    )


def in_short_form(words: Sequence[str], config: Config) -> tuple[list[str], Config]:
    """Takes `--PATH.name` and `--PATH.args` of every method out of a command line.

    Args:
      words: of the command line.
      config: gives the defaults.

    Returns:
      The other words, and the config with the methods that were named.

    Raises:
      UserError: for a name or an option without its value.
    """
    parts = dict(_parts(config))
    flags = {f"--{path}.{key}": (path, key) for path in parts for key in ("name", "args")}
    rest: list[str] = []
    changes: dict[str, Part] = {}
    number = 0
    while number < len(words):
        flag, equals, value = words[number].partition("=")
        number += 1
        if flag not in flags:
            rest.append(words[number - 1])
            continue
        values = [value] if equals else []
        while number < len(words) and not words[number].startswith("--"):
            values.append(words[number])
            number += 1
        path, key = flags[flag]
        part = changes.get(path, parts[path])
        if key == "args":
            part = dataclasses.replace(part, args={**part.args, **_options(values, flag)})
        elif len(values) == 1:
            # The options of one method mean nothing to another.
            part = part if part.name == values[0] else Part(values[0])
        else:
            raise UserError(f"{flag} needs one name, got {' '.join(values) or 'none'}")
        changes[path] = part
    if changes:
        config = override(config, **{path.replace(".", "__"): p for path, p in changes.items()})
    return rest, config


def _parts(value: Any, where: str = "") -> Iterator[tuple[str, Part]]:
    """Yields the methods of a config by their dotted keys."""
    for field in dataclasses.fields(value):
        own, path = getattr(value, field.name), f"{where}{field.name}"
        if isinstance(own, Part):
            yield path, own
        elif dataclasses.is_dataclass(own):
            yield from _parts(own, f"{path}.")


def _part(words: list[str]) -> Part:
    if not words:
        raise UserError("a method needs a name; `hwnas list` names what there is")
    name, *rest = words
    return Part(name, _options(rest, name))


def _options(words: Sequence[str], what: str) -> Options:
    """Returns pairs of an option and its value; UserError when one lacks its value."""
    if len(words) % 2:
        raise UserError(
            f"{what}: options come in pairs, OPTION VALUE; {words[-1]!r} has no value after it"
        )
    return {
        name.replace("-", "_"): _value(text)
        for name, text in zip(words[::2], words[1::2], strict=True)
    }


def _value(text: str) -> int | float | bool | str:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def _words(part: Part) -> list[str]:
    return [part.name, *(str(word) for pair in part.args.items() for word in pair)]
