"""The experiment as typed, frozen dataclasses: load, override, validate, save.

A config file is a Python file that sets `config = Config(...)`; its docstring carries the
command, the wall time and the result to expect.
"""

import dataclasses
import importlib.util
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal

from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import read_json, write_json

_FORMAT = "hwnas_jax.config"
_VERSION = 1


def _args(**values: Any) -> Any:
    return dataclasses.field(default_factory=lambda: dict(values))


@dataclasses.dataclass(frozen=True)
class SpaceConfig:
    """What can be built."""

    name: str = "nasbench201"
    """search space; `hwnas list` names them, or your own: my_space.py:MySpace, package:MySpace"""
    args: dict[str, int | float | bool | str] = _args(channels=8, cells=1)
    """the space's own arguments"""
    off: dict[str, tuple[str, ...]] = _args()
    """options that the device runs badly or not at all, by decision; both may be patterns:
    {"*": ("avg_pool*",)}"""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Images and labels; shape and class count come from the data itself."""

    name: str = "digits"
    """digits, idx (a folder of idx .gz files, see path), or any TFDS name"""
    path: str | None = None
    """folder of the idx files, or of the TFDS data"""
    shift: int = 1
    """augmentation: largest random shift in pixels"""
    flip: bool = False
    """augmentation: random left-right flips"""
    test_fraction: float = 0.2
    """share held out for the test where a data set has no test split of its own"""
    resident: bool | None = None
    """training data whole on every device, or streamed; None streams with several processes"""


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """Timing operations and a sample of whole networks on a device."""

    networks: int = 64
    """whole networks to time"""
    batch_size: int = 64
    """images per timed call; latencies are per call"""
    rounds: int = 15
    """least timed rounds; each times everything that is not yet precise once, in random order"""
    max_rounds: int = 150
    """most timed rounds"""
    precision: float = 0.02
    """a median is precise when its 95 % confidence interval is narrower than this share of it"""
    budget_s: float = 105.0
    """wall time, compilation included, after which only the least rounds are still timed"""
    measure_rounds: int = 100
    """least timed rounds where a few chosen networks are measured"""
    warmup: int = 3
    """untimed calls of everything before the first round"""
    device: str | None = None
    """platform, or platform:number, such as cpu or gpu:1; None takes the default device"""
    runtime: Literal["jax", "onnxruntime", "systolic"] = "jax"
    """what runs the networks; onnxruntime runs their export on the CPU; systolic computes what
    those of the space codesign cost on their accelerators"""
    threads: int | None = None
    """onnxruntime: threads that share an operation; None takes a thread a core"""
    energy: bool = False
    """count the energy of every call too; NVIDIA GPUs only"""
    energy_s: float = 0.3
    """seconds of calls whose energy is counted in one go, three times over"""


@dataclasses.dataclass(frozen=True)
class CostConfig:
    """The learned cost model."""

    model: str = "gaussian"
    """cost model; `hwnas list` names them"""
    members: int = 8
    """networks in the ensemble, of a model that is one"""
    hidden: int = 32
    """width of the hidden layers, of a model that has some"""
    loss: Literal["log", "rank", "both"] = "log"
    """what training minimises: errors of log cost, errors of order between pairs, or both"""
    relaxed: bool = True
    """train on relaxed architectures too, so that their cost is that of a random draw"""
    steps: int = 1500
    """Adam steps"""
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    test_fraction: float = 0.25
    """share of the measured networks held out to judge the model"""


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """The hardware budget and how it is met.

    Networks measured over the budget, or using less than 0.9 of it, are passed over.
    """

    metric: str = "latency_ms"
    """the metric that has the budget, one that the cost model predicts; analytic also counts
    bit_operations and size_kib where precision is searched"""
    ms: float | None = None
    """budget in milliseconds per call, or in the unit of another metric; None takes the percentile
    instead"""
    percentile: float = 50.0
    """budget as a percentile of the predicted latency over the space"""
    tolerance: float = 0.03
    """the derived network is predicted to use at least 1 - tolerance of the budget"""
    confirm: int = 12
    """likeliest networks measured before retraining, as many random ones; 0 measures none"""
    weight: float | None = None
    """fixed weight of the hardware term; None meets the budget by dual ascent"""
    multiplier_learning_rate: float = 0.02
    """step size of dual ascent on the multiplier"""
    damping: float = 4.0
    """weight of the squared relative distance to the budget, which damps dual ascent"""
    samples: int = 8
    """architectures drawn per step to estimate the expected cost, where the cost model takes draws;
    each is judged with every option of every decision in turn"""
    confidence: float | None = None
    """how sure a network must be to keep the budget, by the cost model's own uncertainty: 0.9
    means that the upper 90 % bound keeps it; None goes by the prediction"""
    measurements: int = 0
    """networks measured during the search to make the cost model surer near the budget"""
    measure_every: int = 150
    """architecture steps between these measurements, rounded up to whole calls"""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Weights and architecture, optimised together."""

    relaxation: str = "sampled_path"
    """how a choice becomes differentiable; `hwnas list` names them"""
    steps: int = 1500
    """weight steps; each is followed by an architecture step after the warm-up"""
    warmup_steps: int = 600
    """weight steps before the first architecture step"""
    batch_size: int = 64
    """images per step and half, over all devices"""
    steps_per_dispatch: int = 50
    """steps compiled into one call; checkpoints and log lines fall between calls"""
    temperature_start: float = 2.0
    temperature_end: float = 0.2
    weight_optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd, with Nesterov momentum, for convolutions; adamw for transformers, at a tenth of the
    learning rate or less"""
    weight_learning_rate: float = 0.1
    weight_learning_rate_end: float = 0.001
    weight_decay: float = 5e-4
    weight_clip_norm: float = 5.0
    logit_learning_rate: float = 0.05
    logit_decay: float = 0.0
    checkpoint_every: int = 100
    """steps between checkpoints, rounded up to whole dispatches"""
    order: Literal["first", "second", "implicit"] = "first"
    """what the architecture's gradient knows of the weights: nothing (first), that they take one
    more step on the weight batch (second), or that they stay at a minimum (implicit)"""
    inner_step_size: float | None = None
    """second: size of a plain gradient step looked ahead; None looks ahead by the weight
    optimiser's own step. implicit: step size of the Neumann series; None takes the current weight
    learning rate"""
    implicit_terms: int = 3
    """implicit: terms of the Neumann series; each costs a product with the Hessian"""
    paths: Literal["shared", "own"] = "shared"
    """whether replicas draw one architecture or each its own; gradients are averaged either way"""
    accumulate: int = 1
    """micro-batches that a step averages its gradients over; batch statistics are of each"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of activations and matrix products; parameters, statistics and losses stay float32"""
    rematerialise: bool = False
    """compute activations again in the backward pass instead of keeping them: slower, smaller"""


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """Training derived networks from scratch, and the random-search baseline beside them.

    The best network by validation accuracy is the result.
    """

    networks: int = 2
    """networks retrained for the search, and as many for random search; the best counts"""
    epochs: int = 60
    batch_size: int = 64
    steps_per_dispatch: int = 50
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """as `search.weight_optimizer`"""
    learning_rate: float = 0.1
    weight_decay: float = 5e-3
    validation_fraction: float = 0.1
    """share of the training data held out to choose among the networks"""
    accumulate: int = 1
    """micro-batches that a step averages its gradients over; batch statistics are of each"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of activations and matrix products; parameters, statistics and losses stay float32"""


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Data parallelism over the devices of this machine, or of several processes."""

    devices: int | None = None
    """how many local devices of each process; None takes all"""
    backend: Literal["pmap", "shard_map"] = "pmap"
    """which transformation replicates the step; both mean the same"""
    sync_batch_statistics: bool = False
    """average batch statistics over the replicas"""
    coordinator: str | None = None
    """several processes: host:port of process 0"""
    processes: int | None = None
    """several processes: how many"""
    process: int | None = None
    """several processes: the number of this one, from 0"""
    distributed: bool = False
    """several processes: detect them from Slurm, Cloud TPU or Open MPI"""
    initialization_timeout_s: int = 120
    """seconds to wait for the coordinator and the other processes"""


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Many searches in one program; read by `hwnas sweep` alone."""

    devices: int | None = None
    """local devices the searches are spread over; None takes all"""
    within: Literal["auto", "map", "batch"] = "auto"
    """on one device: one search after another (map), or all batched; auto maps on CPU"""
    share_warmup: bool = True
    """searches of one seed share their warm-up, which does not depend on the target"""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment; the defaults are the built-in digits search."""

    name: str = "digits"
    """names the run folder"""
    seed: int = 0
    space: SpaceConfig = SpaceConfig()
    data: DataConfig = DataConfig()
    profile: ProfileConfig = ProfileConfig()
    cost: CostConfig = CostConfig()
    target: TargetConfig = TargetConfig()
    search: SearchConfig = SearchConfig()
    retrain: RetrainConfig = RetrainConfig()
    parallel: ParallelConfig = ParallelConfig()
    sweep: SweepConfig = SweepConfig()


def alone(config: ParallelConfig) -> ParallelConfig:
    """Returns `config` for one process by itself."""
    return dataclasses.replace(
        config, coordinator=None, processes=None, process=None, distributed=False
    )


def config_folder() -> Path:
    """Returns the folder of the configs that come with the package."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Returns the names of the configs that come with the package."""
    return sorted(path.stem for path in config_folder().glob("*.py"))


