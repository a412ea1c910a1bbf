"""Makes a table of one's own: trains the networks of a space, counts and measures them.

Legend: `N` networks, `D` decisions, `E` lengths of training, `S` seeds.
"""

import dataclasses
import datetime
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from hwnas_jax.config import Config, alone, override
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.table_file import TableFile, save_table_file
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.data import Dataset, load_data
from hwnas_jax.data.pipeline import augmentation
from hwnas_jax.data.sizes import check_table_sizes
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import Progress, StopRequest
from hwnas_jax.registry import checked_options
from hwnas_jax.spaces.base import Space
from hwnas_jax.tabular.make.latencies import Latencies, check_measurable, measure_part_by_part
from hwnas_jax.tabular.make.networks import networks_of
from hwnas_jax.tabular.make.parts import Parts
from hwnas_jax.tabular.make.training import Results, Trainer
from hwnas_jax.tasks import Task, make_task, space_for, task_for

_WAIT_S = 0.5


@dataclasses.dataclass(frozen=True)
class TableSettings:
    """How many networks a table has, and how often each is trained."""

    sample: Annotated[int, Ge(1)] | None = None
    """networks to train, drawn at random by the config's seed; all of the space when left out,
    those that are built alike once"""
    epochs: tuple[Annotated[int, Gt(0)], ...] = (1, 4)
    """lengths of training; every network is trained from scratch for each"""
    seeds: Annotated[int, Gt(0)] = 2
    """trainings of every network and length, from the config's seed on"""
    measured: Annotated[int, Ge(0)] = 32
    """networks whose latency is measured on this device, drawn at random; each takes seconds to
    compile. 0 measures none; multiply-accumulates and parameters are counted of all"""
    chunk: Annotated[int, Gt(0)] = 8
    """networks that are trained before their results are written; what is interrupted loses less"""

    def check(self) -> "TableSettings":
        """Returns the settings with their lengths in order.

        Raises:
          UserError: for a value out of range, no length, or one that is named twice.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["epochs"] = tuple(values["epochs"])
        checked_options(TableSettings, values, "table")
        lengths = tuple(sorted(set(self.epochs)))
        if not lengths or len(lengths) != len(self.epochs):
            raise UserError(
                f"epochs must name different lengths of training, got {list(self.epochs)}"
            )
        return dataclasses.replace(self, epochs=lengths)


def make_table(
    config: Config,
    out: Path,
    settings: TableSettings | None = None,
    *,
    display: Silent | None = None,
) -> Path:
    """Trains a space's networks, counts and measures them, and writes the table.

    Until the file is written, what is done lies in a folder beside it. A call that was interrupted
    or killed is repeated and goes on where it was. Several processes that make the same call share
    the work, on one machine or on a file system that they share. The networks are measured at the
    end, by one process alone.

    Args:
      config: the experiment. `space`, `data`, `task`, `profile` and `seed` are read, of `search`
        how weights are trained, and of `retrain` the share held out for validation.
      out: the file to write; see `hwnas_jax.cost.files.table_file`.
      settings: how many networks, and how often each is trained.
      display: what shows progress and results.

    Returns:
      The file.

    Raises:
      UserError: for a file that exists, parts of another table beside it, and for whatever can be
        refused before anything is trained.
    """
    dataset = load_data(config.data)
    config = override(config, task=task_for(config.task, dataset.task))
    task = make_task(config.task, dataset)
    space = space_for(config, dataset, task)
    display = display or Silent()
    for note in dataset.notes:
        display.say(note)
    return fill_table(space, dataset, task, config, out, settings, display=display)


def fill_table(
    space: Space,
    dataset: Dataset,
    task: Task,
    config: Config,
    out: Path,
    settings: TableSettings | None = None,
    *,
    display: Silent | None = None,
) -> Path:
    """Makes the table of a space and a data set that are there already; see `make_table`."""
    settings, display, out = (settings or TableSettings()).check(), display or Silent(), Path(out)
    if out.exists():
        raise UserError(f"{out} exists and is not overwritten; name another with --out")
    if not out.absolute().parent.is_dir():
        raise UserError(f"there is no folder {out.parent} to write {out.name} in")
    check_table_sizes(config, dataset)
    networks = networks_of(space, settings.sample, config.seed)
    settings = dataclasses.replace(settings, measured=min(settings.measured, len(networks)))
    if settings.measured:
        check_measurable(space, config.profile)
    trainer = Trainer(space, dataset, task, config)
    parts, plan = Parts.beside(out), _plan(space, dataset, config, settings, networks)
    again = parts.begin(plan)
    lengths = " and ".join(str(epochs) for epochs in settings.epochs)
    display.say(
        f"{len(networks):,} networks of {space.name}, {settings.seeds} trainings each for "
        f"{lengths} epochs, {trainer.devices} at a time"
    )
    if again:
        display.say(f"going on with what is done in {parts.folder}")
    job = _Job(space, dataset, config, settings, networks, trainer, parts, out)
    with display.stage("table") as report:
        results = job.train(report)
        if results is not None:
            job.finish(results, task, report)
    parts.remove()
    measured = f"{settings.measured:,} of them" if settings.measured else "none"
    display.say(f"latency measured of {measured}; operations and parameters counted of all")
    display.say(f"wrote {out}")
    return out


@dataclasses.dataclass(frozen=True)
class _Job:
    """One process that makes a table, alone or with others."""

    space: Space
    dataset: Dataset
    config: Config
    settings: TableSettings
    networks: np.ndarray
    trainer: Trainer
    parts: Parts
    out: Path

    def train(self, report: Progress) -> Results | None:
        """Trains chunks until all are done, by this process or by others.

        Returns:
          `float32[E, N, S]` each; None when another process has written the table.
        """
        names = [f"chunk-{n:05}" for n in range(-(-len(self.networks) // self.settings.chunk))]
        while not self.out.exists():
            left = [name for name in names if not self.parts.has(name)]
            if not left:
                try:
                    return self._results(names)
                except UserError:  # another has written the table and removed the parts
                    if not self.out.exists():
                        raise
            if not any([self._train_chunk(name, names, report) for name in left]):
                self._tell(names, 0, report)  # notices a request to stop
                time.sleep(_WAIT_S)
        return None

    def _train_chunk(self, name: str, names: list[str], report: Progress) -> bool:
        """Trains one chunk unless it is done or another process has it; returns whether it did."""
        if self.parts.has(name) or not self.parts.folder.is_dir():
            return False
        with self.parts.claim(name) as mine:
            if not mine or self.parts.has(name) or self.out.exists():
                return False
            found = self.trainer.train(
                self.networks[self._rows(names.index(name))], self.settings.epochs, self.seeds,
                lambda calls: self._tell(names, calls, report),
            )  # fmt: skip
            self.parts.write(name, found._asdict())
        return True

    def finish(self, results: Results, task: Task, report: Progress) -> None:
        """Measures, and writes the table; one process does, the others wait for it."""
        while not self.out.exists():
            with self.parts.claim("finish") as mine:
                if mine and not self.out.exists():
                    self._write(results, task, self._latencies(report))
            report(len(self.networks), len(self.networks), "networks")
            if not mine:
                time.sleep(_WAIT_S)

    def _latencies(self, report: Progress) -> tuple[np.ndarray, Latencies] | None:
        """Returns the rows of the networks that are measured, and what was measured."""
        if not self.settings.measured:
            return None
        order = np.random.default_rng(self.config.seed).permutation(len(self.networks))
        rows = np.sort(order[: self.settings.measured])
        return rows, measure_part_by_part(
            self.space, self.networks[rows], self.config.profile, self.parts,
            seed=self.config.seed, progress=report,
        )  # fmt: skip

    def _write(
        self, results: Results, task: Task, latencies: tuple[np.ndarray, Latencies] | None
    ) -> None:
        measured: dict[str, Any] = {}
        if latencies is not None:
            rows, found = latencies
            columns = {"latency_ms": found.median_ms, "latency_iqr_ms": found.iqr_ms}
            for name, values in columns.items():
                measured[name] = np.full(len(self.networks), np.nan)
                measured[name][rows] = values
            measured["device"] = found.device
        config = dataclasses.asdict(override(self.config, parallel=alone(self.config.parallel)))
        table = TableFile(
            spec=self.space.spec, space=self.space, architectures=self.networks,
            data_set=self.dataset.name, metric=task.metric, unit=task.unit,
            higher_is_better=task.higher_is_better, epochs=self.settings.epochs, seeds=self.seeds,
            validation=results.validation, test=results.test, seconds=results.seconds,
            counts=count(self.space, self.networks),
            about={
                "config": config, "settings": dataclasses.asdict(self.settings),
                "trained_on": describe_device(), "software": describe_software(),
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            **measured,
        )  # fmt: skip
        save_table_file(table, self.out)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the trainings of every network."""
        return tuple((self.config.seed + n) % 2**32 for n in range(self.settings.seeds))

    def _rows(self, chunk: int) -> slice:
        return slice(chunk * self.settings.chunk, (chunk + 1) * self.settings.chunk)

    def _tell(self, names: list[str], calls: int, report: Progress) -> None:
        """Reports the networks that are done, those of other processes and of parts included."""
        each = self.settings.seeds * sum(map(self.trainer.calls, self.settings.epochs))
        done = sum(
            len(self.networks[self._rows(number)])
            for number, name in enumerate(names)
            if self.parts.has(name)
        )
        report(min(done + calls // each, len(self.networks)), len(self.networks), "networks")
        StopRequest.check("stopped")

    def _results(self, names: list[str]) -> Results:
        found = []
        for number, name in enumerate(names):
            chunk = len(self.networks[self._rows(number)])
            shape = (len(self.settings.epochs), chunk, self.settings.seeds)
            arrays = self.parts.read(name, dict.fromkeys(Results._fields, shape))
            found.append([arrays[field] for field in Results._fields])
        return Results(*(np.concatenate(columns, axis=1) for columns in zip(*found, strict=True)))


def count(space: Space, networks: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what can be counted of networks (`int32[N, D]`), `float64[N]` by metric."""
    counts = predict_architectures(AnalyticModel.count(space), networks, space.num_options)
    # Two operations are a multiply-accumulate, so `flops` would say the same again.
    return {name: np.asarray(column, float) for name, column in counts.items() if name != "flops"}


def _plan(
    space: Space, dataset: Dataset, config: Config, settings: TableSettings, networks: np.ndarray
) -> Mapping[str, Any]:
    """Returns all that a table depends on; processes that mean the same may share its parts."""
    digest = hashlib.sha256()
    for part in ("train", "test"):
        for kind in ("inputs", "targets"):
            digest.update(np.ascontiguousarray(getattr(dataset, f"{part}_{kind}")).tobytes())
    search, about = config.search, dataclasses.asdict(settings)
    return {
        "space": space.spec,
        "data": {"name": dataset.name, "sha256": digest.hexdigest(),
                 **augmentation(dataset, config.data)._asdict()},
        "task": dataclasses.asdict(config.task),
        "seed": config.seed,
        "networks": hashlib.sha256(networks.tobytes()).hexdigest(),
        **about,
        "weights": dataclasses.asdict(search.weights),
        "batch_size": search.batch_size,
        "steps_per_dispatch": search.steps_per_dispatch,
        "dtype": search.dtype,
        "validation_fraction": config.retrain.validation_fraction,
        "profile": dataclasses.asdict(config.profile) if settings.measured else None,
    }  # fmt: skip
