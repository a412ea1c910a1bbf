"""What a run of few-shot learning is made of: classes, methods, budgets."""

import dataclasses
import functools

import jax
import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import DataConfig
from hwnas_jax.cost import AnalyticModel, CostModel
from hwnas_jax.data import Dataset, load_data
from hwnas_jax.data.episodes import (
    ClassSplit,
    EpisodeShape,
    Pool,
    check_examples,
    make_pool,
    split_classes,
)
from hwnas_jax.errors import UserError
from hwnas_jax.nn.precision import compute_dtype
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.relax import RELAXATIONS, check_relaxation
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.population import resolve_within
from hwnas_jax.search.candidates import cost_range, resolve_target
from hwnas_jax.search.meta import META_LEARNERS, MetaLearner, check_learner
from hwnas_jax.search.meta.objectives import Objectives
from hwnas_jax.search.meta.training import Schedule, Within
from hwnas_jax.spaces import Space, make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import TASKS, Task, task_for


class FewShotParts(RunParts):
    """A run folder with the objects that its config describes."""

    @functools.cached_property
    def other(self) -> Dataset | None:
        """Data that are tested on in place of classes of the run's own; None for none.

        Raises:
          UserError: when they cannot be read, are no classes, or are of another size.
        """
        path = self.config.few_shot.other_data
        if path is None:
            return None
        own, data = self.dataset, self.config.data
        other = load_data(
            DataConfig(path=path, shift=0, flip=False, test_fraction=data.test_fraction)
        )
        kinds = [(one.input_shape, one.train_inputs.dtype) for one in (own, other)]
        if kinds[0] != kinds[1]:
            shown = [f"{kind}{list(shape)}" for shape, kind in kinds]
            raise UserError(
                f"few_shot.other_data = {path!r} has inputs {shown[1]}, and the start is learned "
                f"from {shown[0]} of {own.name}: both must be of one size and type"
            )
        return other

    @functools.cached_property
    def split(self) -> ClassSplit:
        """The classes of each part."""
        settings, own = self.config.few_shot, self.dataset.num_outputs
        if self.other is None:
            return split_classes(own, settings.way, self.config.seed, settings.classes)
        if settings.classes is not None:
            raise UserError(
                "few_shot.classes divides the classes of one data set; with few_shot.other_data "
                "all of them are used, leave it out"
            )
        for data in (self.dataset, self.other):
            if data.num_outputs < settings.way:
                raise UserError(
                    f"{settings.way}-way tasks need {settings.way} classes, and {data.name} has "
                    f"{data.num_outputs}; allowed is few_shot.way = 2 to {data.num_outputs}"
                )
        return ClassSplit(tuple(range(own)), (), tuple(range(self.other.num_outputs)))

    @property
    def shape(self) -> EpisodeShape:
        """Of the tasks that the start is judged on."""
        settings = self.config.few_shot
        return EpisodeShape(settings.way, settings.shots, settings.queries)

    @property
    def train_shape(self) -> EpisodeShape:
        """Of the tasks that the start is learned from."""
        shots = self.config.few_shot.train_shots
        return self.shape if shots is None else dataclasses.replace(self.shape, shots=shots)

    @property
    def judged(self) -> tuple[Dataset, tuple[int, ...], str]:
        """The data, the classes and the name of the part that the start is judged on."""
        part = self.config.few_shot.judged_on
        return self.other or self.dataset, getattr(self.split, part), part

    def check_data(self) -> None:
        """Refuses data that episodes cannot be drawn from, before anything runs.

        Raises:
          UserError: when the data are no classes, or there are too few classes or images.
        """
        for data in (self.dataset, self.other):
            if data is not None and data.task != "classification":
                raise UserError(
                    f"few-shot tasks are drawn from classes, and the data set {data.name} is made "
                    f"for task.name = {data.task!r}"
                )
        tested, classes, part = self.judged
        if not classes:
            raise UserError(
                f"few_shot.judged_on = {part!r}, but there are no {part} classes: give "
                f"few_shot.classes three numbers, of which the second is at least "
                f"{self.shape.way}"
            )
        check_examples(self.dataset, self.split.train, self.train_shape, "train")
        check_examples(tested, classes, self.shape, part)

    @functools.cached_property
    def train_pool(self) -> Pool:
        """The examples that the start is learned from."""
        return make_pool(self.dataset, self.split.train)

    @functools.cached_property
    def judged_pool(self) -> Pool:
        """The examples that it is judged on, normalised as those that it is learned from."""
        data, classes, _ = self.judged
        own = self.train_pool
        return make_pool(data, classes)._replace(mean=own.mean, std=own.std)

    @functools.cached_property
    def space(self) -> Space:
        """The search space, with an output for each class of a task."""
        way, part = self.config.few_shot.way, self.config.space
        return make_space(
            part.name, part.args, off=part.off, input_shape=self.dataset.input_shape,
            num_outputs=way, outputs=self.task.outputs(way),
        )  # fmt: skip

    @functools.cached_property
    def task(self) -> Task:
        """What is learned in every episode; UserError when it is not about classes."""
        way = self.config.few_shot.way
        task = TASKS.make(task_for(self.config.task, self.dataset.task))
        classes = np.arange(way, dtype=np.int32)
        task.check(classes, way)
        return task.fit(classes)

    @functools.cached_property
    def learner(self) -> MetaLearner:
        """How the start is learned."""
        learner = META_LEARNERS.make(self.config.few_shot.learner)
        check_learner(learner)
        return learner

    @functools.cached_property
    def objectives(self) -> Objectives:
        """What tasks are made of.

        Raises:
          UserError: for a relaxation or a space that cannot be adapted to tasks.
        """
        config, space = self.config, self.space
        relaxation = RELAXATIONS.make(config.few_shot.relaxation)
        if not relaxation.has_logits or (relaxation.chooses_several and not space.adds_options):
            fit = [
                name
                for name in RELAXATIONS
                if RELAXATIONS[name].has_logits
                and (space.adds_options or not RELAXATIONS[name].chooses_several)
            ]
            raise UserError(
                f"few_shot.relaxation = {relaxation.name!r}: the steps within a task move logits, "
                f"and an option of each decision is kept. Allowed are {', '.join(fit)}"
            )
        check_relaxation(relaxation, space.mask)
        supernet = make_supernet(
            space,
            dtype=compute_dtype(config.search.dtype, "search.dtype"),
            rematerialise=config.search.rematerialise,
        )
        if supernet.scored:
            raise UserError(
                f"the space {space.name} scores its options by their weights, and so has no logits "
                "that a task could adapt; choose another space"
            )
        target = Target(config.target.metric, 1.0, config.target.confidence)
        return Objectives(
            supernet, space.mask, self.task, relaxation, self.budget,
            samples=config.target.samples, deviations=target.deviations,
        )  # fmt: skip

    @property
    def schedule(self) -> Schedule:
        """How long the start is learned; UserError when the warm-up leaves no steps."""
        settings = self.config.few_shot
        if settings.warmup_steps >= settings.steps:
            raise UserError(
                f"few_shot.warmup_steps = {settings.warmup_steps} must be below few_shot.steps = "
                f"{settings.steps}"
            )
        return Schedule(
            settings.steps, settings.warmup_steps, settings.tasks,
            settings.temperature_start, settings.temperature_end, self.within,
        )  # fmt: skip

    @property
    def within(self) -> Within:
        """How a device runs its tasks."""
        return "map" if resolve_within(self.config.few_shot.within) == "map" else "batch"

    @property
    def replicas(self) -> Replicas:
        """The devices; UserError when the tasks of a step do not divide by them."""
        found = Replicas.from_config(self.config.parallel)
        found.check_batch(self.config.few_shot.tasks, "few_shot.tasks")
        return found

    @functools.cached_property
    def targets(self) -> tuple[Target, ...]:
        """The budgets, in the order of their percentiles.

        Raises:
          UserError: when a budget is out of reach.
        """
        settings, percentiles = self.config.target, self.config.few_shot.percentiles
        if not percentiles:
            return ()
        reachable = cost_range(
            self.space, self.cost_model, settings.metric, seed=self.config.seed,
            confidence=settings.confidence,
        )  # fmt: skip
        return tuple(
            resolve_target(
                dataclasses.replace(settings, value=None, percentile=percentile), reachable
            )
            for percentile in percentiles
        )

    def priced_by(self) -> CostModel | None:
        """Returns the cost model of the budgets; None where there are none."""
        if not self.config.few_shot.percentiles:
            return None
        with jax.ensure_compile_time_eval():
            return self.cost_model

    def can_count(self) -> bool:
        """Returns whether all limited metrics can be counted, so that no cost model is needed."""
        target = self.config.target
        return {target.metric, *target.limits} <= set(AnalyticModel.counted_metrics(self.space))
