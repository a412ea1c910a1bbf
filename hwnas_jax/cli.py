"""The command line: one short function per command."""

import ast
import dataclasses
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from hwnas_jax import distributed
from hwnas_jax.config import (
    Config,
    alone,
    config_folder,
    config_names,
    load_config,
    override,
    validate,
)
from hwnas_jax.display import Silent, Terminal, cost_fit_table
from hwnas_jax.errors import Interrupted, UserError, choose
from hwnas_jax.loop import StopRequest
from hwnas_jax.sweep_command import SweepOptions, run_sweep, show_sweep

Experiment = Annotated[Config, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """From this device to a network that meets its budget: all stages, one run folder."""

    run_dir: Path | None = None
    """the new run folder; runs/<name>-<time> when left out"""
    resume: Path | None = None
    """an existing run folder to continue"""
    from_step: int | None = None
    """with --resume: the search checkpoint to continue from; the newest when left out"""
    until: str = "report"
    """the last stage to run: profile, fit_cost, search, derive, retrain, measure or report"""
    measurements: Path | None = None
    """a measurement file to use in place of profiling"""
    cost_model: Path | None = None
    """a cost model to use in place of profiling and fitting"""
    compile_for: str | None = None
    """a TPU topology such as v5e:16x16: only compile the search step for it, and print its needs"""
    config: Experiment = Config()


@dataclasses.dataclass(frozen=True)
class ProfileOptions:
    """Times the operations of the space and a sample of its networks on this device."""

    out: Path = Path("measurements.json")
    """the measurement file to write"""
    config: Experiment = Config()


@dataclasses.dataclass(frozen=True)
class CostFitOptions:
    """Trains the learned cost model on a measurement file and judges it."""

    measurements: tyro.conf.Positional[Path]
    """the measurement file, or a published table (see hwnas cost eval)"""
    out: Path = Path("cost_model.npz")
    """the cost model to write"""
    device: str | None = None
    """for a table of several devices, which one"""
    task: str | None = None
    """for a table of several tasks, which one; the first when left out"""
    config: Experiment = Config()


@dataclasses.dataclass(frozen=True)
class RetrainOptions:
    """Trains the network of an architecture file from scratch and tests it."""

    architecture: tyro.conf.Positional[Path]
    """the architecture file"""
    out: Path | None = None
    """folder for checkpoints and metrics.jsonl; nothing is kept when left out"""
    config: Experiment = Config()


@dataclasses.dataclass(frozen=True)
class MeasureOptions:
    """Times the network of an architecture file on this device."""

    architecture: tyro.conf.Positional[Path]
    """the architecture file"""
    cost_model: Path | None = None
    """a cost model whose prediction is shown beside"""
    config: Experiment = Config()


@dataclasses.dataclass(frozen=True)
class DeriveOptions:
    """Derives the most probable architecture of a finished search, under any budget."""

    run: tyro.conf.Positional[Path]
    """the run folder"""
    target_ms: float | None = None
    """another budget; the run's own when left out"""
    out: Path = Path("architecture.json")
    """the architecture file to write"""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Writes the page of a run and its figures as JSON."""

    run: tyro.conf.Positional[Path]
    """the run folder"""


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Names the search spaces, relaxations, cost models, data sets, configs and devices."""


def search(words: list[str]) -> None:
    """Runs the whole job, or continues it."""
    from hwnas_jax.run import STAGES

    options = _parse(SearchOptions, words, "search")
    choose(options.until, STAGES, "stage")
    if options.compile_for is not None:
        _compile_for(options, options.compile_for)
        return
    _join(options.config)
    open_run = _new_run if options.resume is None else _resumed_run
    if distributed.is_first():
        run = open_run(options)
        distributed.exchange(str(run.folder.resolve()))
    else:
        run = _run_of_job(options, Path(distributed.exchange(None)[0]))
    display = run.display = _display()
    display.say(f"run folder {run.folder}")
    try:
        run.all(until=options.until, from_step=options.from_step)
    except Interrupted as stop:
        message = f"{stop}; continue with: hwnas search --resume {run.folder}"
        raise Interrupted(message, stop.signum) from None
    if distributed.is_first() and run.finished("report"):
        _show_result(run)


def _compile_for(options: SearchOptions, topology: str) -> None:
    """Prints what the search step takes on TPU chips; leaves no files."""
    from hwnas_jax.cost import load_cost_model
    from hwnas_jax.data import load_data
    from hwnas_jax.files import load_or_offer
    from hwnas_jax.spaces import make_space

    for name in ("run_dir", "resume", "from_step", "measurements"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} does not go with --compile-for")
    if "JAX_PLATFORMS" not in os.environ:
        import jax

        jax.config.update("jax_platforms", "cpu")  # no hardware is looked for, or taken
    from hwnas_jax.compile_for import compile_for, topology_devices

    topology_devices(topology)  # a mistake in its name shows before the data is read
    config, model = options.config, None
    data = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args, off=config.space.off,
        input_shape=data.image_shape, num_classes=data.num_classes,
    )  # fmt: skip
    if options.cost_model is not None:
        model = load_or_offer(options.cost_model, lambda path: load_cost_model(path, space))
    display = Terminal()
    with display.stage("compile") as report:
        report(0, 1, topology)
        step = compile_for(topology, space, data, config, cost_model=model)
        report(1, 1, topology)
    display.table(f"search step on {topology}", ("", "per step"), step.rows())
    display.say("the TPU compiler's estimate, not a measurement")


