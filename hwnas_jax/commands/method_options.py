"""How a method is chosen on the command line, and given options of its own.

    --search.relaxation drnas learning_rate 0.03
    --search.relaxation.name drnas --search.relaxation.args learning_rate 0.03
    --search.relaxation.name drnas --search.relaxation.args.learning_rate 0.03

mean the same; the longer forms name the keys as a config does. The search space and the data
source, which have further settings, are chosen by their keys alone. An option that is a list is
written with commas, and one that is a table as JSON:

    --data.name scenes --data.args tasks class_object,normal
    --task.name several --task.args weights '{"normal": 2.0}'

The options of one method mean nothing to another. So whoever names another method than the config
does begins with that method's defaults.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from hwnas_jax.config import Config, DataConfig, SpaceConfig, override
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Options, Part, option_value

METHODS = ConstructorRegistry()
"""Tells tyro how a `Part` is shown in the help. `take_methods` reads it before tyro does."""


@METHODS.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Part] | None:
    if info.type is not Part:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME [OPTION VALUE ...]",
        instance_from_str=lambda words: Part(words[0]),
        is_instance=lambda value: isinstance(value, Part),
        str_from_instance=lambda part: [
            part.name, *(str(word) for pair in part.args.items() for word in pair)
        ],
    )  # fmt: skip


def take_methods(words: Sequence[str], config: Config) -> tuple[list[str], Config]:
    """Takes methods and their options out of a command line.

    Args:
      words: of the command line.
      config: gives the defaults.

    Returns:
      The other words, and the config with the methods that were named.

    Raises:
      UserError: for a method without its name, or an option without its value.
    """
    methods = dict(_methods(config))
    rest, named = _taken(words, lambda flag: _is_name(flag, methods))
    options = []
    for flag, values in named:
        if not values:
            raise UserError(f"{flag} needs a name; `hwnas list` names what there is")
        path = _keys(flag).removesuffix(".name")
        if methods[path].name != values[0]:
            methods[path] = dataclasses.replace(methods[path], name=values[0], args={})
        options.append((f"--{path}.args", values[1:]))
    rest, others = _taken(rest, lambda flag: _is_option(flag, methods))
    for flag, values in [*options, *others]:
        path, _, key = _keys(flag).partition(".args")
        pairs = [key.removeprefix("."), *values] if key else values
        own = {**methods[path].args, **read_options(pairs, path)}
        methods[path] = dataclasses.replace(methods[path], args=own)
    changes = {path.replace(".", "__"): method for path, method in methods.items()}
    return rest, override(config, **changes) if named or others else config


def _methods(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what has a `name` and `args` in a config, by its dotted keys."""
    for field in dataclasses.fields(value):
        own, path = getattr(value, field.name), f"{where}{field.name}"
        if isinstance(own, (Part, SpaceConfig, DataConfig)):
            yield path, own
        elif dataclasses.is_dataclass(own):
            yield from _methods(own, f"{path}.")


def _keys(flag: str) -> str:
    """Returns the dotted keys of a config that a flag stands for.

    >>> _keys("--few-shot.learner.name")
    'few_shot.learner.name'
    """
    return flag.removeprefix("--").replace("-", "_")


def _is_name(flag: str, methods: Mapping[str, Any]) -> bool:
    """Returns whether a flag names a method."""
    path = _keys(flag)
    return path.removesuffix(".name") in methods and (
        path.endswith(".name") or isinstance(methods[path], Part)
    )


def _is_option(flag: str, methods: Mapping[str, Any]) -> bool:
    """Returns whether a flag is an option of a method that tyro does not know."""
    path, found, key = _keys(flag).partition(".args")
    method = methods.get(path)
    if method is None or not found:
        return False
    # Of the space and the data source, tyro knows the options that the config has.
    known = () if isinstance(method, Part) else method.args
    return key.removeprefix(".") not in known


def _taken(
    words: Sequence[str], wanted: Callable[[str], bool]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Returns the words that are not wanted, and the flags that are, each with its values."""
    left, rest = list(words), []
    taken: list[tuple[str, list[str]]] = []
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or not wanted(flag):
            rest.append(word)
            continue
        values = [value] if equals else []
        one = flag.endswith(".name") or ".args." in flag
        while left and not left[0].startswith("--") and not (one and values):
            values.append(left.pop(0))
        taken.append((flag, values))
    return rest, taken


def read_options(words: Sequence[str], what: str) -> Options:
    """Returns a method's options by name.

    Args:
      words: names and values in turn.
      what: names the method in messages.

    Raises:
      UserError: when an option lacks its value.
    """
    if len(words) % 2:
        raise UserError(
            f"--{what}: options come in pairs, OPTION VALUE; {words[-1]!r} has no value after it"
        )
    return {
        name.replace("-", "_"): option_value(text)
        for name, text in zip(words[::2], words[1::2], strict=True)
    }
