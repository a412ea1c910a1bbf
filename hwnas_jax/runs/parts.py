"""What a run is made of: its data, space, task, budget, cost model and searches."""

import dataclasses
import functools
from pathlib import Path

import jax

from hwnas_jax.budgets import BUDGETS, Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.config import override
from hwnas_jax.cost import CostModel, load_cost_model
from hwnas_jax.cost.models.search_model import search_model
from hwnas_jax.data import ArrayFiles, Dataset, load_data
from hwnas_jax.data.pipeline import augmentation
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.runs.folder import RunFolder
from hwnas_jax.runs.for_search import ForSearch, for_search
from hwnas_jax.runs.population import Member, make_members
from hwnas_jax.search.refine import newest_model
from hwnas_jax.spaces import Space
from hwnas_jax.tasks import Task, make_task, space_for


class RunParts(RunFolder):
    """A run folder with the objects that its config and its files describe."""

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set."""
        data = self.config.data
        if self.kept_data.is_file():  # the folder may have been moved since
            data = dataclasses.replace(data, path=str(self.kept_data))
        return load_data(data)

    @property
    def kept_data(self) -> Path:
        """The file of data that were given from Python; absent where the config names them."""
        return self.folder / "data.npz"

    def take(self, dataset: Dataset) -> None:
        """Takes data in place of those that the config names; UserError when they are none."""
        if not isinstance(dataset, Dataset):
            raise UserError(
                "data must be a data set, such as hwnas_jax.data.arrays(inputs, targets), got "
                f"{type(dataset).__name__}"
            )
        data = self.config.data
        augmentation(dataset, data)
        path = str(self.kept_data)
        data = dataclasses.replace(data, name=ArrayFiles.name, args={}, path=path)
        self.config = override(self.config, data=data)
        self.__dict__["dataset"] = dataset

    @functools.cached_property
    def space(self) -> Space:
        """The search space, in the shape of the data."""
        return space_for(self.config, self.dataset, self.task)

    @functools.cached_property
    def task(self) -> Task:
        """What is learned."""
        return make_task(self.config.task, self.dataset)

    @functools.cached_property
    def for_search(self) -> ForSearch:
        """What the search is given: the objects above, unless it learns from data of its own."""
        return for_search(self.config, self.dataset, self.task, self.space)

    @functools.cached_property
    def budget(self) -> Budget:
        """How the targets enter the search."""
        return BUDGETS.make(self.config.budget)

    @functools.cached_property
    def cost_model(self) -> CostModel:
        """The cost model that searches ask; after a search that measured, as it was fitted last."""
        # Kept between calls, so its arrays must not belong to a trace it is first read in.
        path = self.folder / "cost_model.npz"
        if self.finished("search"):
            path = newest_model(self.folder)
        with jax.ensure_compile_time_eval():
            fitted = load_or_offer(path, lambda path: load_cost_model(path, self.space))
            return search_model(fitted, self.space)

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """The searches, in order of targets, then seeds."""
        payload = self.read("targets")
        limits = tuple(sorted(payload.get("limits", {}).items()))
        targets = [
            Target(payload["metric"], float(one["value"]), payload.get("confidence"), limits)
            for one in payload["targets"]
        ]
        if not self.wanted.several:
            return (Member(targets[0], self.config.seed, "search"),)
        return make_members(targets, self.wanted.all_seeds(self.config))

    @property
    def target(self) -> Target:
        """The budget of the first search."""
        return self.members[0].target
