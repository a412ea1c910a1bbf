"""The spaces that published tables cover, with decisions and options named as there.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision, `P` parts of a
mixture.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax import spaces
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Decision
from hwnas_jax.spaces.fbnet import FBNet
from hwnas_jax.spaces.nasbench201 import NasBench201

_OFA_STAGES, _OFA_DEPTH = 5, 4


def nasbench201(
    input_shape: tuple[int, int, int] = (32, 32, 3), num_classes: int = 10
) -> NasBench201:
    """Returns NAS-Bench-201 at its published size of 16 channels and 5 cells per stage."""
    return NasBench201(input_shape=input_shape, num_classes=num_classes)


def fbnet(size: int = 32) -> FBNet:
    """Returns FBNet as published tables have it: of 32 pixels for CIFAR-100, of 224 for ImageNet.

    References: Li et al., "HW-NAS-Bench: Hardware-Aware Neural Architecture Search Benchmark",
    ICLR 2021.
    """
    args: dict[str, Any] = {32: {"halvings": 3, "head": 1504}, 224: {}}[size]
    return FBNet(input_shape=(size, size, 3), num_classes={32: 100, 224: 1000}[size], **args)


class CellChoices(Choices):
    """The cells of NAS-Bench-201 in a network that is not built here."""

    def __init__(self, name: str):
        super().__init__(name, NasBench201.decisions)

    canonical = NasBench201.canonical
    canonical_mixture = NasBench201.canonical_mixture
    to_string = NasBench201.to_string
    from_string = NasBench201.from_string


class OnceForAll(Choices):
    """Once-for-All's MobileNetV3: five stages of two to four blocks, and the image size.

    A block has a kernel size `ks` and an expansion `e`, a stage a depth `d`, the network a
    resolution `r`. Blocks beyond their stage's depth are not built.

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

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, 46]`) with the first option on blocks not built."""
        depths = architectures[:, _DEPTH_ROWS]
        return np.where(_left_out(depths), 0, architectures).astype(np.int32)

    def canonical_mixture(self, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        depths = np.array(list(itertools.product(range(3), repeat=_OFA_STAGES)))
        off = jnp.asarray(_left_out(depths))
        rows = np.asarray(_DEPTH_ROWS)
        coefficient = weight[rows, depths].prod(axis=1)
        coefficient = coefficient * jnp.where(off, weight.sum(axis=1), 1.0).prod(axis=1)
        fixed = jax.nn.one_hot(depths, self.num_options, dtype=weight.dtype)
        first = jax.nn.one_hot(0, self.num_options, dtype=weight.dtype)
        mixed = jnp.where(off[:, :, None], first, weight)
        return coefficient, mixed.at[:, rows].set(fixed)


_DEPTH_ROWS = tuple(range(40, 45))


def _left_out(depths):
    """Returns which decisions `bool[N, 46]` concern blocks beyond depth options `int[N, 5]`."""
    block = np.arange(_OFA_DEPTH)
    unbuilt = (block >= 2 + depths[:, :, None]).reshape(len(depths), -1)
    rest = np.zeros((len(depths), _OFA_STAGES + 1), bool)
    return np.concatenate([unbuilt, unbuilt, rest], axis=1)


def choices_from_spec(spec: Any) -> Choices:
    """Builds what `Choices.spec` described, be it a search space or that of a published table.

    Raises:
      UserError: when the description is incomplete or names what is not there.
    """
    if not isinstance(spec, dict) or "decisions" not in spec:
        return spaces.from_spec(spec if isinstance(spec, dict) else {})
    off = spec.get("off", {})
    if not isinstance(off, dict) or not all(isinstance(value, list) for value in off.values()):
        raise UserError(f"the description of the space is damaged: {spec}")
    space = _described({key: value for key, value in spec.items() if key != "off"})
    return space.restricted(off) if off else space


def _described(spec) -> Choices:
    for known in (OnceForAll(), CellChoices(str(spec.get("name")))):
        if known.spec == spec:
            return known
    name, decisions = spec.get("name"), spec["decisions"]
    named = isinstance(name, str) and isinstance(decisions, dict) and decisions
    if not named or not all(
        isinstance(options, list) and options and all(isinstance(text, str) for text in options)
        for options in decisions.values()
    ):
        raise UserError(f"the description of the space is damaged: {spec}")
    known_decisions = (Decision(key, tuple(options)) for key, options in decisions.items())
    return Choices(str(name), tuple(known_decisions))
