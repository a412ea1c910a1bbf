"""What networks cost on the accelerators with which a co-design space pairs them.

Legend: `N` pairs of a network and an accelerator, `D` decisions, `A` accelerators.
"""

import dataclasses

import jax
import numpy as np

from hwnas_jax.cost.simulate.layers import space_layers
from hwnas_jax.cost.simulate.systolic import layer_costs, layer_shapes, stack_designs
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.codesign import Codesign
from hwnas_jax.spaces.core.hardware import Technology

RUNTIME = "systolic"


@dataclasses.dataclass(frozen=True)
class Systolic:
    """The analytical model of `systolic.py`; each network brings its own accelerator.

    Attributes:
      resident: as in `hwnas_jax.cost.simulate.systolic.layer_costs`.
      label: what people call it.
    """

    resident: bool = True
    label: str = "systolic model, an accelerator to each network"


def joint_costs(
    space: Space,
    architectures: np.ndarray,
    model: Systolic | None = None,
    *,
    batch_size: int = 1,
    technology: Technology | None = None,
) -> dict[str, np.ndarray]:
    """Returns what each network costs on its accelerator, `{metric: float64[N]}`.

    The metrics are latency_ms, energy_mj, area_mm2, the energy-delay product edp_mj_ms and the
    energy-delay-area product edap_mj_ms_mm2.

    Args:
      space: a co-design space.
      architectures: `int32[N, D]`.
      model: how the data moves.
      batch_size: images per call.
      technology: what silicon costs.

    Raises:
      UserError: for a space whose architectures have no accelerator.
    """
    if not isinstance(space, Codesign):
        raise UserError(
            f"{space.name} has no accelerator to its networks; the space codesign wraps it: "
            f"space.name = 'codesign', space.args.network = '{space.name}'"
        )
    model, technology = model or Systolic(), technology or Technology()
    architectures = np.asarray(architectures, np.int32)
    own = space.network_space
    networks, which = np.unique(
        own.canonical(architectures[:, : own.num_decisions]), axis=0, return_inverse=True
    )
    numbers = space.design_numbers(architectures)
    layers_of = space_layers(own, batch_size)
    layers_each = [layers_of(row) for row in networks]
    layers = sorted(set().union(*layers_each))
    times = np.array([[each[layer] for layer in layers] for each in layers_each], float)
    designs = stack_designs(space.designs, technology)
    costs = jax.tree.map(
        lambda leaf: np.asarray(leaf, float),
        layer_costs(layer_shapes(layers), designs, technology, resident=model.resident),
    )
    pairs = which.reshape(-1), numbers
    latency_ms = (times @ costs.latency_ms)[pairs]
    energy_mj = (times @ costs.energy_mj)[pairs]
    area_mm2 = np.asarray(designs.area_mm2, float)[numbers]
    return {
        "latency_ms": latency_ms,
        "energy_mj": energy_mj,
        "area_mm2": area_mm2,
        "edp_mj_ms": energy_mj * latency_ms,
        "edap_mj_ms_mm2": energy_mj * latency_ms * area_mm2,
    }