def sweep(words: list[str]) -> None:
    """Runs many searches in one program, or continues them."""
    from hwnas_jax.parallel import one_cpu_device_per_core

    one_cpu_device_per_core()
    run_sweep(_parse(SweepOptions, words, "sweep"))


def profile(words: list[str]) -> None:
    """Writes a measurement file."""
    from hwnas_jax.cost import profile as profile_space
    from hwnas_jax.data import load_data
    from hwnas_jax.spaces import make_space

    options = _parse(ProfileOptions, words, "profile")
    _check_out(options.out)
    config = options.config
    data = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args, off=config.space.off,
        input_shape=data.image_shape, num_classes=data.num_classes,
    )  # fmt: skip
    display = Terminal()
    with display.stage("profile") as report:
        measured = profile_space(space, config.profile, seed=config.seed, progress=report)
        measured.save(options.out)
    for note in measured.notes:
        display.say(note)
    display.say(f"wrote {options.out}")


def estimate(words: list[str]) -> None:
    """Writes a measurement file of hardware that is not here."""
    from hwnas_jax.commands.estimate import estimate as run

    run(words)


def cost_fit(words: list[str]) -> None:
    """Writes a cost model."""
    from hwnas_jax.cost import COST_MODELS, fit_cost
    from hwnas_jax.cost.readers import load_observations
    from hwnas_jax.files import load_or_offer

    options = _parse(CostFitOptions, words, "cost fit", files=1)
    _check_out(options.out)
    choose(options.config.cost.model, COST_MODELS, "cost model")
    seen = load_or_offer(
        options.measurements,
        lambda path: load_observations(path, device=options.device, task=options.task),
    )
    display = Terminal()
    with display.stage("cost fit") as report:
        model, fitted = fit_cost(
            seen.space, seen.observations, options.config.cost,
            seed=options.config.seed, progress=report,
        )  # fmt: skip
        model.save(options.out, seen.space)
    display.table(*cost_fit_table(fitted.to_dict()))
    for note in seen.notes:
        display.say(note)
    display.say(f"wrote {options.out}")


def cost_eval(words: list[str]) -> None:
    """Compares a cost model with measurements."""
    from hwnas_jax.commands.cost_eval import cost_eval as run

    run(words)


def cost_predict(words: list[str]) -> None:
    """Predicts what networks cost."""
    from hwnas_jax.commands.cost_predict import cost_predict as run

    run(words)


def cost_study(words: list[str]) -> None:
    """Compares cost models on a table."""
    from hwnas_jax.commands.cost_study import cost_study as study

    study(words)


def cost_transfer(words: list[str]) -> None:
    """Fits a cost model of a new device to few samples."""
    from hwnas_jax.commands.cost_transfer import cost_transfer as run

    run(words)


