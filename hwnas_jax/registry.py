"""Methods by name: built in, from an installed package, or from a user's own file.

Every kind of method (relaxation, budget, strategy, task, ...) has one `Registry`. A method is a
class; its options are its constructor's arguments, checked against their annotations. A name is

  one of the registry's own      drnas
  an installed package's         named by an entry point in the registry's group
  a class of a user's file       my_method.py:MyMethod
  a class of a module            my_package.my_module:MyMethod
"""

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from hwnas_jax.errors import UserError, choose, shown

T = TypeVar("T")

SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
"""Kinds of parameters that take any number of arguments; they are no options."""

Options = dict[str, int | float | bool | str]
"""Plain values by name. A list is written as a text, "a,b", and a table as JSON, '{"a": 2}'."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A method by its name, with options of its own."""

    name: str
    """what it is called; `hwnas list` names what there is, or your own: my_method.py:MyMethod"""
    args: Options = dataclasses.field(default_factory=dict)
    """the method's own options"""

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Returns the method that a text names, with its options behind commas.

        >>> Part.parse("evolution,population=20")
        Part(name='evolution', args={'population': 20})

        Raises:
          UserError: for an option without its value.
        """
        name, *pairs = text.split(",")
        args: Options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not (key and equals and value):
                raise UserError(
                    f"{text!r}: options are written OPTION=VALUE after commas, got {pair!r}"
                )
            args[key.strip().replace("-", "_")] = option_value(value)
        return cls(name.strip(), args)

    @property
    def label(self) -> str:
        """The name with the options that were given.

        >>> Part("mlp", {"members": 4}).label
        'mlp members=4'
        """
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.args.items())])


def option_value(text: str) -> int | float | bool | str:
    """Returns what a word of the command line stands for: a truth value, a number or a text.

    >>> [option_value(text) for text in ("4", "0.5", "true", "mean")]
    [4, 0.5, True, 'mean']
    """
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


class Registry(Generic[T]):
    """The methods of one kind.

    Args:
      kind: what a method is called in messages ("relaxation").
      base: the class that all methods derive from; its abstract methods are the contract.
      group: the entry point group that other packages register theirs under.
      given: constructor arguments that are not options: the program passes them itself.
    """

    def __init__(self, kind: str, base: type[T], group: str, given: tuple[str, ...] = ()):
        self.kind, self.base, self.group, self.given = kind, base, group, given
        self._own: dict[str, type[T]] = {}
        self._admitted: dict[str, type[T]] = {}

    def add(self, method: type[T]) -> type[T]:
        """Registers a class under its `name`; a decorator.

        Raises:
          ValueError: when the name is taken.
        """
        name: str = method.name  # type: ignore[attr-defined]
        if name in self._own:
            raise ValueError(f"there is already a {self.kind} {name!r}: {self._own[name]}")
        self._own[name] = method
        return method

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, name: object) -> bool:
        return name in self._own

    def __getitem__(self, name: str) -> type[T]:
        return self._own[name]

    def summaries(self) -> dict[str, str]:
        """Returns a line for every method that can be named without a path."""
        lines = {
            name: method.summary  # type: ignore[attr-defined]
            for name, method in {**self._own, **self._admitted}.items()
        }
        return lines | {name: f"from {point.value}" for name, point in self._points.items()}

    @functools.cached_property
    def _points(self) -> dict[str, Any]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self.group)}

    def is_known(self, name: str) -> bool:
        """Returns whether `find` needs no user's code for this name, or has run it already."""
        return name in self._own or name in self._admitted or name in self._points

    def called(self, name: str) -> type[T] | None:
        """Returns the class whose own `name` this is, if it is built in or was found before.

        A file that a method wrote says the method's own name; reading it must not import anything.
        """
        found = (*self._own.values(), *self._admitted.values())
        return next((method for method in found if method.name == name), None)  # type: ignore[attr-defined]

    def find(self, name: str) -> type[T]:
        """Returns the class of a method; imports it when the name is a path.

        Only a name that the user gave may come here, since importing runs code.

        Raises:
          UserError: when there is no such method, or what is there lacks a part of the contract,
            or takes the name of a built-in one.
        """
        if name in self._own:
            return self._own[name]
        if name in self._admitted:
            return self._admitted[name]
        if name in self._points:
            method = self._points[name].load()
        elif ":" in name:
            method = self._import(name)
        else:
            choose(name, self.summaries(), self.kind)
        self._check(name, method)
        self._admitted[name] = method
        return method

    def make(self, part: Part, **given: Any) -> T:
        """Builds the method that `part` names.

        Args:
          part: name and options.
          **given: what the program itself passes to the constructor.

        Raises:
          UserError: for an unknown name or option, or a value of the wrong type or range.
        """
        method = self.find(part.name)
        options = checked_options(method, part.args, f"{self.kind} {part.name}", self.given)
        return method(**given, **options)

    def _check(self, name: str, method: Any) -> None:
        if not (inspect.isclass(method) and issubclass(method, self.base)):
            raise UserError(
                f"{name} is no {self.kind}: it must be a subclass of "
                f"{self.base.__module__}.{self.base.__qualname__}"
            )
        lacking = sorted(getattr(method, "__abstractmethods__", ()))
        lacking += [
            word for word in ("name", "summary") if not isinstance(getattr(method, word, None), str)
        ]
        if lacking:
            raise UserError(f"the {self.kind} {name} lacks {', '.join(lacking)}")
        own_name: str = method.name  # type: ignore[attr-defined]
        if own_name in self._own:
            raise UserError(
                f"{name} is called {own_name!r}, a name that a built-in {self.kind} has: "
                "give it another"
            )

    def _import(self, name: str) -> Any:
        where, _, attribute = name.rpartition(":")
        if not where.removesuffix(".py") or not attribute:
            raise UserError(
                f"{name!r} names no {self.kind}: write a file or a module, a colon and a class, "
                f"as in my_method.py:MyMethod"
            )
        module = import_module(where, name)
        if not hasattr(module, attribute):
            own = [
                n
                for n, value in vars(module).items()
                if inspect.isclass(value) and issubclass(value, self.base)
            ]
            choose(attribute, own, f"{self.kind} in {where}")
        return getattr(module, attribute)


