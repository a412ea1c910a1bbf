"""What is compared: the table, the methods, the seeds, and the budget of queries."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from tyro.conf import Positional

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import read_typed
from hwnas_jax.registry import checked_options
from hwnas_jax.runs.folder import versions
from hwnas_jax.tabular import BUILT_IN

FILE = "study.json"
_FORMAT = "hwnas_jax.comparison"

UNLIMITED = "unlimited"
"""The case in which networks cost nothing."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Which search methods are compared, and on what."""

    table: Positional[str] = BUILT_IN
    """trained accuracies: a file that `hwnas evaluate` reads, or its name in HWNAS_DATA; the
    built-in table is made on this machine when it is used for the first time"""
    data_set: str | None = None
    """one of the table's data sets or tasks; its first when left out"""
    epochs: Annotated[int, Ge(1)] | None = None
    """select after so many epochs of training; the most there are when left out. Methods that use
    several fidelities evaluate after shorter trainings too"""
    split: Literal["validation", "test"] = "validation"
    """images to select by; with test the search sees what is reported, which is optimistic"""
    methods: tuple[str, ...] = ("evolution", "local_search", "surrogate")
    """strategies, as `hwnas list` names them, with options: evolution evolution,population=20.
    `random` is always among them, since every other method is compared with it"""
    seeds: Annotated[int, Ge(2)] = 50
    """searches of each method in each case, with the seeds 0, 1, 2, ..."""
    queries: Annotated[int, Ge(1)] | None = None
    """trainings that each search may look up; a shorter one counts as its share of the epochs. When
    left out, a tenth of the table's different networks, and at most 100"""
    costs: str | None = None
    """a published cost table, of the same networks; the searches know its costs, if `measurements`
    does not say otherwise"""
    task: str | None = None
    """which task of the cost table, for a table of several; the first when left out"""
    metric: str = "latency_ms"
    """which cost"""
    cases: tuple[str, ...] = ()
    """what is searched for: 'DEVICE<=LIMIT' (in quotes, since a shell reads < itself) for the best
    network within a limit, DEVICE for a front of accuracy against cost, and `unlimited`, the
    default, for the best network of all"""
    measurements: Annotated[int, Ge(6)] | None = None
    """networks that each search may measure on the device of a case with a limit: it then does not
    know the published costs, and learns from these and from the other devices of the cost table"""
    confidence: Annotated[float, Gt(0.5), Lt(1)] = 0.95
    """with measurements: with what probability a selected network should keep the limit"""

    def __post_init__(self):
        for name in ("methods", "cases"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))

    def check(self) -> None:
        """Raises UserError for a value of the wrong type or range."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        checked_options(Comparison, values, "comparison")

    def save(self, folder: Path, fingerprint: str) -> None:
        """Writes `study.json` into a folder, with the versions and the device.

        Args:
          folder: of the comparison.
          fingerprint: of what the tables say.
        """
        payload = {
            "format": _FORMAT, "version": 1, "settings": dataclasses.asdict(self),
            "tables": fingerprint, "versions": versions(),
        }  # fmt: skip
        write_json(folder / FILE, payload)

    @classmethod
    def load(cls, folder: Path) -> "Comparison":
        """Returns the settings of a folder.

        Raises:
          UserError: when it holds no comparison, or the file is damaged.
        """
        if not (folder / FILE).is_file():
            raise UserError(f"{folder} is no folder of a comparison: it has no {FILE}")
        return _read(folder).settings


def check_same(given: Comparison, saved: Comparison, folder: Path) -> None:
    """Refuses to continue a comparison with other settings.

    Raises:
      UserError: names each setting that differs, with both values.
    """
    differing = [
        f"{field.name} was {_shown(own)} and is {_shown(new)}"
        for field in dataclasses.fields(Comparison)
        for own, new in [(getattr(saved, field.name), getattr(given, field.name))]
        if own != new
    ]
    if differing:
        raise UserError(
            f"the comparison {folder} keeps its settings: {'; '.join(differing)}. "
            "Others need a new folder"
        )


def check_tables(folder: Path, fingerprint: str) -> None:
    """Refuses to continue a comparison on tables that say something else than they did.

    Args:
      folder: of the comparison.
      fingerprint: of what the tables say.

    Raises:
      UserError: when it is another than the one that `save` wrote.
    """
    if _read(folder).tables != fingerprint:
        raise UserError(
            f"the tables of the comparison {folder} have other values than when it began, so that "
            "its cells do not go together. Bring the old tables back, or begin in a new folder"
        )


@dataclasses.dataclass(frozen=True)
class _Study:
    """What `study.json` holds."""

    settings: Comparison
    tables: str
    versions: dict[str, Any]


def _read(folder: Path) -> _Study:
    return read_typed(folder / FILE, _Study, "comparison", file_format=_FORMAT)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else repr(value)