def load_config(name: str = "digits") -> Config:
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
            return validate(from_dict(Config, payload.get("config")))
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
    kind = globals().get(found[1]) if found else None
    if found and dataclasses.is_dataclass(kind):
        choose(found[2], [field.name for field in dataclasses.fields(kind)], f"key of {found[1]}")


def save_config(config: Config, path: Path) -> None:
    """Writes the config, every value resolved, as versioned JSON."""
    write_json(
        Path(path), {"format": _FORMAT, "version": _VERSION, "config": dataclasses.asdict(config)}
    )


def from_dict(kind: type, values: dict[str, Any], where: str = "config") -> Any:
    """Builds the dataclass `kind` from nested plain values; unknown keys are a UserError."""
    if not isinstance(values, dict):
        raise UserError(f"{where} must be a table of keys, got {values!r}")
    hints = typing.get_type_hints(kind)
    result = {}
    for key, value in values.items():
        choose(key, hints, f"key of {where}")
        nested = dataclasses.is_dataclass(hints[key])
        result[key] = from_dict(hints[key], value, f"{where}.{key}") if nested else value
    return kind(**result)


def override(config: Config, **changes: Any) -> Config:
    """Returns the config with changed values; nested keys are joined by two underscores.

    >>> override(Config(), seed=3, target__percentile=25.0).target.percentile
    25.0
    """
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        head, _, rest = key.partition("__")
        choose(head, [f.name for f in dataclasses.fields(config)], "config key")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            nested[head] = value
    resolved: dict[str, Any] = {}
    for key, value in nested.items():
        current: Any = getattr(config, key)
        kind: Any = type(current)
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            for name in value:
                choose(name, [f.name for f in dataclasses.fields(kind)], f"key of {key}")
            resolved[key] = dataclasses.replace(current, **value)
        else:
            resolved[key] = value
    return validate(dataclasses.replace(config, **resolved))