def import_module(where: str, name: str) -> types.ModuleType:
    """Imports a Python file (`.py`) or a module by its dotted name.

    Args:
      where: the file or module.
      name: what the user wrote, for messages.

    Raises:
      UserError: when there is no such file, or it raises.
    """
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        path = Path(where).resolve()
        if not path.is_file():
            raise UserError(f"{name}: there is no file {path}")
        # Two files of the same name must not share a module, which annotations are looked up in.
        own = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(own, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[own] = module
        spec.loader.exec_module(module)
        return module
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def checked_options(
    method: Callable[..., Any], args: Mapping[str, Any], what: str, given: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns the options of a method when each has its type and range.

    Args:
      method: a class; its constructor's annotations say what is allowed, with ranges as in
        `Annotated[float, annotated_types.Gt(0)]`.
      args: the options given.
      what: names the method in messages.
      given: constructor arguments that are not options.

    Raises:
      UserError: names the option, the value seen and the values allowed.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    parameters = inspect.signature(method).parameters
    own = [
        name
        for name, parameter in parameters.items()
        if name not in given and parameter.kind not in SEVERAL
    ]
    hints = typing.get_type_hints(
        method if dataclasses.is_dataclass(method) else method.__init__,  # type: ignore[misc]
        include_extras=True,
    )
    checked = {}
    for key, value in args.items():
        choose(key, own, f"option of the {what}")
        checked[key] = value
        if key not in hints:
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(
            hints[key], config=ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
        )
        try:
            checked[key] = _allowed(adapter, value)
        except ValidationError as error:
            why = reason(error.errors()[0])
            raise UserError(f"{what}: {key} = {shown(value)} {why}") from None
        if isinstance(value, bool) and not isinstance(checked[key], bool):
            raise UserError(  # a literal 1 takes True for itself
                f"{what}: {key} = {value} must be a number, not true or false"
            )
    missing = [
        name
        for name in own
        if name not in args and parameters[name].default is inspect.Parameter.empty
    ]
    if missing:
        raise UserError(f"the {what} needs {', '.join(missing)}")
    return checked


def _allowed(adapter: Any, value: Any) -> Any:
    """Returns a value as an option has it: where that is a list or a table, a text may say it.

    Args:
      adapter: of the option's type.
      value: as it was given.

    Raises:
      ValidationError: when it is not allowed.
    """
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as refused:
        if not isinstance(value, str):
            raise
        words = [option_value(word.strip()) for word in value.split(",")]
        text = value if value.lstrip().startswith(("[", "{")) else json.dumps(words)
        try:
            return adapter.validate_json(text, strict=True)
        except ValidationError as within:
            # Where the option is a list, its members are what is wrong.
            member = within.errors()[0]["loc"][:1]
            raise (within if member and isinstance(member[0], int) else refused) from None


def reason(error: Mapping[str, Any]) -> str:
    """Returns in plain words what a validation error asks for ("must be greater than 0")."""
    text = str(error["msg"]).replace("Input should be", "must be")
    text = text.replace("a valid integer", "an integer").replace("a valid", "a")
    return text[:1].lower() + text[1:]
