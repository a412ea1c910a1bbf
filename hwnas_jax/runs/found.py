"""The file in which a search leaves what it found.

Legend: `M` searches, `D` decisions, `K` options of the widest decision, `P` weights, `N` networks,
`Q` numbers of a relaxation's parameters.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.cost.files.readers.table_checks import check_options
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet

FILE = "search.npz"


_ARRAYS = {
    "probabilities": Array("float", ("M", "D", "K"), 0, 1.0001, optional=True),
    "prior": Array("float", ("D", "K"), 0, 1.0001, optional=True),
    "weights": Array("float", ("M", "P"), optional=True),
    "params": Array("float", ("M", "Q"), optional=True),
    "networks": Array("whole", ("M", "N", "D"), 0, optional=True),
    "scores": Array("float", ("M", "N"), finite=False, optional=True),
    "excess": Array("float", ("M", "N"), finite=False, optional=True),
    "fidelity": Array("whole", ("M", "N"), 0, optional=True),
}


class Found(NamedTuple):
    """What a run's searches found; a gradient search and a strategy each leave their part.

    Attributes:
      probabilities: `float32[M, D, K]` of a gradient search; None of a strategy.
      prior: `float32[D, K]`, the probabilities it began with; None of a strategy.
      weights: `float32[M, P]`, of the supernets; None where none was trained.
      params: `float32[M, Q]`, the relaxation's parameters in one row; None of a strategy.
      networks: `int32[M, N, D]`, what a strategy asked for; None of a gradient search.
      scores: `float32[M, N]`, what it was told, higher is better.
      excess: `float32[M, N]`, how far over the budget each was predicted to lie.
      fidelity: `int32[M, N]`, how many fidelities below the highest each was evaluated; None where
        all were at the highest.
    """

    probabilities: np.ndarray | None = None
    prior: np.ndarray | None = None
    weights: np.ndarray | None = None
    params: np.ndarray | None = None
    networks: np.ndarray | None = None
    scores: np.ndarray | None = None
    excess: np.ndarray | None = None
    fidelity: np.ndarray | None = None

    def save(self, folder: Path) -> None:
        """Writes the file into a run folder."""
        arrays = {name: value for name, value in self._asdict().items() if value is not None}
        write_npz(folder / FILE, arrays, compressed=False)

    @classmethod
    def load(cls, folder: Path, space: Space, searches: int) -> "Found":
        """Reads what `save` wrote.

        Args:
          folder: the run folder.
          space: what was searched.
          searches: how many searches there were.

        Raises:
          UserError: when the file is absent, damaged, or of another space or number of searches.
        """
        path = folder / FILE
        if not path.exists():
            raise UserError(f"{folder} holds no finished search; continue it with --resume")
        try:
            sizes = {"M": searches, "D": space.num_decisions, "K": space.num_options}
            found = cls(**read_npz(path, _ARRAYS, sizes=sizes))
            found._check(space)
            return found
        except UserError as error:
            raise UserError(
                f"{path} cannot be used; delete it and the line search of "
                f"{folder / 'stages.json'} to take it from the last checkpoint again: {error}"
            ) from error

    def _check(self, space: Space) -> None:
        if (self.probabilities is None) != (self.prior is None):
            raise UserError("probabilities and prior belong together, and one is missing")
        if self.probabilities is not None and self.prior is not None:
            check_probabilities(space, self.probabilities)
            check_probabilities(space, self.prior)
        if self.weights is not None:
            check_weights(space, self.weights)
        if self.networks is not None:
            check_options(space, self.networks.reshape(-1, space.num_decisions))
            if self.scores is None or self.excess is None:
                raise UserError("networks need scores and excess beside them")


def check_weights(space: Space, weights: np.ndarray) -> None:
    """Refuses what are no weights of a space's supernet, `float[..., P]`; raises UserError."""
    expected = make_supernet(space).num_weights
    if weights.shape[-1] != expected:
        raise UserError(
            f"weights are {weights.shape[-1]:,} numbers for each search, and the supernet of "
            f"{space.name} has {expected:,}"
        )


def check_probabilities(space: Space, probabilities: np.ndarray) -> None:
    """Refuses what are no probabilities of the options of a space, `float[..., D, K]`.

    Raises:
      UserError: names the decision whose options do not add up to one, or that has more options
        than the space knows.
    """
    beyond = (probabilities * ~space.mask).max(axis=-1)
    wrong = np.argwhere((np.abs(probabilities.sum(axis=-1) - 1) > 0.01) | (beyond > 1e-6))
    if len(wrong):
        decision = space.decisions[wrong[0][-1]]
        raise UserError(
            f"the probabilities of the {len(decision.options)} options of {decision.name!r} must "
            f"add up to one, got {probabilities[tuple(wrong[0])].tolist()}"
        )
