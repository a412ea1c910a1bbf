"""The end of networks that classify the mean of their last value."""

import jax
from flax import nnx

from hwnas_jax.nn.normalisation import Norm


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


def classifier(features: int, num_outputs: int, norm: Norm, rngs: nnx.Rngs) -> Classifier:
    """Builds a `Classifier` where heads are given a normalisation, which it does not need."""
    del norm
    return Classifier(features, num_outputs, rngs)
