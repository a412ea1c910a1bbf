"""Networks as files for other runtimes: ONNX through jax2onnx, StableHLO through `jax.export`.

A network is traced with the plain forms of its operations (`lax.conv`, whole kernels), and not with
those that are fast on this machine, because another runtime brings fast forms of its own.

Legend: `B` batch, `H, W, C` image height, width, channels.
"""

import contextlib
import importlib
import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.nn.platform import platform

TOLERANCE = 1e-4
"""The largest difference from JAX that is allowed, relative to the largest output."""

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""The platforms that an exported StableHLO program runs on."""

INPUT, OUTPUT = "images", "logits"

Function = Callable[[jax.Array], jax.Array]


def to_onnx(
    function: Function,
    shape: tuple[int | None, ...],
    dtype: Any = np.float32,
    *,
    name: str = "network",
    notes: Mapping[str, str] | None = None,
) -> bytes:
    """Returns a function of one array as an ONNX file.

    Args:
      function: the arrays that it holds become constants of the file.
      shape: of the input, which is named `images`; None leaves a dimension open. The output is
        named `logits`.
      dtype: of the input.
      name: of the graph.
      notes: texts that the file carries, by name.

    Raises:
      UserError: when jax2onnx is missing or cannot convert the function.
    """
    jax2onnx: Any = require("jax2onnx", "export")
    dimensions: Any = tuple("B" if size is None else size for size in shape)
    with platform("onnx"), _quiet():
        try:
            model = jax2onnx.to_onnx(
                function, [jax.ShapeDtypeStruct(dimensions, dtype)],
                model_name=name, input_names=[INPUT],
            )  # fmt: skip
        except Exception as error:
            raise UserError(
                f"jax2onnx {importlib.metadata.version('jax2onnx')} with jax {jax.__version__} "
                f"cannot convert {name}: {type(error).__name__}: {error}"
            ) from error
    _name_output(model.graph)
    # jax2onnx moves transpositions without correcting the shapes that it noted within the graph. A
    # runtime infers these shapes itself.
    del model.graph.value_info[:]
    for key, value in (notes or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


def to_stablehlo(
    function: Function, shape: tuple[int | None, ...], dtype: Any = np.float32
) -> bytes:
    """Returns a function of one array as StableHLO that `jax.export.deserialize` reads.

    Args:
      function: the arrays that it holds become constants of the program.
      shape: of the input; None leaves a dimension open.
      dtype: of the input.
    """
    require("flatbuffers", "export")
    from jax import export

    text = ", ".join("b" if size is None else str(size) for size in shape)
    spec = jax.ShapeDtypeStruct(export.symbolic_shape(text), dtype)
    with platform("stablehlo"):
        return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(spec).serialize())


def require(module: str, extra: str) -> Any:
    """Imports a package of an extra, or raises a UserError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"this needs {module}, of the extra `{extra}` ({error}): "
            f"pip install 'hwnas_jax[{extra}]'"
        ) from error


def check_output(found: np.ndarray, expected: np.ndarray, what: str) -> float:
    """Returns the largest difference from JAX, relative to the largest output.

    Args:
      found: what the exported function returned.
      expected: what JAX returned, of the same shape.
      what: names the function in messages.

    Raises:
      UserError: when the difference is above `TOLERANCE`, or the shapes differ.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise UserError(f"{what}: the export returns {found.shape}, JAX {expected.shape}")
    scale = max(float(np.abs(expected).max()), 1e-6)
    difference = float(np.abs(found - expected).max()) / scale
    if not difference <= TOLERANCE:
        raise UserError(
            f"{what}: the export differs from JAX by {difference:.2g} of the largest output, "
            f"allowed is {TOLERANCE:g}"
        )
    return difference


def _name_output(graph: Any) -> None:
    """Names the output. A function that returns its input gets a node between the two."""
    made = graph.output[0].name
    if made == INPUT:
        graph.node.add(op_type="Identity", input=[INPUT], output=[OUTPUT])
    else:
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [OUTPUT if name == made else name for name in names]
    graph.output[0].name = OUTPUT


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what jax2onnx and its optimiser log about every graph."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"jax2onnx\.")
            yield
    finally:
        logging.disable(before)
