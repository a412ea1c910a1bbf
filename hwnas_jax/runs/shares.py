"""A run keeps the batch statistics that it began with, on whatever devices it goes on.

Without `parallel.sync_batch_statistics` every device normalises its own share of a batch, so that
the result depends on how many shares there are. A run writes that number down. Where it goes on
with fewer devices, each takes its share in several parts; where a run of one device goes on with
several, these average their statistics. What is left of a difference is rounding.
"""

from pathlib import Path
from typing import NamedTuple

from hwnas_jax.config import Config, override
from hwnas_jax.parallel import distributed
from hwnas_jax.report.run_files import read_run_file, write_run_file
from hwnas_jax.runs.checkpoint import steps_on_disk


class Kept(NamedTuple):
    """How an experiment goes on.

    Attributes:
      config: with what it takes to keep the shares.
      note: what a person should know about it; empty where nothing changes.
    """

    config: Config
    note: str = ""


def keep_shares(
    folder: Path | None, name: str, config: Config, devices: int, part: str = "search"
) -> Kept:
    """Returns the config by which an experiment computes what it began to compute.

    Args:
      folder: the run folder, which holds or takes the number; None keeps nothing.
      name: of the experiment, as its checkpoints have it.
      config: of the run.
      devices: those of all processes.
      part: "search" or "retrain", whose options hold.
    """
    if folder is None:
        return Kept(config)
    settings, synced = getattr(config, part), config.parallel.sync_batch_statistics
    own = {"devices": 1 if synced else devices, "parts": settings.accumulate}
    first = distributed.is_first()
    began = distributed.exchange(_began(folder, name, own) if first else None)[0]
    shares, now = (one["devices"] * one["parts"] for one in (began, own))
    if now == shares:
        return Kept(config)
    what = f"{name} began with batch statistics of {shares} share(s)"
    alike = getattr(settings, "draws", 1) == 1 and getattr(settings, "paths", "shared") == "shared"
    divides = shares == 1 or (shares % devices == 0 and not synced)
    if settings.accumulate != began["parts"] or not alike or not divides:
        return Kept(config, f"{what} and goes on with {now}, which changes the results")
    if shares == 1:
        averaging = override(config, parallel__sync_batch_statistics=True)
        return Kept(averaging, f"{what}: {devices} devices average theirs")
    parts = shares // devices
    return Kept(
        override(config, **{f"{part}__accumulate": parts}),
        f"{what}: each of {devices} device(s) takes its share in {parts} parts",
    )


def _began(folder: Path, name: str, own: dict[str, int]) -> dict[str, int]:
    """Returns devices and parts that an experiment began with; its own without a checkpoint."""
    path = folder / "shares.json"
    known = read_run_file(folder, "shares")["began"] if path.exists() else {}
    began: dict[str, int] | None = known.get(name)
    if began is not None and (began == own or steps_on_disk(folder / "checkpoints" / name)):
        return began
    folder.mkdir(parents=True, exist_ok=True)
    write_run_file(folder, "shares", {"began": {**known, name: own}})
    return own