def validate(config: Config) -> Config:
    """Returns `config` when every value has its type and range.

    Raises:
      UserError: names the key, the value seen and the values allowed.
    """
    _check_types(config, "")
    positive = [
        "profile.networks", "profile.batch_size", "profile.rounds", "profile.measure_rounds",
        "profile.precision", "profile.budget_s", "profile.energy_s",
        "cost.members", "cost.hidden", "cost.steps", "cost.learning_rate", "target.samples",
        "search.steps",
        "search.batch_size", "search.steps_per_dispatch", "search.temperature_start",
        "search.temperature_end", "search.weight_learning_rate", "search.logit_learning_rate",
        "search.checkpoint_every", "retrain.networks", "retrain.epochs", "retrain.batch_size",
        "retrain.steps_per_dispatch", "retrain.learning_rate", "search.weight_clip_norm",
        "search.implicit_terms", "search.accumulate", "retrain.accumulate",
        "target.measure_every",
    ]  # fmt: skip
    for key in positive:
        _require(config, key, lambda v: v > 0, "must be positive")
    fractions = ["data.test_fraction", "cost.test_fraction", "target.tolerance"]
    for key in fractions:
        _require(config, key, lambda v: 0 < v < 1, "must lie strictly between 0 and 1")
    at_least_zero = [
        "profile.warmup", "search.warmup_steps", "data.shift", "search.weight_decay",
        "search.logit_decay", "retrain.weight_decay", "cost.weight_decay",
        "target.multiplier_learning_rate", "target.damping", "target.confirm",
        "search.weight_learning_rate_end", "target.measurements",
    ]  # fmt: skip
    for key in at_least_zero:
        _require(config, key, lambda v: v >= 0, "must not be negative")
    _require(config, "retrain.validation_fraction", lambda v: 0 < v < 1, "must be in (0, 1)")
    _require(config, "target.percentile", lambda v: 0 <= v <= 100, "must lie in [0, 100]")
    _require(config, "target.ms", lambda v: v is None or v > 0, "must be positive")
    _require(config, "target.weight", lambda v: v is None or v >= 0, "must not be negative")
    _require(
        config, "target.confidence", lambda v: v is None or 0.5 <= v < 1,
        "must lie in [0.5, 1): 0.5 is the prediction itself; leave it out to go by that",
    )  # fmt: skip
    _require(config, "search.inner_step_size", lambda v: v is None or v > 0, "must be positive")
    _require(
        config, "profile.max_rounds", lambda v: v >= config.profile.rounds,
        f"must not be below profile.rounds = {config.profile.rounds}",
    )  # fmt: skip
    for key in ("parallel.devices", "parallel.processes", "sweep.devices", "profile.threads"):
        _require(config, key, lambda v: v is None or v > 0, "must be positive")
    _require(config, "parallel.process", lambda v: v is None or v >= 0, "must not be negative")
    _require(config, "parallel.initialization_timeout_s", lambda v: v > 0, "must be positive")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"seed = {config.seed} must lie in [0, 2**32)")
    _require(
        config, "search.warmup_steps", lambda v: v < config.search.steps,
        f"must be below search.steps = {config.search.steps}",
    )  # fmt: skip
    check_search(config.search, sync_batch_statistics=config.parallel.sync_batch_statistics)
    return config


