"""Checkpoints of a search or a training, through Orbax.

A checkpoint holds unreplicated state, so that a run resumes on another number of devices, and a
checksum of every array, so that damage is found before it is trained on. In a job of several
processes, process 0 reads and writes for all.
"""

import contextlib
import errno
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from hwnas_jax.errors import UserError
from hwnas_jax.files.disk import is_full
from hwnas_jax.parallel import distributed

_UNFINISHED = ".orbax-checkpoint-tmp"
_WRITING_S = 10.0
_STEP = "step"
"""Names the step beside the checksums of arrays, whose names begin with a dot or a bracket."""


class Checkpoints:
    """The checkpoints in one folder, newest kept.

    Attributes:
      folder: where they lie, one subfolder per step.
      last: the step at which it all ends; a checkpoint of a later one belongs to something else.
    """

    def __init__(self, folder: Path, *, keep: int = 3, last: int | None = None):
        self.folder, self.last = Path(folder).resolve(), last
        self._manager: Any = None
        if distributed.is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._drop_unfinished()
            self._manager = _open(self.folder, keep)

    def steps(self) -> list[int]:
        """Returns the steps there are, oldest first."""
        if self._manager is None:
            return steps_on_disk(self.folder)
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any) -> None:
        """Saves `state` in the background; a step that is there already is left alone.

        Raises:
          OSError: when the disk is full; perhaps only at the next `save` or at `close`.
        """
        if self._manager is None or step in self._manager.all_steps():
            return
        from orbax.checkpoint import args

        plain = jax.tree.map(_plain, state)
        checksums = {**_checksums(plain), _STEP: step}
        with self._on_disk():
            self._manager.save(
                step,
                args=args.Composite(
                    state=args.StandardSave(plain), checksums=args.JsonSave(checksums)
                ),
                force=True,
            )

    def safe(self) -> str:
        """Says which checkpoint holds when this run ends now, whatever it is doing."""
        if self._manager is not None:
            writing = threading.Thread(target=self._manager.wait_until_finished, daemon=True)
            writing.start()
            writing.join(_WRITING_S)
        steps = steps_on_disk(self.folder)
        if not steps:
            return "there is no checkpoint yet"
        return f"the checkpoint of step {steps[-1]} is safe in {self.folder}"

    def restore(self, template: Any, *, step: int | None = None) -> tuple[int, Any] | None:
        """Returns the newest checkpoint, or the one of `step`, or None when there is none.

        Args:
          template: a state of the same structure, shapes and types.
          step: which one; later ones are then set aside.

        Raises:
          UserError: names a checkpoint that is damaged, or of no step that there is, and the newest
            good one.
        """
        found = None if self._manager is None else self._restore(template, step)
        if distributed.processes() == 1:
            return found
        taken = distributed.exchange(None if found is None else found[0])[0]
        if taken is None:
            return None
        return taken, _from_first(template if found is None else found[1])

    def _restore(self, template: Any, step: int | None) -> tuple[int, Any] | None:
        steps = self.steps()
        if step is not None and step not in steps:
            raise UserError(f"no checkpoint of step {step} in {self.folder}: there are {steps}")
        if not steps:
            return None
        wanted = steps[-1] if step is None else step
        path = self.folder / str(wanted)
        try:
            if self.last is not None and wanted > self.last:
                raise _Damaged(f"all ends at step {self.last}")
            state = self._load(template, wanted)
        except _Damaged as error:
            good = self._newest_good(template, [s for s in steps if s != wanted])
            hint = (
                f"the newest good one is step {good}: continue from it with --from-step {good}"
                if good is not None
                else "there is no other good one; delete the folder to start this stage again"
            )
            raise UserError(f"checkpoint {path} is damaged ({error}); {hint}") from error
        for later in steps:
            if later > wanted:
                _set_aside(self.folder / str(later))
        self._manager.reload()
        return wanted, state

    def close(self) -> None:
        """Waits until everything is on disk; OSError when that is full."""
        if self._manager is not None:
            with self._on_disk():
                self._manager.wait_until_finished()
                self._manager.close()

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Says it in the system's words when the disk is full, and frees what a part has taken."""
        try:
            yield
        except Exception as error:
            if not is_full(error):
                raise
            self._drop_unfinished()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder)) from error

    def _drop_unfinished(self) -> None:
        """Removes what is left of checkpoints that were never finished."""
        for path in self.folder.glob(f"*{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _load(self, template: Any, step: int) -> Any:
        from orbax.checkpoint import args

        plain = jax.tree.map(_plain, template)
        wanted = args.Composite(state=args.StandardRestore(plain), checksums=args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=wanted)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:160]
            raise _Damaged(f"{type(error).__name__}: {reason}") from error
        checksums = restored["checksums"]
        holds = checksums.pop(_STEP, step)
        if _checksums(restored["state"]) != checksums:
            raise _Damaged("the checksums differ")
        if holds != step:
            raise _Damaged(f"it holds step {holds}")
        return jax.tree.map(_like, template, restored["state"])

    def _newest_good(self, template: Any, steps: list[int]) -> int | None:
        for step in reversed(steps):
            if self.last is not None and step > self.last:
                continue
            try:
                self._load(template, step)
            except _Damaged:
                continue
            return step
        return None


class _Damaged(Exception):
    pass


def _open(folder: Path, keep: int) -> Any:
    """Returns Orbax's manager of a folder; what only searches in memory does without Orbax."""
    import orbax.checkpoint as ocp

    class Manager(ocp.CheckpointManager):
        """Orbax before 0.12 asks a service of JAX's whether to stop: off in a job of ours."""

        def reached_preemption(self, step: int) -> bool:
            """Returns False: the processes of a job agree on a stop themselves."""
            del step
            return False

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # what fails in the background is raised
    alone = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="hwnas"
    )
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, multiprocessing_options=alone, create=False
    )
    return Manager(folder, options=options, item_names=("state", "checksums"))


def _set_aside(path: Path) -> None:
    """Renames a checkpoint, so that it is kept but not found."""
    aside, number = path.with_name(f"{path.name}.set-aside"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.set-aside-{number}")
    path.rename(aside)


def _checksums(plain: Any) -> dict[str, int]:
    return {
        jax.tree_util.keystr(path): zlib.crc32(leaf.tobytes())
        for path, leaf in jax.tree_util.tree_leaves_with_path(plain)
    }


def steps_on_disk(folder: Path) -> list[int]:
    """Returns the steps of finished checkpoints; one being written has another name."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    plain = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    # Orbax writes no empty arrays; a network without running statistics has one.
    return plain if plain.size else np.zeros(1, plain.dtype)


def _like(leaf: Any, plain: np.ndarray) -> jax.Array:
    array = jnp.asarray(plain if leaf.size else np.zeros(leaf.shape, plain.dtype))
    return (
        jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array
    )


def _from_first(state: Any) -> Any:
    """Returns process 0's `state` in every process, to the bit."""
    leaves, tree = jax.tree.flatten(state)
    plain = [_plain(leaf) for leaf in leaves]
    flat = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in plain])
    flat = np.asarray(multihost_utils.broadcast_one_to_all(flat))
    ends = np.cumsum([leaf.nbytes for leaf in plain])[:-1]
    sent = [
        _like(leaf, np.frombuffer(part.tobytes(), own.dtype).reshape(own.shape))
        for leaf, own, part in zip(leaves, plain, np.split(flat, ends), strict=True)
    ]
    return jax.tree.unflatten(tree, sent)