def derive(words: list[str]) -> None:
    """Writes an architecture file."""
    from hwnas_jax.run import Run
    from hwnas_jax.search import cost_range, resolve_target
    from hwnas_jax.spaces.files import save_architecture

    options = tyro.cli(DeriveOptions, args=words, prog="hwnas derive")
    _check_out(options.out)
    run = Run.open(options.run)
    _refuse_sweep(run.folder, "its networks are in architectures/")
    if not run.finished("search"):
        raise UserError(f"{run.folder} holds no finished search; continue it with --resume")
    if options.target_ms is not None:
        settings = override(run.config, target__ms=options.target_ms).target
        reachable = cost_range(
            run.space, run.cost_model, settings.metric, seed=run.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        resolve_target(settings, reachable)
    candidate = run.candidates(target_ms=options.target_ms)[0]
    save_architecture(options.out, run.space, candidate.architecture)
    display = Terminal()
    display.say(
        f"{run.space.to_string(candidate.architecture)}, predicted {candidate.predicted:.4g} ms"
    )
    display.say(f"wrote {options.out}")


def retrain(words: list[str]) -> None:
    """Trains one network and prints its accuracy."""
    import functools

    from hwnas_jax.data import load_data
    from hwnas_jax.files import load_or_offer
    from hwnas_jax.parallel import statistics_axis
    from hwnas_jax.spaces.files import load_architecture
    from hwnas_jax.train import train

    options = _parse(RetrainOptions, words, "retrain", files=1)
    _join(options.config)
    space, architecture = load_or_offer(options.architecture, load_architecture)
    data = load_data(options.config.data)
    if (data.image_shape, data.num_classes) != (space.input_shape, space.num_classes):
        raise UserError(
            f"{options.architecture} is for images {space.input_shape} and {space.num_classes} "
            f"classes; {data.name} has {data.image_shape} and {data.num_classes}"
        )
    if options.out is not None and distributed.is_first():
        _refuse_existing(options.out)
        options.out.mkdir(parents=True)
    distributed.exchange(None)
    display = _display()
    with display.stage("retrain") as report:
        trained = train(
            functools.partial(
                space.network, architecture, axis_name=statistics_axis(options.config.parallel)
            ),
            data, options.config, seed=options.config.seed, folder=options.out, progress=report,
        )  # fmt: skip
    display.say(
        f"test accuracy {trained.test_accuracy:.2%}, "
        f"validation accuracy {trained.validation_accuracy:.2%}"
    )


def measure(words: list[str]) -> None:
    """Times one network and prints it."""
    from hwnas_jax.cost import load_cost_model, measure_networks
    from hwnas_jax.cost.base import predict_architectures
    from hwnas_jax.files import load_or_offer
    from hwnas_jax.spaces.files import load_architecture

    options = _parse(MeasureOptions, words, "measure", files=1)
    space, architecture = load_or_offer(options.architecture, load_architecture)
    display = Terminal()
    with display.stage("measure") as report:
        measured = measure_networks(
            space, architecture[None], None, options.config.profile,
            seed=options.config.seed, progress=report,
        )  # fmt: skip
    timing = measured.clocked[0]
    display.say(
        f"{space.to_string(architecture)}: {timing.median:.4g} ms per call of "
        f"{options.config.profile.batch_size} images, spread {timing.iqr:.2g} ms"
    )
    for note in measured.conditions["notes"]:
        display.say(note)
    if options.cost_model is not None:
        model = load_or_offer(options.cost_model, lambda path: load_cost_model(path, space))
        predicted = predict_architectures(model, architecture[None], space.num_options)
        display.say(f"predicted {float(predicted['latency_ms'][0]):.4g} ms")


def export(words: list[str]) -> None:
    """Writes a network for other runtimes."""
    from hwnas_jax.commands.export import export as write_export

    write_export(words)


def report(words: list[str]) -> None:
    """Writes the page of a run or a sweep again."""
    from hwnas_jax.run import Run
    from hwnas_jax.sweep import Sweep, is_sweep

    options = tyro.cli(ReportOptions, args=words, prog="hwnas report")
    if is_sweep(options.run):
        sweep = Sweep.open(options.run, display=Terminal())
        sweep.report()
        show_sweep(sweep)
        return
    run = Run.open(options.run, display=Terminal())
    run.report()
    _show_result(run)


def list_names(words: list[str]) -> None:
    """Names what there is, a line each."""
    import jax

    from hwnas_jax.cost import COST_MODELS
    from hwnas_jax.data import DATA_SETS
    from hwnas_jax.relax import RELAXATIONS
    from hwnas_jax.spaces import known_spaces

    tyro.cli(ListOptions, args=words, prog="hwnas list")
    groups: dict[str, dict[str, str]] = {
        "search spaces": known_spaces(),
        "relaxations": {n: (f.__doc__ or "").partition("\n")[0] for n, f in RELAXATIONS.items()},
        "cost models": {name: summary for name, (summary, _) in COST_MODELS.items()},
        "data sets": dict(DATA_SETS),
        "configs": {name: _first_line(name) for name in config_names()},
        "devices": {
            f"{device.platform}:{device.id}": device.device_kind for device in jax.local_devices()
        },
    }
    console = Terminal().console
    for title, lines in groups.items():
        console.print(f"[bold]{title}[/]")
        for name, line in lines.items():
            console.print(f"  {name:<18} {line}", markup=False, soft_wrap=True)


COMMANDS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "search": (search, "the whole job: profile, fit, search, retrain, measure, report"),
    "sweep": (sweep, "many targets searched in one program: a whole front"),
    "profile": (profile, "time the operations and a sample of networks on this device"),
    "estimate": (estimate, "what networks cost on a TPU or an accelerator that is not here"),
    "cost fit": (cost_fit, "train the learned cost model on a measurement file"),
    "cost eval": (cost_eval, "compare a cost model with a measurement file or a published table"),
    "cost predict": (cost_predict, "what networks would cost, with the model's own uncertainty"),
    "cost study": (cost_study, "compare cost models on a published table or measurements"),
    "cost transfer": (cost_transfer, "a new device from few samples, by what others cost"),
    "derive": (derive, "the best architecture of a finished search, under any budget"),
    "retrain": (retrain, "train the network of an architecture file from scratch"),
    "measure": (measure, "time the network of an architecture file"),
    "export": (export, "a network as ONNX or StableHLO, with its weights if it is trained"),
    "report": (report, "write the page of a run again"),
    "list": (list_names, "spaces, relaxations, cost models, data sets, configs, devices"),
}


