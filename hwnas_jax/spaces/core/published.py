"""The spaces that published tables cover, with the decisions and options named as in the tables.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen

from hwnas_jax.spaces.build import checked_description, from_spec
from hwnas_jax.spaces.core.bounds import check_extent
from hwnas_jax.spaces.core.choices import Choices, Decision
from hwnas_jax.spaces.core.mixture import Governed, Governor
from hwnas_jax.spaces.fbnet import FBNet
from hwnas_jax.spaces.nasbench201 import CellChoices, NasBench201

_OFA_STAGES, _OFA_DEPTH = 5, 4
_LONGEST_BLOCK = 5


def nasbench201(
    input_shape: tuple[int, int, int] = (32, 32, 3), num_outputs: int = 10
) -> NasBench201:
    """Returns NAS-Bench-201 at its published size of 16 channels and 5 cells per stage."""
    return NasBench201(input_shape=input_shape, num_outputs=num_outputs)


def fbnet(size: int = 32) -> FBNet:
    """Returns FBNet as in published tables: with 32 pixels for CIFAR-100, with 224 for ImageNet.

    References: Li et al., "HW-NAS-Bench: Hardware-Aware Neural Architecture Search Benchmark",
    ICLR 2021.
    """
    args: dict[str, Any] = {32: {"halvings": 3, "head": 1504}, 224: {}}[size]
    return FBNet(input_shape=(size, size, 3), num_outputs={32: 100, 224: 1000}[size], **args)


class OnceForAll(Governed):
    """Once-for-All's MobileNetV3: five stages of two to four blocks, and the image size.

    A block has a kernel size `ks` and an expansion `e`, a stage has a depth `d`, and the network
    has a resolution `r`. Blocks beyond the depth of their stage are not built.

    References: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient
    Deployment", ICLR 2020.
    """

    def __init__(self):
        blocks = range(1, _OFA_STAGES * _OFA_DEPTH + 1)
        super().__init__(
            "ofa_mobilenetv3",
            (
                *(Decision(f"ks{block}", ("3", "5", "7")) for block in blocks),
                *(Decision(f"e{block}", ("3", "4", "6")) for block in blocks),
                *(Decision(f"d{stage}", ("2", "3", "4")) for stage in range(1, _OFA_STAGES + 1)),
                Decision("r", tuple(str(size) for size in range(128, 225, 4))),
            ),
        )

    @property
    def governors(self) -> tuple[Governor, ...]:
        blocks = _OFA_STAGES * _OFA_DEPTH
        closed = np.arange(_OFA_DEPTH) >= 2 + np.arange(self.num_options)[:, None]
        return tuple(
            Governor(
                2 * blocks + stage,
                (
                    *range(first, first + _OFA_DEPTH),
                    *range(blocks + first, blocks + first + _OFA_DEPTH),
                ),
                np.concatenate([closed, closed], axis=1),
            )
            for stage, first in enumerate(range(0, blocks, _OFA_DEPTH))
        )


def accel_nasbench() -> Choices:
    """Returns Accel-NASBench's MnasNet: four decisions for each of seven blocks of layers.

    A block has an expansion `e`, a kernel size `k`, a number of layers `l`, and squeeze-excitation
    `se` or not. The package's own `mnasnet` has other decisions.

    References: Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS",
    DAC 2024.
    """
    return Choices(
        "accel_nasbench",
        tuple(
            Decision(f"block{block}_{what}", options)
            for block in range(7)
            for what, options in (
                ("e", ("1", "4", "6")),
                ("k", ("3", "5")),
                ("l", ("1", "2", "3", "4") if block == _LONGEST_BLOCK else ("1", "2", "3")),
                ("se", ("0", "1")),
            )
        ),
    )


def choices_from_spec(spec: Any) -> Choices:
    """Builds the space that `Choices.spec` described: a search space, or that of a published table.

    Raises:
      UserError: when the description is incomplete, names an unknown space or option, or has too
        many decisions or options.
    """
    if not isinstance(spec, dict) or "decisions" not in spec:
        return from_spec(spec if isinstance(spec, dict) else {})
    said = checked_description(_Description, spec)
    decisions = tuple(Decision(name, options) for name, options in said.decisions.items())
    space = Choices(said.name, decisions)
    check_extent(space, space.num_decisions, {})
    for known in (OnceForAll(), CellChoices(said.name)):
        if known.spec == space.spec:
            space = known
    return space.restricted(said.off) if said.off else space


@dataclasses.dataclass(frozen=True)
class _Description:
    """What `Choices.spec` says of a space that is known by its decisions."""

    name: str
    decisions: Annotated[dict[str, Annotated[tuple[str, ...], MinLen(1)]], MinLen(1)]
    off: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
