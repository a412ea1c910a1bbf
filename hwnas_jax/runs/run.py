"""A run: one folder in which the stages from device to report leave their files.

Every stage reads files and leaves files, so that a run can be entered and left anywhere:

  profile   -> measurements.json
  fit_cost  -> cost_model.npz, cost_fit.json
  search    -> target.json, checkpoints/search, metrics.jsonl; where it measures,
               measurements_during_search.json, cost_models/
  derive    -> networks.json, architecture.json
  retrain   -> checkpoints/<network>, networks.json, architecture.json
  measure   -> networks.json
  report    -> report.html, report.json
"""

import contextlib
import datetime
import functools
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hwnas_jax.compile.programs import drop_if_many
from hwnas_jax.config import Config, alone, load_config, override, save_config
from hwnas_jax.cost import (
    CostModel,
    Measured,
    fit_cost,
    load_cost_model,
    load_measurements,
    measure_networks,
    profile,
    save_measurements,
)
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.measure.counts import count_networks
from hwnas_jax.cost.simulate.estimates import estimate_again
from hwnas_jax.data import Dataset, load_data
from hwnas_jax.display import Silent, cost_fit_table
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import load_or_offer, read_json, write_json
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress, StopRequest
from hwnas_jax.parallel.replicas import statistics_axis
from hwnas_jax.report import write_report
from hwnas_jax.runs.checks import check_config
from hwnas_jax.search import (
    Candidate,
    Target,
    cost_range,
    resolve_target,
    search_architecture,
    within_budget,
)
from hwnas_jax.search.derive import confirm, describe
from hwnas_jax.search.refine import newest_model
from hwnas_jax.spaces import Space, make_space
from hwnas_jax.spaces.core.architecture_files import save_architecture
from hwnas_jax.train.training import Trained, train

STAGES = ("profile", "fit_cost", "search", "derive", "retrain", "measure", "report")
SHARED_STAGES = ("search", "retrain")


