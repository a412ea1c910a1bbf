"""Checkpoints of a search or a training, through Orbax.

A checkpoint holds unreplicated state, so that a run resumes on another number of devices, and a
checksum of every array, so that damage is found before it is trained on.
"""

import logging
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from hwnas_jax.errors import UserError

logging.getLogger("absl").setLevel(logging.ERROR)


class Checkpoints:
    """The checkpoints in one folder, newest kept.

    Attributes:
      folder: where they lie, one subfolder per step.
    """

    def __init__(self, folder: Path, *, keep: int = 3):
        self.folder = Path(folder).resolve()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
            item_names=("state", "checksums"),
        )

    def steps(self) -> list[int]:
        """Returns the steps there are, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any) -> None:
        """Saves `state` in the background; a step that is there already is left alone."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(_checksums(state))
            ),
        )

    def restore(self, template: Any, *, step: int | None = None) -> tuple[int, Any] | None:
        """Returns the newest checkpoint, or the one of `step`, or None when there is none.

        Args:
          template: a state of the same structure, shapes and types.
          step: which one; later ones are then set aside.

        Raises:
          UserError: names a damaged checkpoint and the newest good one.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            raise UserError(f"no checkpoint of step {step} in {self.folder}: there are {steps}")
        if not steps:
            return None
        wanted = steps[-1] if step is None else step
        try:
            state = self._load(template, wanted)
        except _Damaged as error:
            good = self._newest_good(template, [s for s in steps if s != wanted])
            hint = (
                f"the newest good one is step {good}: continue from it with --from-step {good}"
                if good is not None
                else "there is no other good one; delete the folder to start this stage again"
            )
            path = self.folder / str(wanted)
            raise UserError(f"checkpoint {path} is damaged ({error}); {hint}") from error
        for later in steps:
            if later > wanted:
                path = self.folder / str(later)
                path.rename(path.with_name(f"{later}.set-aside"))
        self._manager.reload()
        return wanted, state

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _load(self, template: Any, step: int) -> Any:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), checksums=ocp.args.JsonRestore()
                ),
            )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:160]
            raise _Damaged(f"{type(error).__name__}: {reason}") from error
        if _checksums(restored["state"]) != restored["checksums"]:
            raise _Damaged("the checksums differ")
        return restored["state"]

    def _newest_good(self, template: Any, steps: list[int]) -> int | None:
        for step in reversed(steps):
            try:
                self._load(template, step)
            except _Damaged:
                continue
            return step
        return None


class _Damaged(Exception):
    pass


def _checksums(state: Any) -> dict[str, int]:
    sums = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        plain = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        sums[jax.tree_util.keystr(path)] = zlib.crc32(plain.tobytes())
    return sums
