"""What a supernet has said of networks, kept in a file so that it need not say it again.

Legend: `N` networks, `D` decisions, `P` weights of the supernet.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.cost.files.readers.table_checks import check_options
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.spaces.base import Choices

_DIGEST = 16
_ARRAYS = {
    "networks": Array("whole", ("N", "D"), 0),
    "metric": Array("float", ("N",), -1e30, 1e30),
    "batches": Array("whole", (), 1),
    "weights": Array("whole", (_DIGEST,), 0, 255),
}


class Judgements(NamedTuple):
    """Networks and what the supernet said of each.

    Attributes:
      networks: `int32[N, D]`, distinct and in canonical form.
      metric: `float32[N]`, the task's primary metric.
    """

    networks: np.ndarray
    metric: np.ndarray

    @classmethod
    def none(cls, space: Choices) -> "Judgements":
        """Returns those of no network."""
        return cls(np.zeros((0, space.num_decisions), np.int32), np.zeros(0, np.float32))

    def lacking(self, networks: np.ndarray) -> np.ndarray:
        """Returns the networks of `int32[n, D]` that were not judged yet, in order and once."""
        known = {tuple(row) for row in self.networks.tolist()}
        left = dict.fromkeys(tuple(row) for row in networks.tolist())
        rows = [row for row in left if row not in known]
        return np.array(rows, np.int32).reshape(-1, self.networks.shape[1])

    def with_more(self, networks: np.ndarray, metric: np.ndarray) -> "Judgements":
        """Returns these and others, `int32[n, D]` and `float32[n]`."""
        return Judgements(
            np.concatenate([self.networks, networks]),
            np.concatenate([self.metric, np.asarray(metric, np.float32)]),
        )

    def save(self, path: Path, weights: np.ndarray, batches: int) -> None:
        """Writes the file.

        Args:
          path: of the file.
          weights: `float32[P]`, of the supernet that judged.
          batches: by how many batches it judged at most.
        """
        write_npz(
            path, {**self._asdict(), "batches": np.int32(batches), "weights": _digest(weights)}
        )

    @classmethod
    def load(cls, path: Path, space: Choices, weights: np.ndarray, batches: int) -> "Judgements":
        """Reads what `save` wrote.

        None is returned of a file that is absent, or whose judgements are by other weights or by
        another number of batches.

        Args:
          path: of the file.
          space: of the networks.
          weights: `float32[P]`, of the supernet.
          batches: by how many batches it judges at most.

        Raises:
          UserError: when the file is damaged, or of another space.
        """
        if not path.exists():
            return cls.none(space)
        try:
            found = read_npz(path, _ARRAYS, sizes={"D": space.num_decisions})
            check_options(space, found["networks"])
            networks = space.canonical(found["networks"].astype(np.int32))
            if len(np.unique(networks, axis=0)) < len(networks):
                raise UserError("it lists a network twice")
        except UserError as error:
            raise UserError(
                f"{path} cannot be used; delete it, and its networks are judged again: {error}"
            ) from error
        same = int(found["batches"]) == batches
        if not same or (found["weights"] != _digest(weights)).any():
            return cls.none(space)
        return cls(networks, found["metric"].astype(np.float32))


def _digest(weights: np.ndarray) -> np.ndarray:
    content = np.ascontiguousarray(weights, np.float32).tobytes()
    return np.frombuffer(hashlib.blake2b(content, digest_size=_DIGEST).digest(), np.uint8)
