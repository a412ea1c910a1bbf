"""Trains single paths of a supernet side by side, one on each device at a time.

Legend: `n` networks, `D` decisions, `P` weights of the supernet, `T` steps of a training.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.parallel.replicas import Members
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators.path_training import PathState, PathTraining


class Trainee(NamedTuple):
    """A network in training.

    Attributes:
      state: its weights and their optimiser.
      path: `int32[D]`, the architecture.
      key: as `PathTraining.init` was given it.
    """

    state: PathState
    path: jax.Array
    key: jax.Array


class SideBySide:
    """One compiled program that trains as many networks at once as there are devices.

    Args:
      training: how each is trained.
      place: the devices; each holds one network.
      length: steps of a call.
    """

    def __init__(self, training: PathTraining, place: Members, length: int):
        self._place, self._length = place, length
        options = training.bench.space.num_options

        def train(trainee, given):
            one = own(trainee)
            gates = one_hot_gates(one.path, options, sampled=True)
            state, losses = training.steps(
                one.state, given["data"], gates, one.key, first=given["first"], length=length,
                total=given["total"], factor=given["factor"],
            )  # fmt: skip
            return stacked(one._replace(state=state)), losses

        self.dispatch = place.compile(train)

    def begin(
        self, networks: np.ndarray, keys: Sequence[jax.Array], states: Sequence[PathState]
    ) -> Trainee:
        """Returns networks before their first step, each on a device of its own.

        Where there are fewer than devices, the last is trained again on those that are left.

        Args:
          networks: `int32[n, D]`, at most one for each device.
          keys: of each.
          states: of each, from `PathTraining.init` of its key.
        """
        rows = np.minimum(np.arange(self._place.count), len(networks) - 1)
        return self._place.place(
            Trainee(
                jax.tree.map(lambda *leaves: jnp.stack([leaves[row] for row in rows]), *states),
                jnp.asarray(np.asarray(networks)[rows], jnp.int32),
                jnp.stack([keys[row] for row in rows]),
            )
        )

    def given(self, data: Any, *, first: int, total: int, factor: float = 1.0) -> Any:
        """Returns what a call takes beside the networks.

        Args:
          data: the examples, which `Members.share` has put on every device.
          first: number of the call's first step.
          total: steps of the whole training.
          factor: on the learning rate.
        """
        numbers = {
            "first": jnp.int32(first), "total": jnp.int32(total), "factor": jnp.float32(factor),
        }  # fmt: skip
        return {"data": data} | self._place.share(numbers)

    def run(
        self,
        trainees: Trainee,
        data: Any,
        calls: int,
        *,
        factor: float = 1.0,
        on_call: Callable[[int], None],
        dispatch: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> tuple[Trainee, np.ndarray]:
        """Trains networks to their end.

        Args:
          trainees: from `begin`.
          data: the examples, which `Members.share` has put on every device.
          calls: of `length` steps each.
          factor: on the learning rate.
          on_call: called before each call with its number.
          dispatch: `self.dispatch`, compiled ahead; it compiles at its first call when left out.

        Returns:
          The networks after their last step, and their losses `float32[devices, T]`.
        """
        total, losses = calls * self._length, []
        for call in range(calls):
            on_call(call)
            given = self.given(data, first=call * self._length, total=total, factor=factor)
            trainees, some = (dispatch or self.dispatch)(trainees, given)
            losses.append(some)
        return trainees, np.concatenate([np.asarray(some) for some in losses], axis=1)


def own(tree: Any) -> Any:
    """Returns the one member that a device holds, without the axis of members."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def stacked(tree: Any) -> Any:
    """Returns a device's one member with the axis of members."""
    return jax.tree.map(lambda leaf: leaf[None], tree)
