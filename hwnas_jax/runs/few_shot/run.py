"""A run of few-shot learning: one folder in which its stages leave their files.

(start)  -> config.json, few_shot.json with the classes; cost_model.npz where there are budgets
learn    -> checkpoints/meta, metrics.jsonl, start.npz
judge    -> checkpoints/judge, episodes.npz, few_shot.json
report   -> report.html
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Self

import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets import check_budget
from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel, load_cost_model
from hwnas_jax.data import Dataset, recognised
from hwnas_jax.data.stored import save_dataset
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.files.whole import write_whole
from hwnas_jax.report.few_shot_files import FILE, Classes, FewShotFile, is_few_shot
from hwnas_jax.runs.checks import check_limits
from hwnas_jax.runs.cost_stages import CostStages
from hwnas_jax.runs.few_shot.judging import groups_of, judge_start
from hwnas_jax.runs.few_shot.learning import learn_start
from hwnas_jax.runs.few_shot.parts import FewShotParts
from hwnas_jax.runs.folder import new_folder
from hwnas_jax.search.meta.base import Learned
from hwnas_jax.search.meta.judging import Judged
from hwnas_jax.tasks import task_for

STAGES = ("profile", "fit_cost", "learn", "judge", "report")
START, EPISODES = "start.npz", "episodes.npz"


class FewShotRun(CostStages, FewShotParts):
    """One run folder and the stages that fill it."""

    @classmethod
    def create(
        cls,
        config: Config,
        folder: Path | None = None,
        *,
        data: Dataset | None = None,
        cost_model: Path | None = None,
        display: Silent | None = None,
    ) -> Self:
        """Makes a new run folder; a mistake leaves none behind.

        Args:
          config: the experiment; `few_shot`, `space`, `data`, `task`, `budget`, `target`, `seed`
            and `parallel` are read, of `search` the type that the network computes in, and where
            networks are timed `profile` and `cost`.
          folder: its path; `runs/<name>-<time>` when left out.
          data: in place of those that the config names. The run keeps them in its folder.
          cost_model: of the device whose budgets are kept, and of this space with an output for
            each class of a task. Without one, networks are timed on this device, unless the budgets
            are in what can be counted.
          display: what shows progress and results.

        Raises:
          UserError: for an existing folder, and for whatever can be refused before anything runs.
        """
        run = cls(new_folder(config.name) if folder is None else folder, config,
                  display or Silent())  # fmt: skip
        if data is not None:
            run.take(data)
        run.check()
        with run.beginning(named=folder is not None):
            if data is not None:
                run.take(data)
                save_dataset(data, run.kept_data)
            run.describe(run.space.decisions)
            run._take_costs(cost_model)
            for note in run.dataset.notes:
                run.display.say(note)
            run._described().save(run.folder)
        return run

    @classmethod
    def open(cls, folder: Path, *, display: Silent | None = None) -> Self:
        """Opens an existing run folder; UserError when it is none of few-shot learning."""
        run = super().open(folder, display=display)
        if not is_few_shot(run.folder):
            raise UserError(
                f"{folder} is no run of few-shot learning: it has no {FILE}; continue it with: "
                f"{run._continued('search')}"
            )
        return run

    @property
    def goes_on(self) -> str:
        """Says how the run is continued."""
        return f"continue with: {self._continued('fewshot')}"

    def _continued(self, command: str) -> str:
        return f"hwnas {command} --resume {self.folder}"

    def check(self) -> None:
        """Refuses what a later stage would refuse."""
        self.config = override(
            self.config, data=recognised(self.config.data),
            task=task_for(self.config.task, self.dataset.task),
        )  # fmt: skip
        self.check_data()
        for part in (self.learner, self.objectives, self.schedule, self.replicas):
            assert part is not None  # made once here, so that mistakes show
        self._check_budgets()

    def _check_budgets(self) -> None:
        percentiles = self.config.few_shot.percentiles
        twice = [value for value in percentiles if percentiles.count(value) > 1]
        if twice:
            raise UserError(f"few_shot.percentiles has {twice[0]:g} more than once")
        if self.config.target.value is not None:
            raise UserError(
                "target.value is the budget of a search; tasks are adapted to budgets by "
                "few_shot.percentiles"
            )

    def _take_costs(self, given: Path | None) -> None:
        """Puts a cost model that is given or counted into the folder, and fixes the budgets."""
        percentiles, target = self.config.few_shot.percentiles, self.config.target
        path = self.folder / "cost_model.npz"
        if given is not None:
            if not percentiles:
                raise UserError(
                    "--cost-model is for budgets, and few_shot.percentiles names none: add, for "
                    "instance, --few-shot.percentiles 10 25 50"
                )
            load_or_offer(given, lambda one: load_cost_model(one, self.space))
            shutil.copyfile(given, path)
        elif percentiles and self.can_count():
            AnalyticModel.count(self.space).save(path, self.space)
        elif percentiles:
            check_limits(self.config, self.budget, self.space, None)
            return
        for stage in ("profile", "fit_cost"):
            self.finish(stage, 0.0)
        if percentiles:
            limits = {target.metric: 1.0, **target.limits}
            check_budget(self.budget, limits, self.cost_model.metrics)
            assert self.targets  # a budget out of reach is refused here

    def _described(self) -> FewShotFile:
        names, way = self.dataset.output_names, self.config.few_shot.way
        tested, _, part = self.judged
        test = tested.output_names if self.other is not None else names
        task = self.task
        return FewShotFile(
            Classes(
                [names[number] for number in self.split.train],
                [names[number] for number in self.split.validation],
                [test[number] for number in self.split.test],
            ),
            metric=task.metric,
            unit=task.unit,
            higher_is_better=task.higher_is_better,
            chance=task.chance(np.arange(way, dtype=np.int32), way),
            cost_metric=self.config.target.metric,
            judged_on=part,
        )

    def all(self, *, until: str = "report") -> None:
        """Runs the stages that are not finished yet, in order.

        Args:
          until: the last stage to run.

        Raises:
          UserError: when another command is writing to the folder, or whatever a stage raises.
        """
        choose(until, STAGES, "stage")
        with self.writing():
            for stage in STAGES[: STAGES.index(until) + 1]:
                if not self.finished(stage):
                    getattr(self, stage)()

    def learn(self) -> None:
        """Learns the start."""
        with self.stage("learn") as report:
            start = learn_start(self, folder=self.folder, progress=report)
            write_npz(
                self.folder / START,
                {"weights": np.asarray(start.weights), "params": np.asarray(start.params)},
                compressed=False,
            )

    def start(self) -> Learned:
        """Returns the learned start; UserError when it is not learned yet, or damaged."""
        path = self.folder / START
        if not path.exists():
            raise UserError(f"{self.folder} holds no learned start; {self.goes_on}")
        count = self.objectives.supernet.num_weights
        known = {
            "weights": Array("float", (count,)),
            "params": Array("float", self.space.mask.shape),
        }
        try:
            found = read_npz(path, known)
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        return Learned(jnp.asarray(found["weights"]), jnp.asarray(found["params"]))

    def judged_episodes(self) -> list[Judged]:
        """Returns what the episodes gave, without a budget and then under each."""
        path = self.folder / EPISODES
        figures = len(Judged._fields)
        known = {"figures": Array("float", (1 + len(self.targets), "E", figures))}
        try:
            found = read_npz(path, known)
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        return [Judged(*np.moveaxis(one, -1, 0)) for one in found["figures"]]

    def judge(self) -> None:
        """Judges the start on episodes of classes that it has not seen."""
        if self.targets:
            shown = ", ".join(f"{target.value:.4g}" for target in self.targets)
            self.display.say(f"budgets of {self.config.target.metric}: {shown}")
        with self.stage("judge") as report:
            judged = judge_start(self, self.start(), folder=self.folder, progress=report)
            figures = np.stack([np.stack(one, axis=-1) for one in judged])
            write_npz(self.folder / EPISODES, {"figures": figures})
            found = dataclasses.replace(
                self._described(), episodes=figures.shape[1], groups=groups_of(self, judged)
            )
            found.save(self.folder)

    def report(self) -> Path:
        """Writes the page."""
        from hwnas_jax.report.few_shot_page import render

        path = self.folder / "report.html"
        with self.stage("report") as report:
            write_whole(path, render(self.folder))
            self.finish("report", 0.0)
            report(1, 1, "report")
        return path