def check_search(search: SearchConfig, *, sync_batch_statistics: bool) -> None:
    """Raises UserError for a value of the wrong type or name, and for options at odds.

    Replicas that draw their own paths would wait for each other in different branches.
    """
    _check_types(search, "search.")
    if search.order == "implicit" and search.weight_optimizer == "adamw":
        raise UserError(
            "search.order = 'implicit' does not go with search.weight_optimizer = 'adamw': it "
            "differentiates a minimum of the loss plus the weights' squares, and AdamW, whose "
            "decay is no part of the loss, ends at another point. Use 'sgd', or order = 'second'"
        )
    if search.paths == "own" and search.relaxation == "sampled_path" and sync_batch_statistics:
        raise UserError(
            "search.paths = 'own' does not go with parallel.sync_batch_statistics and "
            "search.relaxation = 'sampled_path': statistics can be averaged only where all "
            "replicas run the same operation. Use search.paths = 'shared', statistics per "
            "replica, or another relaxation"
        )


def _require(config: Config, key: str, allowed: Any, message: str) -> None:
    section, name = key.split(".")
    value = getattr(getattr(config, section), name)
    if not allowed(value):
        raise UserError(f"{key} = {value!r} {message}")


def _check_types(value: Any, where: str) -> None:
    hints: dict[str, Any] = typing.get_type_hints(type(value))
    for key, hint in hints.items():
        item = getattr(value, key)
        name = f"{where}{key}"
        if dataclasses.is_dataclass(hint):
            kind: Any = hint
            if not isinstance(item, kind):
                raise UserError(f"{name} must be a {kind.__name__}, got {item!r}")
            _check_types(item, f"{name}.")
        elif typing.get_origin(hint) is Literal:
            choose(item, typing.get_args(hint), f"value of {name}")
        elif not _is_instance(item, hint):
            shown = getattr(hint, "__name__", str(hint))
            raise UserError(f"{name} must be of type {shown}, got {item!r}")
        elif isinstance(item, float) and not math.isfinite(item):
            raise UserError(f"{name} must be finite, got {item!r}")


def _is_instance(item: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_is_instance(item, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is dict:
        return isinstance(item, dict)
    if hint is float:
        return isinstance(item, (int, float)) and not isinstance(item, bool)
    if hint is int:
        return isinstance(item, int) and not isinstance(item, bool)
    return isinstance(item, hint)
