"""A run folder: its config, what is finished, and its JSON files."""

import contextlib
import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from hwnas_jax.compile.programs import drop_if_many
from hwnas_jax.config import Config, alone, load_config, override, save_config
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.files.disk import is_full, no_room
from hwnas_jax.files.new import next_free, taken_folder
from hwnas_jax.files.writer import Writer
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
        self._writer = Writer(self.folder)

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

    @contextlib.contextmanager
    def beginning(self, *, named: bool) -> Iterator[None]:
        """Makes the folder and writes to it; what fails inside leaves nothing behind.

        Args:
          named: whether the user named it. A name of `new_folder` that another start has taken
            gives way to the next.

        Raises:
          UserError: when the folder exists; nothing is ever overwritten.
        """
        with taken_folder(self.folder, named=named) as self.folder:
            self._writer = Writer(self.folder)
            with self.writing():
                yield

    def describe(self, decisions: Any) -> None:
        """Writes the files that say what the run is.

        Args:
          decisions: of the space.
        """
        # Where the processes of a job are belongs to its start, not to the experiment.
        parallel = alone(self.config.parallel)
        save_config(override(self.config, parallel=parallel), self.folder / "config.json")
        self.wanted.save(self.folder)
        write_run_file(self.folder, "versions", versions())
        own = [{"name": d.name, "options": list(d.options)} for d in decisions]
        write_run_file(self.folder, "space", {"decisions": own})

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keeps other commands from writing to the folder; a block may lie in another.

        In a job of several processes, process 0 does so for all.

        Raises:
          UserError: names the command that is writing; or says that the disk is full, and how the
            run goes on.
        """
        if not distributed.is_first():
            yield
            return
        try:
            with self._writer.alone() as died:
                if died is not None:
                    self.display.say(f"the command that wrote here last was cut off: {died}")
                yield
        except Exception as error:
            if isinstance(error, UserError) or not is_full(error):
                raise
            raise UserError(
                f"{no_room(self.folder)}. What is whole on the disk is kept: make room, then "
                f"{self.goes_on}"
            ) from error

    @property
    def goes_on(self) -> str:
        """Says how the run is continued."""
        command = "sweep" if self.wanted.several else "search"
        return f"continue with: hwnas {command} --resume {self.folder}"

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
        self.display.goes_on = f"; {self.goes_on}"
        with self.writing():
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
    folder = Path("runs") / f"{name}-{stamp}"
    return next_free(folder) if folder.exists() else folder


def versions() -> dict[str, Any]:
    """Returns the versions and the device a run was made with."""
    return {
        **describe_software("optax", "orbax-checkpoint", "tensorflow-datasets", "numpy"),
        "device": describe_device(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
