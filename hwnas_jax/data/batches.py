"""The batches of every step: drawn, augmented and normalised inside the compiled step.

Legend: `B` batch, `N` examples.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import DataConfig
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import Sampler, augment, augmentation, normalise
from hwnas_jax.data.stream import Stream
from hwnas_jax.parallel.replicas import own_slice

_SALT = 0x0BA7C4E5


class Batch(NamedTuple):
    """One replica's share of a batch.

    Attributes:
      inputs: `float32[B, ...]`, augmented and normalised.
      targets: `[B, ...]`, as the data set holds them.
      keys: random keys `[B]`, one for each example, for what a network does by chance.
    """

    inputs: jax.Array
    targets: jax.Array
    keys: jax.Array


class Batches:
    """Batches of one or more parts of a data set's training examples.

    The batches of a step depend on the run's key and the number of the step alone: never on the
    number of replicas, on where a run was resumed, or on whether the data stay on the device.

    Args:
      dataset: its training examples are drawn from.
      config: shift and flip of the augmentation.
      parts: by name, the rows `int32[N]` that a part draws from.
      batch_size: `B`, over all replicas.
      length: steps that one compiled call takes.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: DataConfig,
        parts: Mapping[str, np.ndarray],
        batch_size: int,
        length: int,
    ):
        self._dataset, self._length = dataset, length
        self._augmentation = augmentation(dataset, config)
        self.parts = dict(parts)
        self._samplers = {
            name: Sampler(len(rows), batch_size, length) for name, rows in self.parts.items()
        }

    def resident(self) -> dict[str, Any]:
        """Returns what stays on the devices: the examples, their moments, the rows of each part."""
        data = self._dataset
        return {
            "inputs": data.train_inputs, "targets": data.train_targets,
            "mean": data.mean, "std": data.std, "rows": self.parts,
        }  # fmt: skip

    def stream(self, replicas: Any) -> Stream:
        """Returns what takes the place of `resident` when the data stay on the host."""

        def plan(key, first_step):
            keys = self._keys(key)
            return {
                name: sampler.batches(keys[name], first_step)
                for name, sampler in self._samplers.items()
            }

        return Stream(self._dataset, plan, self.parts, replicas)

    def scan(
        self, step: Callable[..., tuple[Any, Any]], axis_name: str | None
    ) -> Callable[[Any, Any], tuple[Any, Any]]:
        """Returns `(state, data) -> (state, info)`, which takes all steps of a call.

        Args:
          step: `(state, {part: Batch}, data) -> (state, info)`.
          axis_name: of the replicas; None for one that stands alone.
        """

        def dispatch(state: Any, data: Any) -> tuple[Any, Any]:
            first_step, keys = state.step, self._keys(state.key)
            orders = {}
            if "batches" not in data:
                orders = {
                    name: sampler.orders(keys[name], first_step)
                    for name, sampler in self._samplers.items()
                }

            def one(state, given):
                drawn = {
                    name: self._draw(name, keys, orders, first_step, state.step, data, given,
                                     axis_name)
                    for name in self.parts
                }  # fmt: skip
                return step(state, drawn, data)

            return jax.lax.scan(one, state, data.get("batches"), length=self._length)

        return dispatch

    def _keys(self, key: jax.Array) -> dict[str, jax.Array]:
        split = jax.random.split(jax.random.fold_in(key, _SALT), len(self.parts))
        return dict(zip(self.parts, split, strict=True))

    def _draw(self, name, keys, orders, first_step, step, data, given, axis_name) -> Batch:
        sampler = self._samplers[name]
        own = jax.random.split(jax.random.fold_in(keys[name], step), sampler.batch_size)
        if not orders:
            own, (inputs, targets) = own_slice(own, axis_name), given[name]
        else:
            rows = sampler.indices(orders[name], first_step, step)
            rows = jnp.take(data["rows"][name], rows)
            rows, own = own_slice((rows, own), axis_name)
            inputs, targets = data["inputs"][rows], data["targets"][rows]
        inputs = augment(own, inputs, self._augmentation)
        return Batch(normalise(inputs, data["mean"], data["std"]), targets, own)
