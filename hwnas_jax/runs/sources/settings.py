"""What a comparison of data sources consists of, and the file that keeps it."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from hwnas_jax.config import Config
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import read_typed
from hwnas_jax.registry import checked_options
from hwnas_jax.runs.folder import versions

FILE = "sources.json"
_FORMAT = "hwnas_jax.sources"


@dataclasses.dataclass(frozen=True)
class SourceComparison:
    """What is compared, and by which table."""

    table: str = "nb201_accuracy"
    """trained accuracies that the networks found are looked up in: a file that `hwnas evaluate`
    reads, or its name in HWNAS_DATA"""
    data_sets: tuple[str, ...] = ()
    """data sets or tasks of the table to look them up for; its first when left out"""
    sources: tuple[str, ...] = (
        "random_labels", "noise", "textures", "shuffled_pixels", "jigsaw", "rotation",
    )  # fmt: skip
    """sources to search on, as `hwnas list` names them, with options: jigsaw jigsaw,grid=4. What
    they have options for and leave out is as in the real data, those of the config, which are
    always among them: of, path, height, width, channels, classes, examples, test_fraction"""
    seeds: Annotated[int, Ge(2)] = 5
    """searches on each source, with the config's seed and those after it"""
    drawn: Annotated[int, Ge(1)] = 100
    """for every seed, random networks within the budget whose mean stands beside the searches"""
    measurements: str | None = None
    """a measurement file to use in place of profiling, also of a device that is not here"""
    cost_model: str | None = None
    """a cost model to use in place of profiling and fitting, also of a device that is not here"""

    def __post_init__(self):
        for name in ("data_sets", "sources"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))

    def check(self) -> None:
        """Raises UserError for a value of the wrong type or range."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        checked_options(SourceComparison, values, "comparison of sources")
        for name in ("data_sets", "sources"):
            given = getattr(self, name)
            for one in given:
                if given.count(one) > 1:
                    raise UserError(f"{name}: {one!r} is named more than once")
        if not self.sources:
            raise UserError("sources: none is named; `hwnas list` names what there is")

    @property
    def given(self) -> dict[str, Path]:
        """The files that are used in place of first stages, as `Run.create` takes them."""
        files = {"measurements": self.measurements, "cost_model": self.cost_model}
        return {name: Path(path) for name, path in files.items() if path is not None}

    def all_seeds(self, config: Config) -> tuple[int, ...]:
        """Returns the seeds of the searches on each source."""
        return tuple(config.seed + number for number in range(self.seeds))


@dataclasses.dataclass(frozen=True)
class Study:
    """What `sources.json` of a folder holds."""

    settings: SourceComparison
    config: Config
    versions: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes the file into a folder."""
        write_json(folder / FILE, {"format": _FORMAT, "version": 1, **dataclasses.asdict(self)})

    @classmethod
    def new(cls, settings: SourceComparison, config: Config) -> "Study":
        """Returns a comparison that begins here and today."""
        return cls(settings, config, versions())

    @classmethod
    def load(cls, folder: Path) -> "Study":
        """Returns what `save` wrote.

        Raises:
          UserError: when the folder holds no comparison of sources, or the file is damaged.
        """
        if not (folder / FILE).is_file():
            raise UserError(f"{folder} is no folder of a comparison of sources: it has no {FILE}")
        return read_typed(folder / FILE, cls, "comparison of sources", file_format=_FORMAT)
