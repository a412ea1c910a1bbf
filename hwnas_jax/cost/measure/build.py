"""Compiles stand-alone networks and operations into inference calls without arguments.

Weights are filled in by their shapes. Their values do not change a latency as long as no activation
is denormal or NaN, and a real initialisation of a hundred networks would take minutes.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.compile.ahead import no_garbage_collection
from hwnas_jax.compile.least_memory import check_least
from hwnas_jax.cost.measure.device import usable_cores
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.platform import platform
from hwnas_jax.spaces.base import Operation, Space

Call = Callable[[], jax.Array]
_LOOK_S = 0.5
_FILLED = {"mean": 0.0, "bias": 0.0, "var": 1.0, "scale": 1.0}


def compile_all(
    space: Space,
    architectures: Iterable[np.ndarray],
    operations: Iterable[Operation],
    batch_size: int,
    on_compiled: Callable[[int], None] | None = None,
    device: jax.Device | None = None,
) -> tuple[list[Call], list[Call]]:
    """Compiles many networks and operations, as many at once as there are cores.

    XLA compiles in threads, without Python's lock, while this thread traces what comes next.

    Args:
      space: the search space.
      architectures: `int32[D]` each.
      operations: of the same space.
      batch_size: images per call.
      on_compiled: called with the number compiled so far.
      device: where they run; None takes the default device.

    Returns:
      The networks' and the operations' calls, in the order given.
    """
    networks: list[Future] = []
    parts: list[Future] = []
    with no_garbage_collection(), ThreadPoolExecutor(usable_cores()) as pool:

        def told() -> None:
            if on_compiled is not None:
                on_compiled(sum(future.done() for future in networks + parts))

        def submit(pending: list[Future], lowered: Any) -> None:
            pending.append(pool.submit(_compile, *lowered))
            told()

        try:
            for architecture in architectures:
                submit(networks, _lower_network(space, architecture, batch_size, device))
            for operation in operations:
                submit(parts, _lower_operation(operation, batch_size, device))
            while wait(networks + parts, _LOOK_S).not_done:
                told()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # leaving would wait for all of them
            raise
        calls = [future.result() for future in networks], [future.result() for future in parts]
    if on_compiled is not None:
        on_compiled(len(networks) + len(parts))
    return calls


def _lower_network(space, architecture, batch_size, device):
    shape = (batch_size, *space.input_shape)
    return _lower(network_build(space, architecture), shape, device)


def _lower_operation(operation, batch_size, device):
    shape = (batch_size, *operation.input_shape)
    return _lower(operation.build, shape, device)


def network_build(space: Space, architecture: np.ndarray) -> Callable[[nnx.Rngs], nnx.Module]:
    """Returns what builds the stand-alone network of `architecture` (`int32[D]`)."""
    architecture = space.check(architecture)
    return lambda rngs: space.network(architecture, rngs)


def fill(
    build: Callable[[nnx.Rngs], nnx.Module], shape: tuple[int, ...]
) -> tuple[Any, Any, list[np.ndarray], np.ndarray]:
    """Returns a module in inference mode, with weights of the right size, and an input for it.

    Args:
      build: makes the module; only its shapes are asked for.
      shape: of the input, the batch included.

    Returns:
      `(graph, structure, leaves, images)`. The module is
      `nnx.merge(graph, jax.tree.unflatten(structure, leaves))`, and the images are
      `float32[shape]`. The same module gets the same weights every time.
    """
    module = abstract(build)
    module.eval()
    graph, state = nnx.split(module)
    paths, structure = jax.tree_util.tree_flatten_with_path(state)
    rng = np.random.default_rng(0)
    leaves = [_fill(path, leaf, rng) for path, leaf in paths]
    return graph, structure, leaves, _images(shape)


def _lower(build, shape, device):
    """Returns `(lowered, leaves, images)` of the module that `build` makes, in inference mode."""
    graph, structure, leaves, _ = fill(build, shape)
    leaves, images = jax.device_put(leaves, device), _on_device(shape, device)

    def run(leaves, images):
        return nnx.merge(graph, jax.tree.unflatten(structure, leaves))(images)

    forms = contextlib.nullcontext() if device is None else platform(device.platform)
    with forms:  # the platform decides which fast forms of operations are used
        traced = jax.jit(run).trace(leaves, images)
        check_least(
            traced.jaxpr, [device or jax.devices()[0]], f"a network on {shape[0]} examples a call",
            "a smaller profile.batch_size, or fewer channels or layers in space.args",
        )  # fmt: skip
        return traced.lower(), leaves, images


@functools.lru_cache(maxsize=32)
def _on_device(shape: tuple[int, ...], device: jax.Device | None) -> jax.Array:
    """Returns images on a device. Programs with inputs of one shape share them."""
    return jax.device_put(_images(shape), device)


def _images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _fill(path, leaf, rng):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return np.zeros(leaf.shape, leaf.dtype)
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    for name, value in _FILLED.items():
        if name in names:
            return np.full(leaf.shape, value, leaf.dtype)
    fan_in = max(1, math.prod(leaf.shape[:-1]))
    return (rng.standard_normal(leaf.shape) * math.sqrt(2 / fan_in)).astype(leaf.dtype)


def _compile(lowered, leaves, images) -> Call:
    compiled = lowered.compile()
    return lambda: compiled(leaves, images)
