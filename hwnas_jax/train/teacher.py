"""A trained network that another learns to imitate beside its targets.

References: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.tasks.base import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network with what it was trained on.

    Attributes:
      network: in evaluation mode.
      task: that it learned.
      mean: of its training inputs, by which they were normalised.
      std: of its training inputs.
    """

    network: nnx.Module
    task: Task
    mean: np.ndarray
    std: np.ndarray

    @functools.cached_property
    def _split(self) -> tuple[Any, Any]:
        return nnx.split(self.network)

    @property
    def state(self) -> Any:
        """Its weights and statistics, a tree of arrays; the same object at every call."""
        return self._split[1]

    def outputs(
        self, state: Any, inputs: jax.Array, mean: jax.Array, std: jax.Array, task: Task
    ) -> jax.Array:
        """Returns what it says about a batch, without a gradient and in the units of a task.

        Args:
          state: as `state` returns it.
          inputs: `float32[B, ...]`, normalised for the network that learns.
          mean: by which they were normalised.
          std: by which they were normalised.
          task: of the network that learns.
        """
        own = (inputs * std + mean - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        said = nnx.merge(self._split[0], state)(own).astype(jnp.float32)
        return jax.lax.stop_gradient(task.as_own(said, self.task))
