"""`hwnas profile`: times operations and networks on this device."""

import dataclasses
from pathlib import Path

from hwnas_jax.commands.options import Experiment, data_and_space, parse
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.files.new import taken_file


@dataclasses.dataclass(frozen=True)
class ProfileOptions:
    """Times a sample of the space's networks on this device, and its operations.

    The operations are left out with `--profile.operations false`, or where the measurements are for
    one cost model that does not read them, as in `hwnas search`.
    """

    out: Path = Path("measurements.json")
    """the measurement file to write"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Writes a measurement file."""
    options = parse(ProfileOptions, words, "profile")
    with taken_file(options.out):
        _profile(options)


def _profile(options: ProfileOptions) -> None:
    from hwnas_jax.cost import profile as profile_space
    from hwnas_jax.cost import save_measurements

    config = options.config
    _, space = data_and_space(config)
    display = Terminal()
    with display.stage("profile") as report:
        measured = profile_space(space, config.profile, seed=config.seed, progress=report)
        save_measurements(measured, options.out)
    for note in measured.notes:
        display.say(note)
    display.say(f"wrote {options.out}")