_HELP = ("-h", "--help")


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0, 2 for a user's mistake, 128 + signal."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Terminal().console
    if not words or words[0] in _HELP:
        console.print("usage: hwnas COMMAND [CONFIG] [--options]\n", markup=False)
        for name, (_, line) in COMMANDS.items():
            console.print(f"  {name:<13} {line}")
        console.print("\nhwnas COMMAND --help shows the options of a command.")
        return 0 if words else 2
    if words[0] == "cost" and words[1:] and words[1] in _HELP:
        words.insert(1, "fit")
    length = 2 if words[0] == "cost" else 1
    try:
        command, _ = COMMANDS[choose(" ".join(words[:length]), COMMANDS, "command")]
        _prepare_jax()
        with StopRequest.listening():
            command(words[length:])
            distributed.finish()
    except (UserError, OSError) as error:
        return _failed(2, f"error: {error}")
    except SystemExit as stop:  # tyro has shown help, or what it could not parse
        return stop.code if isinstance(stop.code, int) else 2
    except Interrupted as stop:
        return _failed(128 + stop.signum, str(stop))
    except KeyboardInterrupt:
        return _failed(130, "interrupted at once; the last checkpoint holds")
    except Exception as error:
        traceback.print_exc()
        distributed.fail(1, f"{type(error).__name__}: {error}")
        raise
    return 0


def _failed(code: int, message: str) -> int:
    sys.stderr.write(f"{distributed.name()}{message}\n")
    distributed.fail(code, message)
    return code


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _prepare_jax() -> None:
    """Keeps compiled programs in the user's cache, so that a second start is quick."""
    import jax

    from hwnas_jax.cache import cache_folder

    jax.config.update(
        "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR")
        or str(cache_folder() / "compiled"),
    )  # fmt: skip
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


_CONFIG_HELP = (
    "A config may come first, to set the defaults: a name from `hwnas list`, a .py or .json file."
)


