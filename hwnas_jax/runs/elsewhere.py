"""A run for a device that is not here: nothing is timed, and a person measures what was found.

The run decides at its start, by the file of costs that it is given, whether a timing on this
machine would mean the same. If not, `device.json` in the run folder names the device and says why.
Networks are then derived by what the cost model predicts. `to_measure.csv` lists them in the form
of a measurement file with an empty column, which a person fills on the device and hands back.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.measurements import Origin
from hwnas_jax.cost.files.sheet import header_text
from hwnas_jax.cost.measure.networks import check_origin
from hwnas_jax.cost.measure.runtimes import make_runtime
from hwnas_jax.errors import UserError
from hwnas_jax.files.whole import write_whole
from hwnas_jax.report.run_files import read_run_file, write_run_file
from hwnas_jax.spaces.base import Space

FILE = "device"
TEMPLATE = "to_measure.csv"
_HERE = ("compiler estimate", "simulated")
"""Sources of figures that this machine can make again."""


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """A device that this machine cannot speak for.

    Attributes:
      device: its name.
      runtime: what runs the networks there; "unknown" where nobody says.
      batch_size: images per call.
      reason: why a timing here would not mean the same.
    """

    device: str
    runtime: str
    batch_size: int
    reason: str

    @classmethod
    def find(
        cls, origin: Origin | None, config: ProfileConfig, *, model_alone: bool = False
    ) -> Self | None:
        """Returns the device of given costs, or None where they can be taken on this machine.

        Args:
          origin: of the costs; None where their file does not say.
          config: how this machine would measure.
          model_alone: whether only a cost model is given. What was estimated or simulated can be
            made again by its measurement file, which describes the hardware, and not by a model.
        """
        if origin is None:
            reason = "the cost model does not say of which device it is; its --measurements would"
            return cls("the device of the cost model", "unknown", config.batch_size, reason)
        if origin.source in _HERE and not model_alone:
            return None
        runtime = make_runtime(config)
        try:
            check_origin(origin, runtime, config.batch_size)
        except UserError as error:
            reason, _, _ = str(error).partition(":")  # what follows is for who wants to time here
            return cls(origin.name, origin.runtime, origin.batch_size, reason)
        return None

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Returns the device of a run folder; None for a run of this machine."""
        there = (Path(folder) / f"{FILE}.json").exists()
        return cls(**read_run_file(Path(folder), FILE)) if there else None

    def save(self, folder: Path) -> None:
        """Writes `device.json` into a run folder."""
        write_run_file(Path(folder), FILE, dataclasses.asdict(self))

    def __str__(self) -> str:
        """The device with what is known of the calls there."""
        runtime = "" if self.runtime == "unknown" else f" with {self.runtime}"
        return f"{self.device}{runtime} at batch {self.batch_size}"

    @property
    def announcement(self) -> str:
        """Says at the start of a run what will be done without the device."""
        return (
            f"{self} is not here ({self.reason}): networks are derived by what the cost model "
            f"predicts, nothing is timed, and {TEMPLATE} will list what you can measure there. "
            "With --target.confidence 0.9 the upper bound of the prediction has to keep the budget"
        )


def write_template(
    folder: Path,
    space: Space,
    device: Elsewhere,
    metrics: Sequence[str],
    networks: Sequence[dict[str, Any]],
) -> Path:
    """Writes the list of a run's networks for a person to fill, each network once.

    Args:
      folder: the run folder.
      space: of the networks.
      device: to measure them on.
      metrics: name the empty columns.
      networks: entries of `networks.json`.

    Returns:
      The file.
    """
    labels: dict[str, list[str]] = {}
    for entry in networks:
        labels.setdefault(entry["string"], []).append(entry["label"])
    out = io.StringIO()
    for key, value in (
        ("space", json.dumps(space.spec)),
        ("device", header_text(device.device)),
        ("batch_size", device.batch_size),
        ("runtime", header_text(device.runtime)),
    ):
        out.write(f"# {key}: {value}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["label", "architecture", *metrics])
    empty = [""] * len(metrics)
    writer.writerows([" ".join(own), string, *empty] for string, own in labels.items())
    path = Path(folder) / TEMPLATE
    write_whole(path, out.getvalue())
    return path
