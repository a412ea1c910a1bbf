"""Configs from files and back: load, override, validate, save.

A config file is a Python file that sets `config = Config(...)`; its docstring carries the
command, the wall time and the result to expect.
"""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from hwnas_jax.config import experiment
from hwnas_jax.config.experiment import Config
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import read_json, write_json
from hwnas_jax.files.typed import check_value, parse_dataclass

_FORMAT = "hwnas_jax.config"
_VERSION = 2


def config_folder() -> Path:
    """Returns the folder of the configs that come with the package."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Returns the names of the configs that come with the package."""
    return sorted(path.stem for path in config_folder().glob("*.py"))


def load_config(name: str = "cluttered_digits") -> Config:
    """Loads a config by name, from a Python file, or from a run's `config.json`.

    Args:
      name: a name from `config_names()`, or a path ending in `.py` or `.json`.

    Raises:
      UserError: when there is no such config, or the file does not define one.
    """
    path = Path(name)
    if path.suffix not in {".json", ".py"}:
        path = config_folder() / f"{choose(name, config_names(), 'config')}.py"
    if not path.is_file():
        raise UserError(f"no config file {path}; configs by name: {', '.join(config_names())}")
    if path.suffix == ".json":
        payload = read_json(path, "config file", file_format=_FORMAT, version=_VERSION)
    try:
        if path.suffix == ".json":
            return check_value(Config, payload.get("config"), "config")
        return validate(_run_file(path))
    except UserError as error:
        raise UserError(f"config file {path}: {error}") from error


def _run_file(path: Path) -> Config:
    spec: Any = importlib.util.spec_from_file_location(f"hwnas_jax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        _name_unknown_keyword(error)
        raise UserError(f"{type(error).__name__}: {error}") from error
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise UserError("it must set `config = Config(...)`")
    return config


def _name_unknown_keyword(error: BaseException) -> None:
    """Says what is allowed where Python only says that a keyword is unexpected."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    kind = getattr(experiment, found[1], None) if found else None
    if found and dataclasses.is_dataclass(kind):
        choose(found[2], [field.name for field in dataclasses.fields(kind)], f"key of {found[1]}")


def save_config(config: Config, path: Path) -> None:
    """Writes the config, every value resolved, as versioned JSON."""
    write_json(
        Path(path), {"format": _FORMAT, "version": _VERSION, "config": dataclasses.asdict(config)}
    )


def override(config: Config, **changes: Any) -> Config:
    """Returns the config with changed values; nested keys are joined by two underscores.

    >>> override(Config(), seed=3, search__weights__decay=0.0).search.weights.decay
    0.0
    """
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        place = nested
        *parents, last = key.split("__")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return validate(_replaced(config, nested, "config"))


def _replaced(part: Any, changes: dict[str, Any], where: str) -> Any:
    names = [field.name for field in dataclasses.fields(part)]
    values = {}
    for name, value in changes.items():
        choose(name, names, f"key of {where}")
        current = getattr(part, name)
        nested = dataclasses.is_dataclass(current) and isinstance(value, dict)
        values[name] = _replaced(current, value, name) if nested else value
    return dataclasses.replace(part, **values)


def validate(config: Config) -> Config:
    """Returns `config` when every value has its type and range.

    Raises:
      UserError: names the key, the value seen and the values allowed.
    """
    try:
        text = json.dumps(dataclasses.asdict(config))
    except (TypeError, ValueError) as error:
        raise UserError(f"the config holds what is no plain value: {error}") from error
    parse_dataclass(Config, text, "config")
    profile, search = config.profile, config.search
    if profile.max_rounds < profile.rounds:
        raise UserError(
            f"profile.max_rounds = {profile.max_rounds} must not be below profile.rounds = "
            f"{profile.rounds}"
        )
    weights_alone = search.elastic.networks is not None and search.warmup_steps == search.steps
    if search.warmup_steps >= search.steps and not weights_alone:
        raise UserError(
            f"search.warmup_steps = {search.warmup_steps} must be below search.steps = "
            f"{search.steps}"
        )
    return config
