"""ONNX Runtime on the CPU as a runtime to measure.

All sessions of a process share one pool of threads. If each had its own, the idle threads of a
hundred sessions would spin beside the one that is timed.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from flax import nnx

from hwnas_jax.cost.measure.build import Call, fill, network_build
from hwnas_jax.cost.measure.device import usable_cores
from hwnas_jax.errors import UserError
from hwnas_jax.export import INPUT, check_output, require, to_onnx
from hwnas_jax.spaces.base import Operation, Space

_PROVIDERS = ["CPUExecutionProvider"]
_pool_threads: int | None = None


class OnnxRuntime:
    """ONNX Runtime's CPU provider; see `hwnas_jax.cost.measure.runtimes.Runtime`."""

    name = "onnxruntime"
    packages: tuple[str, ...] = ("onnxruntime", "jax2onnx", "onnx")

    def __init__(self, device: jax.Device, threads: int | None = None):
        """Opens the runtime.

        Args:
          device: the CPU, as JAX sees it.
          threads: how many share the work of an operation. None takes one for each core that the
            process may use.

        Raises:
          UserError: without onnxruntime, or when the process already has another number.
        """
        self.device = device
        self._ort: Any = require("onnxruntime", "export")
        require("jax2onnx", "export")
        threads = threads or usable_cores()
        _set_pool(self._ort, threads)
        self.options = {
            "threads": threads, "inter_op_threads": 1, "execution": "sequential",
            "graph_optimisation": "all", "provider": _PROVIDERS[0],
        }  # fmt: skip

    def compile_all(
        self,
        space: Space,
        architectures: Iterable[np.ndarray],
        operations: Iterable[Operation],
        batch_size: int,
        on_compiled: Callable[[int], None] | None = None,
    ) -> tuple[list[Call], list[Call]]:
        """Exports networks and operations and opens a session for each.

        They have the weights that the runtime "jax" gives them. The output of each on one batch is
        compared with that of JAX.

        Raises:
          UserError: when one cannot be exported, or when its output differs.
        """
        calls: list[Call] = []

        def add(build: Callable[[nnx.Rngs], nnx.Module], shape: tuple[int, ...], what: str) -> None:
            calls.append(self._call(build, (batch_size, *shape), what))
            if on_compiled is not None:
                on_compiled(len(calls))

        for architecture in architectures:
            what = f"network {space.to_string(architecture)}"
            add(network_build(space, architecture), space.input_shape, what)
        networks = len(calls)
        for operation in operations:
            build = operation.build
            add(build, operation.input_shape, f"operation {operation.name}")
        return calls[:networks], calls[networks:]

    def session(self, model: bytes) -> Any:
        """Returns an inference session of an ONNX file."""
        options = self._ort.SessionOptions()
        options.use_per_session_threads = False
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        return self._ort.InferenceSession(model, options, providers=_PROVIDERS)

    def _call(self, build, shape, what) -> Call:
        graph, structure, leaves, images = fill(build, shape)
        with jax.default_device(self.device):
            module = nnx.merge(graph, jax.tree.unflatten(structure, jax.device_put(leaves)))
            session = self.session(to_onnx(module, shape, name=what))
            # Not compiled as a whole: this way an operation compiles once for all networks.
            expected = module(jax.device_put(images))
        feed = {INPUT: images}
        check_output(session.run(None, feed)[0], expected, what)
        return lambda: session.run(None, feed)


def _set_pool(ort: Any, threads: int) -> None:
    """Sets the number of threads in the pool that all sessions of the process share."""
    global _pool_threads  # noqa: PLW0603  the pool belongs to the process
    if _pool_threads is None:
        ort.set_global_thread_pool_sizes(threads, 1)
        _pool_threads = threads
    if _pool_threads != threads:
        raise UserError(
            f"profile.threads = {threads}, but ONNX Runtime has {_pool_threads} in this process "
            "already and keeps them until it ends"
        )
