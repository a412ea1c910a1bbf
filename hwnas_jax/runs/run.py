"""A run: one folder in which the stages from device to report leave their files.

A run searches for one network, or for a whole front of them: every target with every seed. The
stages are the same. Each reads files and leaves files, so that a run can be entered and left
anywhere:

  profile   -> measurements.json
  fit_cost  -> cost_model.npz, cost_fit.json
  search    -> targets.json, checkpoints/search, metrics.jsonl, search.npz; where it measures,
               measurements_during_search.json, cost_models/
  derive    -> networks.json, architecture.json or architectures/<search>.json; to_measure.csv
               where the device is not here, which device.json says from the start;
               judged_<search>.npz where the supernet is asked for networks of any budgets
  retrain   -> checkpoints/<network>, tested.npz, examples_<network>.npz, networks.json,
               architecture.json
  measure   -> networks.json
  report    -> report.html, report.json
"""

import dataclasses
import functools
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from hwnas_jax.budgets import check_budget
from hwnas_jax.config import Config, override
from hwnas_jax.cost import (
    AnalyticModel,
    fit_cost,
    load_cost_model,
    load_measurements,
    save_measurements,
)
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.files.unit_doubts import measurement_doubts
from hwnas_jax.cost.models.model_file import read_origin
from hwnas_jax.cost.simulate.estimates import computes
from hwnas_jax.data import Dataset
from hwnas_jax.data.sizes import check_search_sizes
from hwnas_jax.data.stored import save_dataset
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import StopRequest
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.report import write_report
from hwnas_jax.report.run_files import write_run_file
from hwnas_jax.runs.activations import check_supernet
from hwnas_jax.runs.checks import check_config, check_limits, check_methods, one_device_each
from hwnas_jax.runs.cost_stages import CostStages
from hwnas_jax.runs.elsewhere import Elsewhere
from hwnas_jax.runs.folder import new_folder
from hwnas_jax.runs.for_search import with_known_sources
from hwnas_jax.runs.given import Architecture
from hwnas_jax.runs.handed_back import take_back
from hwnas_jax.runs.network_costs import check_costs
from hwnas_jax.runs.network_stages import NetworkStages
from hwnas_jax.runs.population import Member, make_members
from hwnas_jax.runs.recycling import check_recycling
from hwnas_jax.runs.searching import run_searches
from hwnas_jax.runs.start import given_start
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.search.candidates import check_reachable, cost_range, resolve_target
from hwnas_jax.tasks import described, task_for
from hwnas_jax.train.curriculum import check_curriculum

STAGES = ("profile", "fit_cost", "search", "derive", "retrain", "measure", "report")
SHARED_STAGES = ("search", "retrain")


