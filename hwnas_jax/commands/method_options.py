"""How a method is chosen on the command line, and given options of its own.

    --search.relaxation drnas learning_rate 0.03
    --search.relaxation.name drnas --search.relaxation.args learning_rate 0.03
    --search.relaxation.name drnas --search.relaxation.args.learning_rate 0.03

mean the same; the longer forms name the keys as a config does. The search space and the data
source, which have further settings, are chosen by their keys alone.

The options of one method mean nothing to another. So whoever names another method than the config
does begins with that method's defaults.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from hwnas_jax.config import Config, DataConfig, SpaceConfig, override
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
        instance_from_str=read_part,
        is_instance=lambda value: isinstance(value, Part),
        str_from_instance=_words,
    )


def take_method_keys(words: Sequence[str], config: Config) -> tuple[list[str], Config]:
    """Takes the keys of methods, such as `--budget.name` and `--budget.args`, out of a command.

    Args:
      words: of the command line.
      config: gives the defaults.

    Returns:
      The other words, and the config with the methods that were named.

    Raises:
      UserError: for a name or an option without its value.
    """
    methods = dict(_methods(config))
    rest, names = _taken(words, lambda flag: flag in {f"--{path}.name" for path in methods})
    for flag, values in names:
        path = flag.removeprefix("--").removesuffix(".name")
        if _only(values, flag) != methods[path].name:
            methods[path] = dataclasses.replace(methods[path], name=values[0], args={})
    rest, options = _taken(rest, lambda flag: _is_option(flag, methods))
    for flag, values in options:
        path, _, key = flag.removeprefix("--").partition(".args")
        pairs = [key.removeprefix("."), _only(values, flag)] if key else values
        own = {**methods[path].args, **_options(pairs, flag)}
        methods[path] = dataclasses.replace(methods[path], args=own)
    changes = {path.replace(".", "__"): method for path, method in methods.items()}
    return rest, override(config, **changes) if names or options else config


def _taken(
    words: Sequence[str], wanted: Callable[[str], bool]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Returns the words that are not wanted, and the flags that are, each with its values."""
    left, rest = list(words), []
    taken: list[tuple[str, list[str]]] = []
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if not wanted(flag):
            rest.append(word)
            continue
        values = [value] if equals else []
        most = len(left) + len(values) if flag.endswith(".args") else 1
        while left and len(values) < most and not left[0].startswith("--"):
            values.append(left.pop(0))
        taken.append((flag, values))
    return rest, taken


def _only(values: list[str], flag: str) -> str:
    if not values:
        raise UserError(f"{flag} needs a value after it")
    return values[0]


def _is_option(flag: str, methods: Mapping[str, Any]) -> bool:
    """Returns whether a flag is an option of a method that tyro does not know."""
    path, found, key = flag.removeprefix("--").partition(".args")
    method = methods.get(path)
    if method is None or not found:
        return False
    # Of the space and the data source, tyro knows the options that the config has.
    known = () if isinstance(method, Part) else method.args
    return key.removeprefix(".").replace("-", "_") not in known


def _methods(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what has a `name` and `args` in a config, by its dotted keys."""
    for field in dataclasses.fields(value):
        own, path = getattr(value, field.name), f"{where}{field.name}"
        if isinstance(own, (Part, SpaceConfig, DataConfig)):
            yield path, own
        elif dataclasses.is_dataclass(own):
            yield from _methods(own, f"{path}.")


def read_part(words: list[str]) -> Part:
    """Returns a method from its name and pairs of option and value.

    Raises:
      UserError: without a name, or for an option without its value.
    """
    if not words:
        raise UserError("a method needs a name; `hwnas list` names what there is")
    name, *rest = words
    return Part(name, _options(rest, name))


def _options(words: Sequence[str], what: str) -> Options:
    """Returns options by name; UserError when one lacks its value."""
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
