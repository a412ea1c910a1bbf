"""What networks put out: a vector for each example, or values for each of its positions.

Legend: `B` batch, `H, W` height and width of the input, `O` channels of an output.
"""

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Output:
    """One of the outputs of a network; it has a head of its own.

    Attributes:
      channels: `O`: classes, labels or values.
      dense: whether there are so many for each position of the input, `float32[B, H, W, O]`, and
        not for the whole example, `float32[B, O]`.
    """

    channels: int
    dense: bool = False

    def shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """Returns its shape for one example of `input_shape`, channels last."""
        return (*(tuple(input_shape)[:-1] if self.dense else ()), self.channels)


def output_shape(outputs: Sequence[Output], input_shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of what a network returns for one example.

    One output is returned in its own shape. Several are ravelled and stand side by side in one
    vector, in their order; behind them stands one number for each, the learned logarithm of its
    variance, by which losses can be weighted (Kendall et al., "Multi-Task Learning Using
    Uncertainty to Weigh Losses", CVPR 2018).

    >>> output_shape([Output(3, dense=True)], (8, 8, 1))
    (8, 8, 3)
    >>> output_shape([Output(3, dense=True), Output(10)], (8, 8, 1))
    (204,)
    """
    shapes = [output.shape(input_shape) for output in outputs]
    if len(shapes) == 1:
        return shapes[0]
    return (sum(map(math.prod, shapes)) + len(shapes),)


def num_channels(outputs: Sequence[Output]) -> int:
    """Returns the channels of all outputs: `num_outputs` of a space and of a data set."""
    return sum(output.channels for output in outputs)
