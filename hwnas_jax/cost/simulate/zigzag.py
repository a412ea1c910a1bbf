"""One layer on one accelerator, in ZigZag's own files and calls.

ZigZag writes pickles, JSON and pictures wherever it runs, and changes the logging of the process.
Call `evaluate` in a process of its own.
"""

import contextlib
import copy
import functools
import importlib.util
import io
import logging
import math
import tempfile
from pathlib import Path
from typing import Any

from hwnas_jax.cost.simulate.layers import Layer
from hwnas_jax.errors import UserError

ORDERS = {
    "weight stationary": ("OX", "OY", "B", "FX", "FY", "C", "K", "G"),
    "output stationary": ("FX", "FY", "C", "OX", "OY", "B", "K", "G"),
}
"""The loops of a layer from the innermost outwards."""

SPATIAL = {
    "tpu-like": (("K",), ("C",)),
    "edge-tpu-like": (("K",), ("C",), ("OX",), ("OY",)),
    "eyeriss-like": (("OY", "OX"), ("FY", "C")),
}
"""Which loops run side by side along each dimension of the array, as far as there is room.

Eyeriss arranges rows of the output against rows of the kernel, and fills up with channels where a
kernel has few rows. A TPU arranges input channels against output channels.
"""

_BITS = {"W": 8, "I": 8, "O": 16, "O_final": 8}


@functools.cache
def _template(name: str) -> dict[str, Any]:
    import yaml

    spec = importlib.util.find_spec("zigzag")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "inputs" / "hardware" / f"{name.replace('-', '_')}.yaml"
    return yaml.safe_load(file.read_text())


def describe(template: str, rows: int, columns: int, buffer_kib: int) -> dict[str, Any]:
    """Returns ZigZag's description of an accelerator, as plain values.

    Args:
      template: a key of `SPATIAL`.
      rows: of the array.
      columns: of the array.
      buffer_kib: of the largest memory on the chip.
    """
    found = copy.deepcopy(_template(template))
    array = found["operational_array"]
    array["sizes"] = [rows, columns, *array["sizes"][2:]]
    chip = {name: memory for name, memory in found["memories"].items() if name != "dram"}
    buffer = max(chip.values(), key=lambda memory: memory["size"])
    growth = math.sqrt(buffer_kib * 8192 / buffer["size"])
    buffer["size"] = buffer_kib * 8192
    for cost in ("r_cost", "w_cost"):
        buffer[cost] = growth * buffer[cost]
    return found


def workload(layer: Layer) -> list[dict[str, Any]]:
    """Returns ZigZag's description of a layer."""
    (stride_y, stride_x), (dilation_y, dilation_x) = layer.stride, layer.dilation
    (rows, columns), (pad_y, pad_x) = layer.kernel, layer.padding
    sizes = {
        "B": layer.batch, "G": layer.groups, "K": layer.outputs, "C": layer.inputs,
        "OY": layer.height, "OX": layer.width, "FY": rows, "FX": columns,
    }  # fmt: skip
    reads = {
        "IY": stride_y * (layer.height - 1) + dilation_y * (rows - 1) + 1 - sum(pad_y),
        "IX": stride_x * (layer.width - 1) + dilation_x * (columns - 1) + 1 - sum(pad_x),
    }
    return [
        {
            "id": 0,
            "name": "layer",
            "operator_type": "Conv",
            "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
            "dimension_relations": [
                f"ix={stride_x}*ox+{dilation_x}*fx", f"iy={stride_y}*oy+{dilation_y}*fy",
            ],
            "loop_dims": list(sizes),
            "loop_sizes": list(sizes.values()),
            "operand_precision": _BITS,
            "operand_source": {"W": 0, "I": 0},
            "pr_loop_dims": list(reads),
            "pr_loop_sizes": list(reads.values()),
            "padding": [list(pad_y), list(pad_x)],
        }
    ]  # fmt: skip


