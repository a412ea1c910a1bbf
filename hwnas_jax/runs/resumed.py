"""What may change when a run is resumed: settings that only stages still to come will read.

What has changed is written down in `changes.json` of the run folder, and `config.json` holds the
settings that hold from then on.
"""

import dataclasses
import datetime
from typing import Any

from hwnas_jax.config import Config, save_config
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import flat, read_typed
from hwnas_jax.parallel import distributed
from hwnas_jax.runs.folder import RunFolder

FILE = "changes.json"

LAST_STAGE = {
    "profile.networks": "profile", "profile.held_out": "profile",
    "profile.batch_size": "derive", "profile.device": "derive", "profile.runtime": "derive",
    "derive.confirm": "derive", "retrain.networks": "derive",
    "retrain.epochs": "retrain", "retrain.batch_size": "retrain",
    "retrain.steps_per_dispatch": "retrain", "retrain.optimizer": "retrain",
    "retrain.learning_rate": "retrain", "retrain.weight_decay": "retrain",
    "retrain.validation_fraction": "retrain", "retrain.accumulate": "retrain",
    "retrain.dtype": "retrain", "retrain.start_from": "retrain",
    "retrain.teacher": "retrain", "retrain.teacher_weight": "retrain",
    "retrain.teacher_temperature": "retrain", "retrain.curriculum": "retrain",
    "retrain.curriculum_share": "retrain",
    "profile.rounds": "measure", "profile.max_rounds": "measure", "profile.precision": "measure",
    "profile.budget_s": "measure", "profile.measure_rounds": "measure",
    "profile.warmup": "measure",
}  # fmt: skip
"""Settings that may change, each with the last stage that reads it."""

_OF_A_START = ("parallel", "sweep")
"""Settings that belong to the start of a program and not to the experiment."""


@dataclasses.dataclass(frozen=True)
class _Change:
    """A setting that changed, and when."""

    key: str
    before: Any
    after: Any
    when: str


def check_changes(run: RunFolder, config: Config, free: tuple[str, ...]) -> tuple[str, ...]:
    """Returns which settings a resumed run takes from another config than its own.

    Args:
      run: as it was opened.
      config: what it is to go on with.
      free: settings that may always change, such as "parallel".

    Raises:
      UserError: names what was changed that may not be, and what may.
    """
    saved, given = flat(dataclasses.asdict(run.config)), flat(dataclasses.asdict(config))
    changed = [
        key
        for key in dict.fromkeys([*saved, *given])
        if saved.get(key) != given.get(key)
        and not any(f"{key}.".startswith(f"{one}.") for one in free)
    ]
    fixed = [key for key in changed if key not in LAST_STAGE]
    if fixed:
        also = ", ".join(dict.fromkeys(f"--{key.partition('.')[0]}" for key in LAST_STAGE))
        raise UserError(
            f"a resumed run keeps its config; changed were: {', '.join(fixed)}. Only "
            f"{' and '.join(f'--{key}' for key in free)} may change, and some of {also} until the "
            "stage that reads it"
        )
    late = [key for key in changed if has_read(run, LAST_STAGE[key])]
    if late:
        stages = " and ".join(dict.fromkeys(LAST_STAGE[key] for key in late))
        raise UserError(
            f"a resumed run keeps its config; {', '.join(late)} may change only before {stages}, "
            f"which has begun in {run.folder}"
        )
    return tuple(changed)


def has_read(run: RunFolder, stage: str) -> bool:
    """Returns whether a stage has begun to use its settings."""
    if run.finished(stage):
        return True
    if stage != "retrain" or not (run.folder / "networks.json").exists():
        return False
    labels = [entry["label"] for entry in run.read("networks")["networks"]]
    return any((run.folder / "checkpoints" / label).exists() for label in labels)


def take_config(run: RunFolder, config: Config, changed: tuple[str, ...]) -> None:
    """Lets a run go on with another config, and writes down what has changed.

    Args:
      run: as it was opened.
      config: what it is to go on with.
      changed: what `check_changes` returned.
    """
    before = run.config
    run.config = config
    if not changed:
        return
    old, new = flat(dataclasses.asdict(before)), flat(dataclasses.asdict(config))
    path = run.folder / FILE
    earlier = read_typed(path, list[_Change], "file of changes") if path.exists() else []
    when = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    rows = [_Change(key, old.get(key), new.get(key), when) for key in changed]
    if distributed.is_first():
        write_json(path, [dataclasses.asdict(row) for row in (*earlier, *rows)])
    kept = {name: getattr(before, name) for name in _OF_A_START}
    save_config(dataclasses.replace(config, **kept), run.folder / "config.json")
    told = ", ".join(f"{row.key} {row.before} -> {row.after}" for row in rows)
    run.display.say(f"changed on resuming: {told}")
