"""What a run searches for: one target, or several targets with several seeds."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from hwnas_jax.config import Config
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import Amount, read_typed

FILE = "searches.json"
_FORMAT = "hwnas_jax.searches"
PERCENTILES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Every target with every seed; the config's own target and seed where nothing is given.

    Attributes:
      targets: budgets in the metric's own unit.
      percentiles: budgets as percentiles of the predicted cost over the space.
      seeds: of the searches.
      retrain: whether the networks found are trained from scratch.
    """

    targets: tuple[Amount, ...] = ()
    percentiles: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    retrain: bool = True

    def check(self) -> "Wanted":
        """Returns itself.

        Raises:
          UserError: for both kinds of targets, or for a value out of range or given twice.
        """
        if self.targets and self.percentiles:
            raise UserError("--targets and --percentiles exclude each other; give one of them")
        for name, values, allowed, fine in (
            ("targets", self.targets, "positive", lambda v: 0 < v < math.inf),
            ("percentiles", self.percentiles, "in [0, 100]", lambda v: 0 <= v <= 100),
            ("seeds", self.seeds, "in [0, 2**32)", lambda v: 0 <= v < 2**32),
        ):
            for value in values:
                if not fine(value):
                    raise UserError(f"--{name} {value:g} must be {allowed}")
                if values.count(value) > 1:
                    raise UserError(f"--{name} has {value:g} more than once")
        return self

    def budgets(self, config: Config) -> list[tuple[float | None, float | None]]:
        """Returns a pair of value and percentile for every target; one of the two is None."""
        if self.targets or self.percentiles:
            return [(value, None) for value in self.targets] + [
                (None, percentile) for percentile in self.percentiles
            ]
        target = config.target
        return [(target.value, target.percentile if target.value is None else None)]

    def all_seeds(self, config: Config) -> tuple[int, ...]:
        """Returns the seeds of the searches."""
        return self.seeds or (config.seed,)

    def searches(self, config: Config) -> int:
        """Returns how many searches there are: every target with every seed."""
        return len(self.budgets(config)) * len(self.all_seeds(config))

    @property
    def several(self) -> bool:
        """Whether there is more than one search, or there may be: a sweep."""
        return bool(self.targets or self.percentiles or self.seeds)

    def save(self, folder: Path) -> None:
        """Writes the file of a run folder that says what is searched for."""
        write_json(folder / FILE, {"format": _FORMAT, "version": 1, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> "Wanted":
        """Reads what `save` wrote; UserError when it is damaged."""
        path = Path(folder) / FILE
        wanted = read_typed(path, cls, "run file", file_format=_FORMAT)
        try:
            return wanted.check()
        except UserError as error:
            raise UserError(f"the run file {path}: {error}") from error


def front(
    targets: Sequence[float] = (), percentiles: Sequence[float] = (), seeds: Sequence[int] = (),
    *, retrain: bool = True,
) -> Wanted:  # fmt: skip
    """Returns a sweep: eight percentiles by default, each with the config's own seed.

    Raises:
      UserError: as `Wanted.check`.
    """
    if not targets and not percentiles:
        percentiles = PERCENTILES
    return Wanted(tuple(targets), tuple(percentiles), tuple(seeds), retrain).check()
