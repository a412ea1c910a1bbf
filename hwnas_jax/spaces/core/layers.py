"""What layer-wise spaces are described by: stages of layers, and the blocks that a layer may be."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers of one width.

    Attributes:
      features: output channels of each layer.
      layers: number of layers.
      stride: of the first layer.
      last: output channels of the last layer, if they differ.
    """

    features: int
    layers: int
    stride: int
    last: int | None = None


@dataclasses.dataclass(frozen=True)
class Inverted:
    """An option that is an inverted residual block; the arguments are those of `MBConv`."""

    kernel: int
    expansion: int
    groups: int = 1
    always_expand: bool = False


@dataclasses.dataclass(frozen=True)
class Skip:
    """An option that passes the input on; a layer that changes the shape uses a 1x1 convolution.

    Attributes:
      activated: whether an activation follows that convolution.
      everywhere: whether layers that change the shape offer the option too.
    """

    activated: bool = True
    everywhere: bool = True


@dataclasses.dataclass(frozen=True)
class Layer:
    """One searched layer.

    Attributes:
      shape: of its input, `(H, W, C)`.
      features: output channels.
      stride: of its blocks.
      options: names of the options.
      off: the options that are switched off; the supernet does not hold them.
    """

    shape: tuple[int, int, int]
    features: int
    stride: int
    options: tuple[str, ...]
    off: tuple[str, ...] = ()

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the input's shape."""
        return self.stride == 1 and self.features == self.shape[2]

    @property
    def result(self) -> tuple[int, int, int]:
        """The shape of the output, `(H, W, C)`."""
        height, width = (-(-size // self.stride) for size in self.shape[:2])
        return height, width, self.features

    @property
    def offered(self) -> dict[int, str]:
        """The options that are on, by their number."""
        return {i: name for i, name in enumerate(self.options) if name not in self.off}
