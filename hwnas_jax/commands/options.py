"""What commands share: options, configs, and jobs of several processes."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hwnas_jax.commands.method_options import METHODS, take_methods
from hwnas_jax.config import Config, alone, load_config, validate
from hwnas_jax.display import Silent, Terminal
from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.files.typed import flat, safe_name
from hwnas_jax.parallel import distributed

Experiment = Annotated[Config, tyro.conf.arg(name="")]
"""The options of a config, without a prefix."""

_CONFIG_HELP = (
    "A config may come first, to set the defaults: a name from `hwnas list`, a .py or .json file."
)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run lies, how far it goes, and what it is given in place of its first stages."""

    run_dir: Path | None = None
    """the new run folder; runs/<name>-<time> when left out"""
    resume: Path | None = None
    """an existing run folder to continue"""
    from_step: int | None = None
    """with --resume: the search checkpoint to continue from; the newest when left out"""
    until: str = "report"
    """the last stage to run: profile, fit_cost, search, derive, retrain, measure or report"""
    measurements: Path | None = None
    """a measurement file to use in place of profiling, also of a device that is not here"""
    cost_model: Path | None = None
    """a cost model to use in place of profiling and fitting, also of a device that is not here"""
    config: Experiment = Config()

    def check(self) -> None:
        """Refuses an unknown stage, and options that go only with, or not with, `resume`."""
        from hwnas_jax.runs.run import STAGES

        choose(self.until, STAGES, "stage")
        if self.resume is None and self.from_step is not None:
            raise UserError("--from-step needs --resume, the run folder to continue")
        for name in ("run_dir", "measurements", "cost_model") if self.resume is not None else ():
            if getattr(self, name) is not None:
                raise UserError(f"--{name.replace('_', '-')} does not go with --resume")


def parse(
    kind: type, words: list[str], name: str, *, files: int = 0, several: bool = False,
    kept: Config | None = None,
) -> Any:  # fmt: skip
    """Parses `[FILE] [CONFIG] [--options]`; the config gives the defaults of the overrides.

    Args:
      kind: the dataclass of the options, with a field `config`.
      words: of the command line.
      name: of the command.
      files: how many files come first.
      several: whether the command runs in several processes.
      kept: the config to change, of a command that goes on with a finished run; none may be named.

    Raises:
      UserError: for a mistake in the config or in where it stands.
    """
    rest = list(words)
    resumed = resumed_folder(words) if kept is None else None
    given = len(rest) > files and not any(word.startswith("-") for word in rest[: files + 1])
    if kept is not None:
        if given:
            raise UserError(f"hwnas {name} keeps the config of its run; leave out {rest[files]}")
        base = kept
    elif resumed is not None:
        from hwnas_jax.runs.run import Run

        if given:
            raise UserError(f"a resumed run keeps its config; leave out {rest[0]}")
        base = Run.open(resumed).config
    else:
        base = load_config(rest.pop(files)) if given else load_config()
    if resumed is None and kept is None:
        base = _for_path(words, base, named=given)
    rest, base = take_methods(rest, base)
    required = {
        field.name: tyro.MISSING
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING
    }
    options = tyro.cli(
        kind, args=rest, default=kind(**required, config=base), prog=f"hwnas {name}",
        description=f"{inspect.cleandoc(kind.__doc__ or '')}\n\n{_CONFIG_HELP}", registry=METHODS,
    )  # fmt: skip
    validate(options.config)
    if ":" in options.config.space.name:
        from hwnas_jax.spaces import SPACES

        SPACES.find(options.config.space.name)
    if not several:
        parallel = options.config.parallel
        if parallel != alone(parallel):
            raise UserError(
                f"hwnas {name} runs in one process: leave out --parallel.coordinator, .processes, "
                ".process and .distributed; search and retrain run in several"
            )
    return options


def _for_path(words: Sequence[str], config: Config, *, named: bool) -> Config:
    """Returns the config to begin with for a command line that gives the path of own data.

    The default config is for data of a known size; without another one, that of the digits is
    taken, and the run is named after the path. Where the name of the source is left out, what the
    config says of data that are made, not read, would mean nothing.

    Args:
      words: of the command line.
      config: as it was named, or the default.
      named: whether the user named it.
    """
    path, name = _value(words, "--data.path"), _value(words, "--data.name")
    if path is None:
        return config
    from hwnas_jax.data import SOURCES

    def reads(source: str | None) -> bool:
        fields = dataclasses.fields(SOURCES[str(source)]) if source in SOURCES else ()
        return any(field.name == "path" for field in fields)

    if not named and (name is None or reads(name)):
        stem = Path(path).absolute().stem
        config = dataclasses.replace(load_config("digits"), name=safe_name(stem or "own"))
    if name is None and config.data.name in SOURCES and not reads(config.data.name):
        data = dataclasses.replace(config.data, name=None, args={})
        config = dataclasses.replace(config, data=data)
    return config


