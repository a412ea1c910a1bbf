"""A sweep: many targets and seeds searched in one program, in one run folder.

The stages up to the cost model are those of a run, and are done once. The others leave:

  search    -> sweep.json, targets.json, checkpoints/warmup, checkpoints/search, metrics.jsonl,
               search.npz; where it measures, as a run
  derive    -> networks.json, architectures/<search>.json
  retrain   -> checkpoints/<search>, networks.json
  measure   -> networks.json
  report    -> report.html, report.json
"""

import dataclasses
import functools
import math
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.config import Config, load_config, override
from hwnas_jax.cost import load_measurements, measure_networks
from hwnas_jax.cost.measure.counts import count_networks
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import load_or_offer, read_json, write_json
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.runs.run import STAGES, Run
from hwnas_jax.search import Candidate, Target, cost_range, resolve_target, within_budget
from hwnas_jax.search.derive import confirm, describe, make_supernet_accuracy
from hwnas_jax.search.population import Member, make_members, resolve_within, search_population
from hwnas_jax.search.stage import device_data
from hwnas_jax.spaces.core.architecture_files import save_architecture
from hwnas_jax.train.training import train

FILE = "sweep.json"
_FORMAT = "hwnas_jax.sweep"
PERCENTILES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is searched for: every target with every seed.

    Attributes:
      targets_ms: budgets in milliseconds per call; empty for percentiles.
      percentiles: budgets as percentiles of the predicted latency over the space.
      seeds: of the searches.
      retrain: whether the network of every search is trained from scratch.
    """

    targets_ms: tuple[float, ...] = ()
    percentiles: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    retrain: bool = True

    @classmethod
    def check(
        cls,
        config: Config,
        *,
        targets_ms: Sequence[float] = (),
        percentiles: Sequence[float] = (),
        seeds: Sequence[int] = (),
        retrain: bool = True,
    ) -> "Wanted":
        """Returns what is wanted; eight percentiles and the config's seed by default.

        Raises:
          UserError: for both kinds of targets, or for a value out of range or given twice.
        """
        if targets_ms and percentiles:
            raise UserError("--targets and --percentiles exclude each other; give one of them")
        wanted = cls(
            tuple(float(value) for value in targets_ms),
            tuple(float(value) for value in percentiles or (() if targets_ms else PERCENTILES)),
            tuple(int(seed) for seed in seeds or (config.seed,)),
            bool(retrain),
        )
        for name, values, allowed, fine in (
            ("targets", wanted.targets_ms, "positive", lambda v: 0 < v < math.inf),
            ("percentiles", wanted.percentiles, "in [0, 100]", lambda v: 0 <= v <= 100),
            ("seeds", wanted.seeds, "in [0, 2**32)", lambda v: 0 <= v < 2**32),
        ):
            for value in values:
                if not fine(value):
                    raise UserError(f"--{name} {value:g} must be {allowed}")
                if values.count(value) > 1:
                    raise UserError(f"--{name} has {value:g} more than once")
        return wanted


class Sweep:
    """One run folder and the stages that fill it for many searches.

    Attributes:
      run: the folder, the config (each search on one device), and the stages that are shared.
      wanted: the targets and seeds.
    """

    def __init__(self, run: Run, wanted: Wanted):
        self.run, self.wanted = run, wanted

    @classmethod
    def create(
        cls,
        config: Config,
        wanted: Wanted,
        folder: Path | None = None,
        *,
        measurements: Path | None = None,
        cost_model: Path | None = None,
        display: Silent | None = None,
    ) -> "Sweep":
        """Makes a new run folder; a mistake leaves none behind.

        Args:
          config: the experiment; `seed` and `target.ms` give way to what is wanted.
          wanted: from `Wanted.check`.
          folder: its path; `runs/<name>-<time>` when left out.
          measurements: as in `Run.adopt`.
          cost_model: likewise; the targets are then checked at once.
          display: what shows progress and results.

        Raises:
          UserError: for an existing folder, too few devices, a target out of reach, and whatever
            `Run.create` and `Run.adopt` refuse.
        """
        config = one_device_each(config)
        count = len(wanted.targets_ms or wanted.percentiles) * len(wanted.seeds)
        Members.over(count, config.sweep.devices, config.parallel.backend)
        sweep = cls(Run.create(config, folder, display=display), wanted)
        try:
            write_json(
                sweep.folder / FILE,
                {"format": _FORMAT, "version": 1, **dataclasses.asdict(wanted)},
            )
            sweep.run.adopt(measurements=measurements, cost_model=cost_model)
            if cost_model is not None:
                sweep.resolve_targets()
        except (UserError, OSError):
            shutil.rmtree(sweep.folder)
            raise
        return sweep

    @classmethod
    def open(cls, folder: Path, *, display: Silent | None = None) -> "Sweep":
        """Opens an existing folder; UserError when it holds no sweep."""
        folder = Path(folder)
        if not is_sweep(folder):
            near = sorted(path.parent.name for path in folder.parent.glob(f"*/{FILE}"))
            known = f"; sweeps beside it: {', '.join(near[-5:])}" if near else ""
            raise UserError(f"{folder} is no sweep: it has no {FILE}{known}")
        payload = read_json(folder / FILE, "sweep file", file_format=_FORMAT)
        config = load_config(str(folder / "config.json"))
        try:
            wanted = Wanted.check(
                config, **{f.name: payload[f.name] for f in dataclasses.fields(Wanted)}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder / FILE} is damaged: {error!r}") from error
        return cls(Run(folder, config, display or Silent()), wanted)

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.run.folder

    @property
    def config(self) -> Config:
        """The experiment."""
        return self.run.config

    def all(self, *, until: str = "report", from_step: int | None = None) -> None:
        """Runs the stages that are not finished yet, in order; as `Run.all`."""
        choose(until, STAGES, "stage")
        for stage in STAGES[: STAGES.index(until) + 1]:
            if self.run.finished(stage) or (stage == "retrain" and not self.wanted.retrain):
                continue
            if stage == "search":
                self.search(from_step=from_step)
            else:
                getattr(self.run if stage in ("profile", "fit_cost") else self, stage)()

    def resolve_targets(self) -> tuple[Member, ...]:
        """Fixes the budgets in milliseconds; UserError when one is out of reach or a repetition."""
        run, settings = self.run, self.config.target
        choose(settings.metric, run.cost_model.metrics, "metric of the cost model")
        reachable = cost_range(
            run.space, run.cost_model, settings.metric, seed=self.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        budgets: list[tuple[float | None, float | None]] = []
        budgets += [(value, None) for value in self.wanted.targets_ms]
        budgets += [(None, value) for value in self.wanted.percentiles]
        targets = [
            resolve_target(
                dataclasses.replace(settings, ms=ms, percentile=percentile or 0.0), reachable
            )
            for ms, percentile in budgets
        ]
        members = make_members(targets, self.wanted.seeds)
        write_json(
            self.folder / "targets.json",
            {
                "metric": settings.metric,
                "confidence": settings.confidence,
                "targets": [
                    {"target_ms": target.value, "percentile": percentile}
                    for target, (_, percentile) in zip(targets, budgets, strict=True)
                ],
                "range_ms": [reachable.lowest, reachable.highest],
                "chance": 1 / run.dataset.num_outputs,
            },
        )
        values = [target.value for target in targets]
        run.display.say(
            f"{len(values)} targets, {min(values):.4g} to {max(values):.4g} ms per call; reachable "
            f"are {reachable.lowest:.3g} to {reachable.highest:.3g} ms"
        )
        return members

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """The searches, in order of targets, then seeds."""
        payload = read_json(self.folder / "targets.json", "file of targets")
        try:
            targets = [
                Target(str(payload["metric"]), float(one["target_ms"]), payload.get("confidence"))
                for one in payload["targets"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.folder / 'targets.json'} is damaged: {error!r}") from error
        return make_members(targets, self.wanted.seeds)

    def search(self, *, from_step: int | None = None) -> None:
        """Runs all searches in one program, the warm-up once for every seed."""
        run, settings = self.run, self.config.sweep
        if not (self.folder / "checkpoints").is_dir():
            self.resolve_targets()
        self.__dict__.pop("members", None)
        place = Members.over(len(self.members), settings.devices, self.config.parallel.backend)
        how = {"map": "one after another", "batch": "batched"}[resolve_within(settings.within)]
        run.display.say(
            f"{len(self.members)} searches on {place.count} device(s), {place.each} on each, {how}"
        )
        with run.stage("search") as report:
            states = search_population(
                run.space, run.dataset, run.cost_model, self.members, self.config,
                folder=self.folder, from_step=from_step, progress=report,
            )  # fmt: skip
            np.savez(
                self.folder / "search.npz",
                logits=np.stack([state.logits for state in states]),
                weights=np.stack([state.weights for state in states]),
            )
        run.__dict__.pop("cost_model", None)

    def derive(self) -> list[dict[str, Any]]:
        """Picks the network of every search, as a run does for its own.

        Of the likeliest networks predicted within a budget, `target.confirm` are measured, and
        the first that meets it is taken.
        """
        run, settings = self.run, self.config
        logits, weights = self._searched()
        networks, confirmations = [], []
        with run.stage("derive") as report:
            supernet_accuracy = make_supernet_accuracy(
                run.space, run.dataset, run.cost_model, settings
            )
            for target, numbers in self._by_target():
                groups = {
                    self.members[i].label: within_budget(
                        run.space, run.cost_model, target, settings.target.tolerance,
                        logits=logits[i], seed=self.members[i].seed,
                    )[: max(1, settings.target.confirm)]
                    for i in numbers
                }  # fmt: skip
                if settings.target.confirm:
                    groups, rows = self._confirm(groups, target, report)
                    confirmations += rows
                met = {(row["origin"], row["string"]): row["meets_budget"] for row in confirmations}
                for i in numbers:
                    member = self.members[i]
                    candidate = groups[member.label][0]
                    known = describe(run.space, run.cost_model, target, candidate, "search", i)
                    networks.append(
                        {
                            **known,
                            "label": member.label,
                            "seed": member.seed,
                            "target_ms": target.value,
                            "meets_budget": met.get((member.label, known["string"])),
                            "supernet_accuracy": supernet_accuracy(
                                weights[i],
                                candidate.architecture,
                                device_data(run.dataset, override(settings, seed=member.seed))[
                                    "arch_half"
                                ],
                            ),
                        }
                    )
                    report(len(networks), len(self.members), "networks")
            write_json(
                self.folder / "networks.json",
                {"networks": networks, "confirmations": confirmations},
            )
            folder = self.folder / "architectures"
            folder.mkdir(exist_ok=True)
            for entry in networks:
                save_architecture(
                    folder / f"{entry['label']}.json",
                    run.space,
                    run.space.from_names(entry["architecture"]),
                )
        return networks

    def retrain(self) -> list[dict[str, Any]]:
        """Trains the network of every search from scratch, as a run trains its first."""
        payload = self._networks()
        done: dict[tuple[str, int], dict[str, Any]] = {}
        with self.run.stage("retrain") as report:
            for entry in payload["networks"]:
                # Neighbouring targets may find one network; trained again it would be the same.
                twin = done.setdefault((entry["string"], entry["seed"]), entry)
                if entry.get("test_accuracy") is None:
                    if twin is entry:
                        self._train(entry, report)
                    for key in ("validation_accuracy", "test_accuracy"):
                        entry[key] = twin[key]
                    write_json(self.folder / "networks.json", payload)
        return payload["networks"]

    def _train(self, entry: dict[str, Any], report: Progress) -> None:
        space = self.run.space
        trained = train(
            functools.partial(space.network, space.from_names(entry["architecture"])),
            self.run.dataset, override(self.config, seed=entry["seed"]),
            label=entry["label"], seed=1000 * entry["seed"], folder=self.folder, progress=report,
        )  # fmt: skip
        entry["validation_accuracy"] = trained.validation_accuracy
        entry["test_accuracy"] = trained.test_accuracy

    def measure(self) -> list[dict[str, Any]]:
        """Times the networks on this device, those of a target together."""
        payload = self._networks()
        networks = payload["networks"]
        with self.run.stage("measure") as report:
            for target, numbers in self._by_target():
                entries = [networks[i] for i in numbers]
                measured = self._measure(
                    [self.run.space.from_names(e["architecture"]) for e in entries], target, report
                )
                for entry, paced, clocked in zip(
                    entries, measured.paced, measured.clocked, strict=True
                ):
                    entry["measured_ms"] = paced.median
                    entry["measured_iqr_ms"] = paced.iqr
                    entry["measured_now_ms"] = clocked.median
            write_json(self.folder / "networks.json", payload)
        return networks

    def report(self) -> Path:
        """Writes the page and its figures as JSON; returns the page."""
        from hwnas_jax.report.sweep import write_sweep_report

        with self.run.stage("report") as report:
            report(0, 1, "report")
            page = write_sweep_report(self.folder)
            report(1, 1, "report")
        return page

    def _by_target(self) -> Iterator[tuple[Target, list[int]]]:
        """Yields every target with the numbers of its members."""
        for target in dict.fromkeys(member.target for member in self.members):
            yield target, [i for i, m in enumerate(self.members) if m.target == target]

    def _confirm(
        self, groups: dict[str, list[Candidate]], target: Target, report: Progress
    ) -> tuple[dict[str, list[Candidate]], list[dict[str, Any]]]:
        everything = [c.architecture for group in groups.values() for c in group]
        timings = self._measure(everything, target, report).paced
        return confirm(self.run.space, groups, timings, target.value)

    def _measure(self, architectures: list[np.ndarray], target: Target, report: Progress) -> Any:
        """Times networks beside some of the profile, where there is one, of about that latency.

        Where the budget is on what can be counted, they are counted instead.
        """
        path, space = self.folder / "measurements.json", self.run.space
        counted = count_networks(space, np.stack(architectures), target.metric)
        if counted is not None:
            return counted
        known = None
        if path.exists():
            known = load_or_offer(path, lambda path: load_measurements(path, space))
        return measure_networks(
            space, np.stack(architectures), known, self.config.profile,
            seed=self.config.seed, around_ms=target.value,
            progress=lambda done, total, what: report(done, total, f"{what} {target.value:.4g} ms"),
        )  # fmt: skip

    def _searched(self) -> tuple[np.ndarray, np.ndarray]:
        path = self.folder / "search.npz"
        try:
            with np.load(path, allow_pickle=False) as saved:
                return saved["logits"], saved["weights"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} is damaged ({error}); delete it and the line search of "
                f"{self.folder / 'stages.json'} to take it from the last checkpoint again"
            ) from error

    def _networks(self) -> dict[str, Any]:
        path = self.folder / "networks.json"
        payload = read_json(path, "file")
        if not isinstance(payload, dict) or len(payload.get("networks", [])) != len(self.members):
            raise UserError(f"{path} is damaged: it must list {len(self.members)} networks")
        return payload


def is_sweep(folder: Path) -> bool:
    """Returns whether a run folder belongs to a sweep."""
    return (Path(folder) / FILE).is_file()


def one_device_each(config: Config) -> Config:
    """Returns the config with every search on one device; UserError when it asks for more."""
    if config.parallel.devices not in (None, 1):
        raise UserError(
            f"parallel.devices = {config.parallel.devices}: each search of a sweep runs on one "
            "device; --sweep.devices says how many devices the searches are spread over"
        )
    return override(config, parallel__devices=1)