def mapping(layer: Layer, template: str, array: list[int]) -> list[dict[str, Any]]:
    """Returns ZigZag's description of which loops of a layer run side by side."""
    (described,) = workload(layer)
    left = dict(zip(described["loop_dims"], described["loop_sizes"], strict=True))
    spatial: dict[str, list[str]] = {}
    for number, (loops, size) in enumerate(zip(SPATIAL[template], array, strict=True), 1):
        room, spatial[f"D{number}"] = size, []
        for loop in loops:
            factor = min(room, left[loop])
            if factor > 1:
                spatial[f"D{number}"].append(f"{loop}, {factor}")
            room //= factor
            left[loop] = -(-left[loop] // factor)
        spatial[f"D{number}"] = spatial[f"D{number}"] or [f"{loops[0]}, 1"]
    links = {"O": "O", "W": "I2", "I": "I1"}
    return [{"name": "default", "spatial_mapping": spatial, "memory_operand_links": links}]


def _primes(number: int) -> list[int]:
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found


def evaluate(
    layer: Layer, template: str, rows: int, columns: int, buffer_kib: int
) -> tuple[float, float]:
    """Returns cycles and picojoules of a layer, in the better of `ORDERS`.

    Args:
      layer: its shape.
      template: a key of `SPATIAL`.
      rows: of the array.
      columns: of the array.
      buffer_kib: of the largest memory on the chip.

    Raises:
      UserError: when the simulator cannot place the layer.
    """
    import yaml
    from zigzag.stages.main import MainStage

    logging.disable(logging.CRITICAL)
    described = describe(template, rows, columns, buffer_kib)
    laid_out = mapping(layer, template, described["operational_array"]["sizes"])
    with tempfile.TemporaryDirectory(prefix="hwnas_zigzag_") as scratch:
        files = {}
        for name, value in (("accelerator", described), ("mapping", laid_out)):
            files[name] = Path(scratch) / f"{name}.yaml"
            files[name].write_text(yaml.safe_dump(value, sort_keys=False))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                evaluations = MainStage(
                    _stages(),
                    workload=workload(layer),
                    accelerator=str(files["accelerator"]),
                    mapping=str(files["mapping"]),
                    **_SETTINGS,
                ).run()
        except (AssertionError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
            raise UserError(
                f"ZigZag cannot place {layer} on {template} {rows}x{columns}, {buffer_kib} KiB: "
                f"{type(error).__name__}: {error}"
            ) from error
    found = evaluations[0][0]
    return float(found.latency_total2), float(found.energy_total)


_SETTINGS = {
    "loma_lpf_limit": 6,
    "loma_show_progress_bar": False,
    "nb_mappings_generated": 1,
    "access_same_data_considered_as_no_access": True,
}


def _stages() -> list[Any]:
    """Returns ZigZag's pipeline for one layer, without its files and its search for an order."""
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.opt.loma.engine import LomaEngine
    from zigzag.opt.loma.memory_allocator import MemoryAllocator
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.workload_parser import WorkloadParserStage
    from zigzag.stages.results.reduce_stages import MinimalEDPStage, SumStage
    from zigzag.stages.workload_iterator import WorkloadStage

    uneven = TemporalMappingType.UNEVEN

    class FixedOrders(TemporalMappingGeneratorStage):
        def generate_temporal_mappings(self):
            engine = LomaEngine(
                accelerator=self.accelerator, layer=self.layer,
                spatial_mapping=self.spatial_mapping, mapping_type=uneven, **self.kwargs,
            )  # fmt: skip
            left = {str(loop): (loop, size) for loop, size in engine.get_temporal_loops().items()}
            for order in ORDERS.values():
                # Prime factors can end up in different memories, whole loops cannot.
                loops = [
                    (left[name][0], prime)
                    for name in order
                    if name in left
                    for prime in _primes(left[name][1])
                ]
                yield MemoryAllocator(
                    self.accelerator, self.layer, self.spatial_mapping, loops, uneven
                ).run()

    return [
        WorkloadParserStage, AcceleratorParserStage, SumStage, WorkloadStage, MinimalEDPStage,
        SpatialMappingGeneratorStage, MinimalEDPStage,
        functools.partial(FixedOrders, temporal_mapping_type=uneven), CostModelStage,
    ]  # fmt: skip