class Run(CostStages, NetworkStages):
    """One run folder and the stages that fill it."""

    @classmethod
    def create(
        cls,
        config: Config,
        folder: Path | None = None,
        *,
        data: Dataset | None = None,
        wanted: Wanted | None = None,
        start: Iterable[Architecture] | None = None,
        measurements: Path | None = None,
        cost_model: Path | None = None,
        display: Silent | None = None,
    ) -> Self:
        """Makes a new run folder; a mistake leaves none behind.

        Args:
          config: the experiment; its target and seed give way to what is wanted.
          folder: its path; `runs/<name>-<time>` when left out.
          data: in place of those that the config names, such as `hwnas_jax.data.arrays(...)`. The
            run keeps them in its folder, as `data.npz`.
          wanted: targets and seeds; the config's own when left out.
          start: networks that a strategy begins with, the best first, such as `int[n, D]`; see
            `hwnas_jax.runs.start.given_start`. `search.start_from` takes those of another run.
          measurements: as in `adopt`.
          cost_model: as in `adopt`; the targets are then checked at once.
          display: what shows progress and results.

        Raises:
          UserError: for an existing folder, and for whatever can be refused before anything runs.
        """
        run = cls(
            new_folder(config.name) if folder is None else folder, config, display or Silent(),
            (wanted or Wanted()).check(),
        )  # fmt: skip
        if data is not None:
            run.take(data)
        run._check()
        begin = None
        if start is not None:
            begin = given_start(run.space, start, run.config, run.wanted.searches(run.config))
        with run.beginning(named=folder is not None):
            if data is not None:
                run.take(data)  # the folder may have become another since
            run.describe(run.space.decisions)
            for note in dict.fromkeys((*run.dataset.notes, *run.for_search.dataset.notes)):
                run.display.say(note)
            if data is not None:
                save_dataset(data, run.kept_data)
            if begin is not None:
                begin.save(run.folder)
            run.adopt(measurements=measurements, cost_model=cost_model)
            counted = run.count_costs() if measurements is cost_model is None else False
            run.check_costs(fitted=counted or cost_model is not None)
        return run

    def _check(self) -> None:
        """Refuses what a later stage would refuse."""
        if self.wanted.several:
            self.config = one_device_each(self.config)
        self.config = override(
            with_known_sources(self.config), task=task_for(self.config.task, self.dataset.task)
        )
        check_config(self.config)
        given = self.for_search
        check_search_sizes(self.config, self.dataset, searched=given.dataset)
        check_methods(given.config, given.space, given.dataset)
        check_supernet(given.config, given.space)
        check_recycling(type(self), self.config, self.space, self.task, self.dataset)
        some = self.space.random(np.random.default_rng(0), 1)[0]
        build = functools.partial(self.space.network, some)
        check_curriculum(build, self.config.retrain, self.dataset.input_shape)
        if self.wanted.several:
            count = self.wanted.searches(self.config)
            Members.over(count, self.config.sweep.devices, self.config.parallel.backend)

    def count_costs(self) -> bool:
        """Makes the cost model by counting, where nothing need be measured for it.

        Returns:
          Whether it did: where the cost model is `analytic` and every limit is on what it counts.
        """
        target = self.config.target
        limited = {target.metric, *target.limits}
        if self.config.cost.model.name != AnalyticModel.name or "latency_ms" in limited:
            return False
        counted = AnalyticModel.count(self.space, memory="peak_memory_mib" in limited)
        if not limited <= set(counted.metrics):
            return False
        counted.save(self.folder / "cost_model.npz", self.space)
        for stage in ("profile", "fit_cost"):
            self.finish(stage, 0.0)
        self.display.say(f"costs are counted: {', '.join(sorted(limited))}; nothing is profiled")
        return True

    def check_costs(self, *, fitted: bool) -> None:
        """Refuses budgets that cannot be predicted, or met networks that could not be confirmed.

        Args:
          fitted: whether there is a cost model already.

        Raises:
          UserError: names the metric, or the target, and what is allowed.
        """
        config, path = self.config, self.folder / "measurements.json"
        elsewhere = Elsewhere.load(self.folder)
        if elsewhere is not None and config.target.measurements:
            raise UserError(
                f"target.measurements = {config.target.measurements}: {elsewhere} is not here, so "
                f"nothing can be measured during the search ({elsewhere.reason})"
            )
        if fitted:
            self.resolve_targets()
        else:
            known = load_measurements(path, self.space) if path.exists() else None
            observed = None if known is None else known.metrics or ("latency_ms",)
            check_limits(config, self.budget, self.space, observed)
        if config.derive.confirm and elsewhere is None:
            check_costs(self.space, config.target.metric, self.folder, config)

    def adopt(self, *, measurements: Path | None = None, cost_model: Path | None = None) -> None:
        """Takes files of another run in place of the stages that would make them.

        Where their costs are of a device that this machine cannot speak for, the run notes that:
        it times nothing then.

        Args:
          measurements: a measurement file, in place of profiling.
          cost_model: a cost model, in place of profiling and fitting.

        Raises:
          UserError: when a file is damaged or belongs to another space.
        """
        origin = None
        if measurements is not None:
            given = load_or_offer(measurements, lambda path: load_measurements(path, self.space))
            origin = given.origin
            for note in (*given.notes, *measurement_doubts(given, self.space)):
                self.display.say(note)
            if not given.networks:
                fit_cost(self.space, given, self.config.cost)  # refuses a table with a gap
            save_measurements(given, self.folder / "measurements.json")
            self.finish("profile", 0.0)
        if cost_model is not None:
            load_or_offer(cost_model, lambda path: load_cost_model(path, self.space))
            origin = origin or read_origin(cost_model)
            shutil.copyfile(cost_model, self.folder / "cost_model.npz")
            for stage in ("profile", "fit_cost"):
                self.finish(stage, 0.0)
        if measurements is cost_model is None or computes(self.space, self.config.profile):
            return
        elsewhere = Elsewhere.find(origin, self.config.profile, model_alone=measurements is None)
        if elsewhere is not None:
            elsewhere.save(self.folder)
            if self.config.target.metric not in AnalyticModel.counted_metrics(self.space):
                self.display.say(elsewhere.announcement)

    def all(self, *, until: str = "report", from_step: int | None = None) -> None:
        """Runs the stages that are not finished yet, in order.

        In a job of several processes all search and retrain; process 0 does the rest while the
        others wait. They share one folder.

        Args:
          until: the last stage to run.
          from_step: the search checkpoint to continue from; None takes the newest.

        Raises:
          UserError: when another command is writing to the folder, or whatever a stage raises.
        """
        choose(until, STAGES, "stage")
        with self.writing():
            self._all(until, from_step)

    def _all(self, until: str, from_step: int | None) -> None:
        for stage in STAGES[: STAGES.index(until) + 1]:
            if stage == "retrain" and not self.wanted.retrain:
                continue
            waiting = functools.partial(StopRequest.check, f"stopped waiting for {stage}")
            if distributed.exchange(self.finished(stage), waiting)[0]:
                continue
            if stage == "search":
                self.search(from_step=from_step)
            elif stage in SHARED_STAGES or distributed.is_first():
                getattr(self, stage)()

    def resolve_targets(self) -> tuple[Member, ...]:
        """Fixes the budgets; UserError when one is out of reach or a repetition."""
        settings, model = self.config.target, self.cost_model
        metrics = {settings.metric: 1.0, **settings.limits}
        check_budget(self.budget, metrics, model.metrics)
        reachable = cost_range(
            self.space, model, settings.metric, seed=self.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        budgets = self.wanted.budgets(self.config)
        targets = [
            resolve_target(
                dataclasses.replace(settings, value=value, percentile=percentile or 0.0), reachable
            )
            for value, percentile in budgets
        ]
        if settings.limits:
            for target in targets:
                check_reachable(self.space, model, target, seed=self.config.seed)
        if self.wanted.several:
            make_members(targets, self.wanted.all_seeds(self.config))
        write_run_file(
            self.folder,
            "targets",
            {
                "metric": settings.metric,
                "unit": unit(settings.metric),
                "confidence": settings.confidence,
                "limits": settings.limits,
                "budget": self.budget.name,
                "targets": [
                    {"value": target.value, "percentile": percentile}
                    for target, (_, percentile) in zip(targets, budgets, strict=True)
                ],
                "range": [reachable.lowest, reachable.highest],
                "quantiles": {str(q): reachable.at(q) for q in (5, 25, 50, 75, 95)},
                "task": described(self.task, self.dataset),
            },
        )
        self.__dict__.pop("members", None)
        name, values = unit(settings.metric), [target.value for target in targets]
        each = " per call" if name == "ms" else ""
        each += f" on {self.unmeasured.device}" if self.unmeasured else ""
        count = f"target {values[0]:.4g}"
        if len(values) > 1:
            count = f"{len(values)} targets, {min(values):.4g} to {max(values):.4g}"
        self.display.say(
            f"{count} {name}{each}; reachable are {reachable.lowest:.3g} to "
            f"{reachable.highest:.3g} {name}, median {reachable.at(50):.3g} {name}"
        )
        return self.members

    def search(self, *, from_step: int | None = None) -> None:
        """Runs the searches; those of a sweep in one program."""
        started = (self.folder / "checkpoints").is_dir()
        if distributed.is_first() and not started:
            self.resolve_targets()
        distributed.exchange(None)
        self.__dict__.pop("members", None)
        with self.stage("search") as report:
            given = self.for_search
            found = run_searches(
                given.space, given.dataset, self.cost_model, self.members, given.config,
                folder=self.folder, several=self.wanted.several, from_step=from_step,
                display=self.display, progress=report,
            )  # fmt: skip
            if distributed.is_first():
                found.save(self.folder)
        for name in ("cost_model", "proposals"):
            self.__dict__.pop(name, None)

    def take_back(self, path: Path) -> list[str]:
        """Takes what a person has measured of the networks on a device that is not here.

        Args:
          path: the filled `to_measure.csv`, or a measurement file of the same networks.

        Returns:
          Sentences for people.

        Raises:
          UserError: as `handed_back.take_back`.
        """
        return take_back(self, path)

    def report(self) -> Path:
        """Writes the page and its figures as JSON; returns the page."""
        with self.stage("report") as report:
            report(0, 1, "report")
            page = write_report(self.folder)
            report(1, 1, "report")
        return page