def resumed_folder(words: list[str]) -> Path | None:
    """Returns the folder that `--resume` names among the words of a command line."""
    folder = _value(words, "--resume")
    return None if folder is None else Path(folder)


def _value(words: Sequence[str], flag: str) -> str | None:
    """Returns what follows a flag among the words of a command line; None where nothing does."""
    for number, word in enumerate(words):
        if word == flag and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def data_and_space(config: Config) -> tuple[Any, Any]:
    """Returns the data set of a config and the search space for it."""
    from hwnas_jax.data import load_data
    from hwnas_jax.tasks import make_task, space_for, task_for

    data = load_data(config.data)
    task = make_task(task_for(config.task, data.task), data)
    return data, space_for(config, data, task)


def network_of(given: str, config: Config) -> tuple[Any, Any]:
    """Returns the space and the architecture `int32[D]` that the user names for a command.

    Args:
      given: an architecture file, which says its space; or an architecture of the config's space,
        in any form that `read_architecture` takes.
      config: names the space, and the data that give it its shape.

    Raises:
      UserError: when it is neither.
    """
    from hwnas_jax.cost.files.readers.numbered import read_architecture
    from hwnas_jax.files.json_files import load_or_offer
    from hwnas_jax.spaces.core.architecture_files import load_architecture

    if is_place(given, Path.exists) or given.lower().endswith(".json"):
        return load_or_offer(Path(given), load_architecture)
    _, space = data_and_space(config)
    where = f"there is no file {shown(given)}, and as an architecture of {space.name}"
    return space, read_architecture(given, space, where)


def is_place(text: str, check: Callable[[Path], bool]) -> bool:
    """Returns whether a path is there, by `Path.exists` or the like; false for what is no path."""
    try:
        return check(Path(text))
    except (OSError, ValueError):  # too long for a name, or with characters that no name has
        return False


def join(options: Any, folder: Path) -> None:
    """Joins the job of several processes that the options of a command describe, if any.

    Args:
      options: a dataclass with a field `config`.
      folder: what the command will write; a folder above it that exists is where they meet.

    Raises:
      UserError: when the processes cannot meet, or were not given the same options.
    """
    config = options.config
    above = [place for place in (folder, *folder.absolute().parents) if place.is_dir()]
    distributed.start(config.parallel, above[0])
    parallel = dataclasses.replace(alone(config.parallel), initialization_timeout_s=1)
    values = dataclasses.asdict(dataclasses.replace(config, parallel=parallel))
    own = {
        f"--{field.name.replace('_', '-')}": getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name != "config"
    }
    paths = {name: str(value) if isinstance(value, Path) else value for name, value in own.items()}
    distributed.check_same({**paths, **flat(values)}, "options")


def take_resumed(options: RunOptions, run: Any, *free: str) -> None:
    """Lets a run go on with the config of the options, where that may differ from its own.

    Args:
      options: of the command.
      run: as it was opened.
      free: keys of the config that may always change, such as "parallel".

    Raises:
      UserError: names what was changed and may not be, or what the data are too few for; when a
        run could no longer time its networks; or when the search that is to begin at an earlier
        step is finished.
    """
    from hwnas_jax.data.sizes import check_search_sizes
    from hwnas_jax.runs.checks import check_config
    from hwnas_jax.runs.decided_again import decide_again
    from hwnas_jax.runs.resumed import check_changes, take_config

    changed = check_changes(run, options.config, free)
    if options.from_step is not None and run.finished("search"):
        raise UserError(f"--from-step: the search of {run.folder} is finished")
    check_config(options.config)
    if changed:
        check_search_sizes(options.config, run.dataset, searched=run.for_search.dataset)
    decided = decide_again(run, options.config, changed)
    take_config(run, options.config, changed)
    if decided is not None:
        decided.take(run)


def job_display() -> Silent:
    """Returns what shows progress: the terminal of process 0, nothing elsewhere."""
    return Terminal() if distributed.is_first() else Silent()
