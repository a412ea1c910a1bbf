"""The file of a run that says which test examples each of its networks got right.

Legend: `N` test examples.
"""

from pathlib import Path

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz

FILE = "tested.npz"


def load_tested(folder: Path) -> dict[str, np.ndarray]:
    """Returns `bool[N]` for each network by its label; empty where nothing was kept.

    Raises:
      UserError: when the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return {}
    try:
        return read_npz(path, {}, others=Array("bool", ("N",)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def keep_tested(folder: Path, label: str, right: np.ndarray | None) -> None:
    """Writes beside the others which test examples a network got right.

    Args:
      folder: the run folder.
      label: of the network.
      right: `bool[N]`; None, for a metric that is no share of right examples, writes nothing.
    """
    if right is None:
        return
    write_npz(Path(folder) / FILE, {**load_tested(folder), label: right})
