"""Networks that are trained by more than their own loss, or with chance."""

import abc

import jax
from flax import nnx


class InTraining(nnx.Module):
    """A stand-alone network with outputs of its own for training.

    Training calls `in_training` in place of the network. A plain network, which is not of this
    class, is trained by the loss of its output alone.
    """

    @abc.abstractmethod
    def in_training(
        self, x: jax.Array, keys: jax.Array, progress: jax.Array
    ) -> tuple[tuple[float, jax.Array], ...]:
        """Returns pairs of a factor and an output, the network's own output first.

        The training loss is the sum over the pairs of the factor times the loss of the output.

        Args:
          x: `[B, H, W, C]`.
          keys: random keys `[B]`, one for each image.
          progress: `float32[]`, the share of the training that is done, in [0, 1].
        """