def _parse(kind: type, words: list[str], name: str, *, files: int = 0) -> Any:
    """Parses `[FILE] [CONFIG] [--options]`; the config gives the defaults of the overrides."""
    rest = list(words)
    resumed = _resumed_folder(words)
    given = len(rest) > files and not any(word.startswith("-") for word in rest[: files + 1])
    if resumed is not None:
        from hwnas_jax.run import Run

        if given:
            raise UserError(f"a resumed run keeps its config; leave out {rest[0]}")
        base = Run.open(resumed).config
    else:
        base = load_config(rest.pop(files)) if given else load_config()
    required = {
        field.name: tyro.MISSING
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING
    }
    options = tyro.cli(
        kind, args=rest, default=kind(**required, config=base), prog=f"hwnas {name}",
        description=f"{kind.__doc__}\n\n{_CONFIG_HELP}",
    )  # fmt: skip
    validate(options.config)
    if ":" in options.config.space.name:
        from hwnas_jax.spaces import admit

        admit(options.config.space.name)
    if kind not in {SearchOptions, RetrainOptions}:
        parallel = options.config.parallel
        if parallel != alone(parallel):
            raise UserError(
                f"hwnas {name} runs in one process: leave out --parallel.coordinator, .processes, "
                ".process and .distributed; search and retrain run in several"
            )
    return options


def _join(config: Config) -> None:
    """Joins the job of several processes that the config describes, if any."""
    distributed.start(config.parallel)
    parallel = dataclasses.replace(alone(config.parallel), initialization_timeout_s=1)
    values = dataclasses.asdict(dataclasses.replace(config, parallel=parallel))
    flat = {
        f"{s}.{k}": v
        for s, part in values.items()
        if isinstance(part, dict)
        for k, v in part.items()
    }
    distributed.check_same({**flat, "seed": config.seed}, "config")


def _display() -> Silent:
    """Returns what shows progress: the terminal of process 0, nothing elsewhere."""
    return Terminal() if distributed.is_first() else Silent()


def _resumed_folder(words: list[str]) -> Path | None:
    for number, word in enumerate(words):
        if word == "--resume" and number + 1 < len(words):
            return Path(words[number + 1])
        if word.startswith("--resume="):
            return Path(word.partition("=")[2])
    return None


def _new_run(options: SearchOptions) -> Any:
    """Returns a run in a new folder; a mistake in what it is given leaves no folder behind."""
    from hwnas_jax.run import Run

    if options.from_step is not None:
        raise UserError("--from-step needs --resume, the run folder to continue")
    run = Run.create(options.config, options.run_dir)
    try:
        run.adopt(measurements=options.measurements, cost_model=options.cost_model)
        if options.cost_model is not None:
            run.resolve_target()
    except (UserError, OSError):
        shutil.rmtree(run.folder)
        raise
    return run


def _run_of_job(options: SearchOptions, folder: Path) -> Any:
    """Returns the run that process 0 has opened, as the other processes see it."""
    from hwnas_jax.run import Run, check_names

    check_names(options.config)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"there is no {folder / 'config.json'} here: the processes of a job need the run "
            "folder on a file system they share"
        )
    return Run(folder, options.config, Silent())


def _resumed_run(options: SearchOptions) -> Any:
    from hwnas_jax.run import Run, check_names

    folder = options.resume
    for name in ("run_dir", "measurements", "cost_model"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} does not go with --resume")
    assert folder is not None
    run = Run.open(folder)
    _refuse_sweep(folder, f"continue it with: hwnas sweep --resume {folder}")
    _only_parallel_changed(run.config, options.config)
    if options.from_step is not None and run.finished("search"):
        raise UserError(f"--from-step: the search of {run.folder} is finished")
    check_names(options.config)
    run.config = options.config
    return run


def _only_parallel_changed(saved: Config, given: Config) -> None:
    changed = [
        field.name
        for field in dataclasses.fields(Config)
        if field.name != "parallel" and getattr(saved, field.name) != getattr(given, field.name)
    ]
    if changed:
        raise UserError(
            f"a resumed run keeps its config; changed were: {', '.join(changed)}. "
            "Only --parallel options may change"
        )


def _refuse_sweep(folder: Path, hint: str) -> None:
    from hwnas_jax.sweep import is_sweep

    if is_sweep(folder):
        raise UserError(f"{folder} is a sweep, not a run of one search; {hint}")


def _check_out(path: Path) -> None:
    _refuse_existing(path)
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} to write {path.name} in")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; name another with --out")


def _first_line(config: str) -> str:
    text = (config_folder() / f"{config}.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _show_result(run: Any) -> None:
    from hwnas_jax.report import summary_rows

    columns = summary_rows(run.folder)
    if len(columns) > 1:
        header, *rows = zip(*columns, strict=True)
        run.display.table("result", header, rows)
    run.display.say(f"page {run.folder / 'report.html'}")
