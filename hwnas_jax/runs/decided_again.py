"""Whether the device of a run is here, decided again when a resumed run would time differently."""

import dataclasses

from hwnas_jax.config import Config
from hwnas_jax.cost import AnalyticModel, load_measurements
from hwnas_jax.cost.models.model_file import read_origin
from hwnas_jax.cost.simulate.estimates import computes
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.runs.elsewhere import FILE, Elsewhere
from hwnas_jax.runs.network_costs import check_costs
from hwnas_jax.runs.parts import RunParts

SETTINGS = ("profile.batch_size", "profile.device", "profile.runtime")
"""What decides, beside the run's costs, whether a timing on this machine would mean the same."""


@dataclasses.dataclass(frozen=True)
class DecidedAgain:
    """What `device.json` says of a run before and after its settings change.

    Attributes:
      before: the device of the costs; None where this machine can take them.
      after: likewise.
    """

    before: Elsewhere | None
    after: Elsewhere | None

    def take(self, run: RunParts) -> None:
        """Writes `device.json` again, or removes it, and says so."""
        if self.after == self.before:
            return
        run.__dict__.pop("unmeasured", None)
        if self.after is not None:
            self.after.save(run.folder)
            run.display.say(self.after.announcement)
            return
        assert self.before is not None
        (run.folder / f"{FILE}.json").unlink(missing_ok=True)
        run.display.say(
            f"{self.before.device} is taken to be this machine: the networks are timed here, as "
            "the costs of the run were"
        )


def decide_again(run: RunParts, config: Config, changed: tuple[str, ...]) -> DecidedAgain | None:
    """Returns what follows from settings that change how this machine would time.

    Args:
      run: as it was opened, with the settings that it had.
      config: what it is to go on with.
      changed: the settings that change, as `check_changes` returns them.

    Returns:
      None where nothing is to be decided: other settings change, the run has no costs yet, or they
      are counted or computed.

    Raises:
      UserError: when a run of this machine could no longer time its networks, so that they could
        not be compared with the costs that it has; or when they could not be confirmed.
    """
    own = [key for key in changed if key in SETTINGS]
    measurements, model = run.folder / "measurements.json", run.folder / "cost_model.npz"
    metric = config.target.metric
    if not own or computes(run.space, config.profile):
        return None
    if metric in AnalyticModel.counted_metrics(run.space):
        return None
    model_alone = not measurements.exists()
    if model_alone and not model.exists():
        return None
    if model_alone:
        origin = read_origin(model)
    else:
        given = load_or_offer(measurements, lambda path: load_measurements(path, run.space))
        origin = given.origin
    before = Elsewhere.load(run.folder)
    after = Elsewhere.find(origin, config.profile, model_alone=model_alone)
    if before is None and after is not None:
        raise UserError(
            f"{' and '.join(own)} may not change in {run.folder}, whose costs are those of "
            f"{after}: with the new setting, networks timed here could not be compared with them "
            f"({after.reason})"
        )
    if after is None and config.derive.confirm:
        check_costs(run.space, metric, run.folder, config)
    return DecidedAgain(before, after)
