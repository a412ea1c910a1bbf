"""A run folder: its config, what is finished, and its JSON files."""

import contextlib
import datetime
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from hwnas_jax.compile.programs import drop_if_many
from hwnas_jax.config import Config, alone, load_config, override, save_config
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress
from hwnas_jax.report.run_files import read_run_file, write_run_file
from hwnas_jax.runs.wanted import Wanted


class RunFolder:
    """The files of one run.

    Attributes:
      folder: where they lie.
      config: the experiment.
      wanted: what is searched for: one target, or several with several seeds.
      display: what shows progress and results.
    """

    def __init__(self, folder: Path, config: Config, display: Silent, wanted: Wanted | None = None):
        self.folder, self.config, self.display = Path(folder), config, display
        self.wanted = wanted or Wanted()

    @classmethod
    def open(cls, folder: Path, *, display: Silent | None = None) -> Self:
        """Opens an existing run folder; UserError when it is none."""
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            near = sorted(path.parent.name for path in folder.parent.glob("*/config.json"))
            known = f"; runs beside it: {', '.join(near[-5:])}" if near else ""
            raise UserError(f"{folder} is no run folder: it has no config.json{known}")
        config = load_config(str(folder / "config.json"))
        return cls(folder, config, display or Silent(), Wanted.load(folder))

    def make(self, decisions: Any) -> None:
        """Makes the folder, with the files that say what the run is.

        Args:
          decisions: of the space.

        Raises:
          UserError: when the folder exists; nothing is ever overwritten.
        """
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                f"the run folder {self.folder} exists and is not overwritten: continue it with "
                f"--resume {self.folder}, or name another"
            ) from None
        # Where the processes of a job are belongs to its start, not to the experiment.
        parallel = alone(self.config.parallel)
        save_config(override(self.config, parallel=parallel), self.folder / "config.json")
        self.wanted.save(self.folder)
        write_run_file(self.folder, "versions", versions())
        own = [{"name": d.name, "options": list(d.options)} for d in decisions]
        write_run_file(self.folder, "space", {"decisions": own})

    def remove(self) -> None:
        """Removes the folder of a run that could not begin."""
        shutil.rmtree(self.folder)

    def finished(self, stage: str) -> bool:
        """Returns whether the stage has left its files."""
        return stage in self._stages()

    def finish(self, stage: str, seconds: float) -> None:
        """Notes that a stage has left its files, and how long it took."""
        self.write("stages", {**self._stages(), stage: {"seconds": seconds}})

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Shows a stage's progress, and notes its time when it ends well."""
        drop_if_many()
        started = time.perf_counter()
        with self.display.stage(name) as report:
            yield report
        if name != "report" or self.finished("measure"):
            self.finish(name, round(time.perf_counter() - started, 2))

    def read(self, stem: str) -> dict[str, Any]:
        """Returns a JSON file of the run by its name without `.json`, checked."""
        return read_run_file(self.folder, stem)

    def write(self, stem: str, payload: dict[str, Any]) -> None:
        """Writes a JSON file of the run, in the one process that does."""
        if distributed.is_first():
            write_run_file(self.folder, stem, payload)

    def _stages(self) -> dict[str, Any]:
        return self.read("stages") if (self.folder / "stages.json").exists() else {}


def new_folder(name: str) -> Path:
    """Returns a path `runs/<name>-<time>` that does not exist yet."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, number = Path("runs") / f"{name}-{stamp}", 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{stamp}-{number}", number + 1
    return folder


def versions() -> dict[str, Any]:
    """Returns the versions and the device a run was made with."""
    return {
        **describe_software("optax", "orbax-checkpoint", "tensorflow-datasets", "numpy"),
        "device": describe_device(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
