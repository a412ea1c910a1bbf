"""Whether the activations of one batch can fit into memory, before anything is compiled.

What is checked is a lower bound; see `hwnas_jax.compile.least_memory`. What a step needs is known
once it is compiled, and is checked again then.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.compile.ahead import memory_help
from hwnas_jax.compile.least_memory import check_forward
from hwnas_jax.config import Config
from hwnas_jax.data import Dataset
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.precision import cast, compute_dtype
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.relax import Gates
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.methods import make_relaxation
from hwnas_jax.search.strategies import GRADIENT
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.train.training import Build


def check_supernet(config: Config, space: Space) -> None:
    """Refuses a search whose supernet cannot fit on the devices of this process.

    Args:
      config: `search` and `parallel` are read.
      space: what is searched.

    Raises:
      UserError: says what is needed at least, what is free, and which options make it smaller.
    """
    search = config.search
    by_gradient = search.strategy.name == GRADIENT
    if not by_gradient and not EVALUATORS.make(search.evaluator).needs_weights:
        return
    replicas = Replicas.from_config(config.parallel)
    size = _of_device(search.batch_size, replicas.count, search.parts)
    dtype = compute_dtype(search.dtype, "search.dtype")
    supernet = make_supernet(space, dtype=dtype, rematerialise=search.rematerialise)
    flat = jax.ShapeDtypeStruct((supernet.num_weights,), jnp.float32)
    # A strategy's supernet is trained by single paths, whatever the relaxation.
    paths = not by_gradient or make_relaxation(config, space).draws_paths
    gates = jax.eval_shape(
        lambda: Gates(
            jnp.zeros(space.mask.shape, jnp.float32),
            jnp.zeros(space.num_decisions, jnp.int32) if paths else None,
        )
    )
    check_forward(
        lambda weights, *given: supernet.apply(_raveled(weights), *given),
        jax.eval_shape(supernet.unravel, flat),
        jax.ShapeDtypeStruct((size, *space.input_shape), jnp.float32),
        gates,
        devices=replicas.devices,
        what=f"the supernet of {space.name} on {size} examples a device",
        helps=f"{memory_help('search', search)}, {_smaller(space)}",
    )


def check_network(
    build: Build, dataset: Dataset, config: Config, replicas: Replicas, label: str
) -> None:
    """Refuses the training of a network that cannot fit on its devices.

    Args:
      build: as `make_training` takes it.
      dataset: its examples.
      config: `retrain` is read.
      replicas: the devices.
      label: names the network in the message.

    Raises:
      UserError: as `check_supernet`.
    """
    retrain = config.retrain
    size = _of_device(retrain.batch_size, replicas.count, retrain.accumulate)
    dtype = compute_dtype(retrain.dtype, "retrain.dtype")
    module = abstract(build)
    module.eval()
    graph, state = nnx.split(module)
    check_forward(
        lambda state, inputs: nnx.merge(graph, cast(state, dtype))(inputs.astype(dtype)),
        state,
        jax.ShapeDtypeStruct((size, *dataset.input_shape), jnp.float32),
        devices=replicas.devices,
        what=f"retrain {label} on {size} examples a device",
        helps=f"{memory_help('retrain', retrain)}, a smaller network",
    )


def _of_device(batch_size: int, devices: int, parts: int) -> int:
    return max(1, batch_size // (devices * parts))


def _raveled(weights):
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(weights)])


def _smaller(space: Space) -> str:
    """Returns which options of a space make its networks smaller, as text."""
    numbers = [
        f"space.args.{key}"
        for key, value in space.args.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return f"smaller {', '.join(numbers)}" if numbers else "smaller images"
