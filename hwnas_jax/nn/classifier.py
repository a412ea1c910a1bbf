"""The end of networks that classify the mean of their last value."""

import jax
from flax import nnx


class Classifier(nnx.Module):
    """The mean over the image and a linear layer."""

    def __init__(self, features: int, num_outputs: int, rngs: nnx.Rngs):
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(x.mean((1, 2)))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image; additions of the bias are not counted."""
        del input_shape
        return self.linear.in_features * self.linear.out_features
