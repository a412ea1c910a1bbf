"""The end of networks that classify the mean of their last value."""

from typing import cast

import jax
from flax import nnx

from hwnas_jax.nn.normalisation import Norm


class Classifier(nnx.Module):
    """The mean over the image and a linear layer.

    It also reads an input of fewer channels, by the first rows of its kernel.
    """

    def __init__(self, features: int, num_outputs: int, rngs: nnx.Rngs):
        self.linear = nnx.Linear(features, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        pooled = x.mean((1, 2))
        kernel, bias = (
            cast(nnx.Param, part)[...].astype(x.dtype)
            for part in (self.linear.kernel, self.linear.bias)
        )
        return pooled @ kernel[: pooled.shape[-1]] + bias

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image; additions of the bias are not counted."""
        del input_shape
        return self.linear.in_features * self.linear.out_features


def classifier(features: int, num_outputs: int, norm: Norm, rngs: nnx.Rngs) -> Classifier:
    """Builds a `Classifier` where heads are given a normalisation, which it does not need."""
    del norm
    return Classifier(features, num_outputs, rngs)