class Run:
    """One run folder and the stages that fill it.

    Attributes:
      folder: where the files lie.
      config: the experiment.
      display: what shows progress and results.
    """

    def __init__(self, folder: Path, config: Config, display: Silent):
        self.folder, self.config, self.display = Path(folder), config, display

    @classmethod
    def create(
        cls, config: Config, folder: Path | None = None, *, display: Silent | None = None
    ) -> "Run":
        """Makes a new run folder, `runs/<name>-<time>` unless one is named.

        Raises:
          UserError: when the folder exists; nothing is ever overwritten.
        """
        check_config(config)
        if folder is None:
            stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            folder = Path("runs") / f"{config.name}-{stamp}"
            number = 2
            while folder.exists():
                folder = Path("runs") / f"{config.name}-{stamp}-{number}"
                number += 1
        folder = Path(folder)
        if folder.exists():
            raise UserError(
                f"the run folder {folder} exists and is not overwritten: continue it with "
                f"--resume {folder}, or name another"
            )
        run = cls(folder, config, display or Silent())
        run.space  # noqa: B018  an unknown data set or space leaves no folder behind
        folder.mkdir(parents=True)
        # Where the processes of a job are belongs to its start, not to the experiment.
        save_config(override(config, parallel=alone(config.parallel)), folder / "config.json")
        write_json(folder / "versions.json", versions())
        write_json(
            folder / "space.json",
            {
                "decisions": [
                    {"name": d.name, "options": list(d.options)} for d in run.space.decisions
                ]
            },
        )
        return run

    @classmethod
    def open(cls, folder: Path, *, display: Silent | None = None) -> "Run":
        """Opens an existing run folder; UserError when it is none."""
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            near = sorted(p.parent.name for p in folder.parent.glob("*/config.json"))
            known = f"; runs beside it: {', '.join(near[-5:])}" if near else ""
            raise UserError(f"{folder} is no run folder: it has no config.json{known}")
        return cls(folder, load_config(str(folder / "config.json")), display or Silent())

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set."""
        return load_data(self.config.data)

    @functools.cached_property
    def space(self) -> Space:
        """The search space, in the shape of the data."""
        return make_space(
            self.config.space.name, self.config.space.args, off=self.config.space.off,
            input_shape=self.dataset.input_shape, num_outputs=self.dataset.num_outputs,
        )  # fmt: skip

    @functools.cached_property
    def cost_model(self) -> CostModel:
        """The fitted cost model; after a search that measured, as it was fitted last."""
        # Kept between calls, so its arrays must not belong to a trace it is first read in.
        path = self.folder / "cost_model.npz"
        if self.finished("search"):
            path = newest_model(self.folder)
        with jax.ensure_compile_time_eval():
            return load_or_offer(path, lambda path: load_cost_model(path, self.space))

    @property
    def target(self) -> Target:
        """The budget that was resolved before the search."""
        payload = self._read("target.json", "metric", "target_ms")
        return Target(payload["metric"], payload["target_ms"], payload.get("confidence"))

    def adopt(self, *, measurements: Path | None = None, cost_model: Path | None = None) -> None:
        """Takes files of another run in place of the stages that would make them.

        Raises:
          UserError: when a file is damaged or belongs to another space.
        """
        if measurements is not None:
            given = load_or_offer(measurements, lambda path: load_measurements(path, self.space))
            save_measurements(given, self.folder / "measurements.json")
            self._finish("profile", 0.0)
        if cost_model is not None:
            load_or_offer(cost_model, lambda path: load_cost_model(path, self.space))
            shutil.copyfile(cost_model, self.folder / "cost_model.npz")
            for stage in ("profile", "fit_cost"):
                self._finish(stage, 0.0)

    def finished(self, stage: str) -> bool:
        """Returns whether the stage has left its files."""
        return stage in self._stages()

    def all(self, *, until: str = "report", from_step: int | None = None) -> None:
        """Runs the stages that are not finished yet, in order.

        In a job of several processes all search and retrain; process 0 does the rest while the
        others wait. They share one folder.

        Args:
          until: the last stage to run.
          from_step: the search checkpoint to continue from; None takes the newest.
        """
        choose(until, STAGES, "stage")
        for stage in STAGES[: STAGES.index(until) + 1]:
            waiting = functools.partial(StopRequest.check, f"stopped waiting for {stage}")
            if distributed.exchange(self.finished(stage), waiting)[0]:
                continue
            if stage == "search":
                self.search(from_step=from_step)
            elif stage in SHARED_STAGES or distributed.is_first():
                getattr(self, stage)()

    def profile(self) -> Path:
        """Times the space's operations and a sample of its networks on this device."""
        path = self.folder / "measurements.json"
        with self.stage("profile") as report:
            measured = profile(
                self.space, self.config.profile, seed=self.config.seed, progress=report
            )
            save_measurements(measured, path)
        times = measured.latencies_ms
        samples = [network["latency_ms"] for network in measured.networks]
        spread = np.median([sample.iqr / sample.median for sample in samples])
        done = f"{len(times)} networks {measured.source}"
        if measured.source == "measured":
            done = f"{len(measured.operations)} operations and {len(times)} networks timed"
        self.display.say(
            f"{done} at batch {measured.batch_size}: {times.min():.3g} to {times.max():.3g} ms, "
            f"median {np.median(times):.3g} ms, typical spread {spread:.1%}"
        )
        for note in measured.notes:
            self.display.say(note)
        return path

    def fit_cost(self) -> Path:
        """Trains the learned cost model on the measurements and judges it on held-out networks."""
        path = self.folder / "cost_model.npz"
        with self.stage("fit_cost") as report:
            measured = load_or_offer(
                self.folder / "measurements.json", lambda p: load_measurements(p, self.space)
            )
            model, fitted = fit_cost(
                self.space, measured, self.config.cost, seed=self.config.seed, progress=report
            )
            model.save(path, self.space)
            write_json(self.folder / "cost_fit.json", fitted.to_dict())
        self.__dict__.pop("cost_model", None)
        self.display.table(*cost_fit_table(fitted.to_dict()))
        return path

    def resolve_target(self) -> Target:
        """Fixes the budget in milliseconds; UserError when it is out of reach."""
        settings = self.config.target
        choose(settings.metric, self.cost_model.metrics, "metric of the cost model")
        reachable = cost_range(
            self.space, self.cost_model, settings.metric, seed=self.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        target = resolve_target(settings, reachable)
        write_json(
            self.folder / "target.json",
            {
                "metric": target.metric,
                "target_ms": target.value,
                "percentile": settings.percentile if settings.ms is None else None,
                "confidence": target.confidence,
                "range_ms": [reachable.lowest, reachable.highest],
                "quantiles": {str(q): reachable.at(q) for q in (5, 25, 50, 75, 95)},
            },
        )
        name = unit(target.metric)
        each = " per call" if name == "ms" else ""
        self.display.say(
            f"target {target.value:.4g} {name}{each}; reachable are {reachable.lowest:.3g} to "
            f"{reachable.highest:.3g} {name}, median {reachable.at(50):.3g} {name}"
        )
        return target

    def search(self, *, from_step: int | None = None) -> np.ndarray:
        """Optimises weights and architecture together; returns the probabilities `[D, K]`."""
        started = (self.folder / "checkpoints" / "search").is_dir()
        if distributed.is_first() and not started:
            self.resolve_target()
        distributed.exchange(None)
        target = self.target
        with self.stage("search") as report:
            result = search_architecture(
                self.space, self.dataset, self.cost_model, target, self.config,
                folder=self.folder, from_step=from_step, progress=report,
            )  # fmt: skip
            if distributed.is_first():
                np.savez(self.folder / "search.npz", logits=np.asarray(result.state.logits))
        self.__dict__.pop("cost_model", None)
        return result.probabilities

    def derive(self) -> list[dict[str, Any]]:
        """Picks the most probable architectures within the budget, and as many at random.

        Random search draws from the very same architectures, those predicted to use between
        1 - tolerance and all of the budget, and the same number of both is measured before any is
        retrained: what turns out to miss the budget is passed over.
        """
        with self.stage("derive") as report:
            report(0, 1, "candidates")
            groups = {"search": self.candidates(), "random": self.candidates(by_chance=True)}
            report(1, 1, "candidates")
            groups, confirmations = self._confirm(groups, report)
            met = {row["string"]: row["meets_budget"] for row in confirmations}
            networks = [
                {
                    **describe(self.space, self.cost_model, self.target, candidate, origin, number),
                    "meets_budget": met.get(self.space.to_string(candidate.architecture)),
                }
                for origin, group in groups.items()
                for number, candidate in enumerate(group[: self.config.retrain.networks])
            ]
            write_json(
                self.folder / "networks.json",
                {"networks": networks, "confirmations": confirmations},
            )
            save_architecture(
                self.folder / "architecture.json",
                self.space,
                self.space.from_names(networks[0]["architecture"]),
            )
        self.display.say(
            f"{networks[0]['string']}, predicted {networks[0]['predicted_ms']:.4g} "
            f"{unit(self.target.metric)}"
        )
        return networks

    def _confirm(
        self, groups: dict[str, list[Candidate]], report: Progress
    ) -> tuple[dict[str, list[Candidate]], list[dict[str, Any]]]:
        """Measures the first candidates of each group; `confirm` says what becomes of them."""
        if not self.config.target.confirm:
            return groups, []
        count = max(self.config.target.confirm, self.config.retrain.networks)
        groups = {origin: group[:count] for origin, group in groups.items()}
        everything = [candidate.architecture for group in groups.values() for candidate in group]
        timings = self._measure(everything, report).paced
        groups, rows = confirm(self.space, groups, timings, self.target.value)
        met = sum(row["meets_budget"] for row in rows)
        self.display.say(f"{met} of {len(rows)} networks within the budget when measured")
        return groups, rows

    def _measure(self, architectures: list[np.ndarray], report: Progress) -> Measured:
        """Times networks beside some of the profile that take about as long as the target.

        Where the budget is on what can be counted, they are counted instead.
        """
        counted = count_networks(self.space, np.stack(architectures), self.target.metric)
        if counted is not None:
            self.display.say(f"{len(architectures)} networks counted: {self.target.metric}")
            return counted
        known = load_or_offer(
            self.folder / "measurements.json", lambda path: load_measurements(path, self.space)
        )
        if known.source != "measured":
            rows = estimate_again(self.space, np.stack(architectures), known, report)
            metric = self.target.metric if self.target.metric in rows[0] else "latency_ms"
            latencies = [row[metric] for row in rows]
            self.display.say(f"{len(rows)} networks by {known.source}; nothing was measured")
            return Measured(paced=latencies, clocked=latencies, drift=1.0)
        return measure_networks(
            self.space, np.stack(architectures), known, self.config.profile,
            seed=self.config.seed, around_ms=self.target.value, progress=report,
        )  # fmt: skip

    def candidates(
        self, *, target_ms: float | None = None, by_chance: bool = False
    ) -> list[Candidate]:
        """Returns the architectures within the budget, the most probable first.

        Args:
          target_ms: another budget than the run's own.
          by_chance: in random order instead, as random search takes them.
        """
        target = self.target
        if target_ms is not None:
            target = target._replace(value=target_ms)
        path = self.folder / "search.npz"
        if not path.exists():
            raise UserError(f"{self.folder} holds no finished search; continue it with --resume")
        try:
            with np.load(path, allow_pickle=False) as saved:
                logits = saved["logits"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} is damaged ({error}); delete it and the line search of "
                f"{self.folder / 'stages.json'} to take it from the last checkpoint again"
            ) from error
        return within_budget(
            self.space, self.cost_model, target, self.config.target.tolerance,
            logits=None if by_chance else logits, seed=self.config.seed,
        )  # fmt: skip

    def retrain(self) -> list[dict[str, Any]]:
        """Trains the derived and the random networks from scratch and tests them.

        Of each origin, the best by validation accuracy among those that met the budget when
        measured is marked selected; the searched one becomes `architecture.json`.
        """
        payload = self._networks()
        networks = payload["networks"]
        distributed.exchange(None)  # process 0 writes the file, so all have read it
        with self.stage("retrain") as report:
            for entry in networks:
                if entry.get("test_accuracy") is None:
                    trained = self._train(entry, report)
                    entry["validation_accuracy"] = trained.validation_accuracy
                    entry["test_accuracy"] = trained.test_accuracy
                    self._write("networks.json", payload)
            for origin in ("search", "random"):
                group = [entry for entry in networks if entry["origin"] == origin]
                meeting = [entry for entry in group if entry["meets_budget"]] or group
                best = max(meeting, key=lambda entry: entry["validation_accuracy"])
                for entry in group:
                    entry["selected"] = entry is best
            self._write("networks.json", payload)
            chosen = next(e for e in networks if e["selected"] and e["origin"] == "search")
            if distributed.is_first():
                save_architecture(
                    self.folder / "architecture.json",
                    self.space,
                    self.space.from_names(chosen["architecture"]),
                )
        self.display.say(
            f"test accuracy {chosen['test_accuracy']:.2%} ({chosen['label']}, of "
            f"{self.config.retrain.networks} retrained)"
        )
        return networks

    def trained(self, label: str | None = None) -> Trained:
        """Returns a retrained network by its label; the selected one when none is named."""
        return self._train(self.network(label), None)

    def network(self, label: str | None = None) -> dict[str, Any]:
        """Returns what `networks.json` has of a network; of the selected one by default."""
        networks = self._networks()["networks"]
        if label is None:
            label = next(e["label"] for e in networks if e.get("selected"))
        choose(label, [e["label"] for e in networks], "network")
        return next(e for e in networks if e["label"] == label)

    def _train(self, entry, report) -> Trained:
        architecture = self.space.from_names(entry["architecture"])
        number = int(entry["label"].rpartition("-")[2])
        options = {} if report is None else {"progress": report}
        build = functools.partial(
            self.space.network, architecture, axis_name=statistics_axis(self.config.parallel)
        )
        return train(
            build, self.dataset, self.config,
            label=entry["label"], seed=1000 * self.config.seed + number, folder=self.folder,
            **options,
        )  # fmt: skip

    def measure(self) -> list[dict[str, Any]]:
        """Times the retrained networks on this device, beside some networks of the profile.

        `measured_ms` is at the pace the device had when it was profiled, `measured_now_ms` as the
        clock said.
        """
        payload = self._networks()
        networks = payload["networks"]
        with self.stage("measure") as report:
            measured = self._measure(
                [self.space.from_names(entry["architecture"]) for entry in networks], report
            )
            for entry, paced, clocked in zip(
                networks, measured.paced, measured.clocked, strict=True
            ):
                entry["measured_ms"] = paced.median
                entry["measured_iqr_ms"] = paced.iqr
                entry["measured_now_ms"] = clocked.median
            payload["drift"] = measured.drift
            write_json(self.folder / "networks.json", payload)
        return networks

    def report(self) -> Path:
        """Writes the page and its figures as JSON; returns the page."""
        with self.stage("report") as report:
            report(0, 1, "report")
            page = write_report(self.folder)
            report(1, 1, "report")
        return page

    def _networks(self) -> dict[str, Any]:
        return self._read("networks.json", "networks")

    def _read(self, name: str, *keys: str) -> dict[str, Any]:
        """Returns a JSON file of the run that holds an object with all of `keys`."""
        payload = read_json(self.folder / name, "file")
        missing = [key for key in keys if not isinstance(payload, dict) or key not in payload]
        if missing:
            raise UserError(f"{self.folder / name} is damaged: it lacks {', '.join(missing)}")
        return payload

    def _stages(self) -> dict[str, Any]:
        path = self.folder / "stages.json"
        return read_json(path, "file of stages") if path.exists() else {}

    def _finish(self, stage: str, seconds: float) -> None:
        self._write("stages.json", {**self._stages(), stage: {"seconds": seconds}})

    def _write(self, name: str, payload: Any) -> None:
        """Writes a JSON file of the run, in the one process that does."""
        if distributed.is_first():
            write_json(self.folder / name, payload)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Shows a stage's progress, and notes its time when it ends well."""
        drop_if_many()
        started = time.perf_counter()
        with self.display.stage(name) as report:
            yield report
        if name != "report" or self.finished("measure"):
            self._finish(name, round(time.perf_counter() - started, 2))


def versions() -> dict[str, Any]:
    """Returns the versions and the device a run was made with."""
    return {
        **describe_software("optax", "orbax-checkpoint", "tensorflow-datasets", "numpy"),
        "device": describe_device(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
