"""A supernet's path takes the weights of a trained network, in every space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.spaces import SPACES, make_space
from hwnas_jax.spaces.core.disinherit import disinherit

SMALL = {
    "nasbench201": {"channels": 2, "cells": 2},
    "bnas": {"channels": 2, "cells": 1},
    "darts": {"channels": 2, "cells": 3, "network_channels": 2, "network_cells": 3},
    "transnas_cell": {"channels": 2, "macro": "41", "stem_halvings": 0},
    "transnas_macro": {"channels": 2, "least": 2, "most": 3, "halvings": 1, "stem_halvings": 0},
    "complete_graph": {"channels": 2, "nodes": 3, "stages": 2},
    "dash": {"channels": 2, "kernels": "3,5", "dilations": "1"},
    "autoformer": {"embeddings": "4,8", "depths": "1,2", "heads": "1,2", "ratios": "1,2",
                   "head_size": 2, "patch": 4},
    "channels": {"width": 0.1, "stages": 2, "depth": 2, "divisor": 2, "halvings": 1, "head": 16},
    "ofa": {"width": 0.1, "units": "1,2", "depths": "1,2", "halvings": 1},
    "single_path": {"width": 0.1, "stages": 2, "depth": 2, "halvings": 1, "head": 16},
    "mnasnet": {"width": 0.1, "blocks": 2, "depth": 2, "halvings": 1, "head": 16},
    "edmips": {"channels": 2},
    "codesign": {"network_args": "channels=2,cells=1"},
}  # fmt: skip
LAYERS = {"width": 0.1, "depth": 1, "halvings": 1, "head": 16}


def filled(build, seed):
    """Returns a module whose weights are drawn by numpy, which compiles nothing."""
    graph, state = nnx.split(abstract(build))
    random = np.random.default_rng(seed)
    return nnx.merge(
        graph,
        jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), state),
    )


@pytest.mark.parametrize("name", SPACES)
def test_what_the_supernet_took_is_what_a_network_inherits(name):
    space = make_space(name, SMALL.get(name, LAYERS), input_shape=(8, 8, 1), num_outputs=3)
    chosen = space.random(np.random.default_rng(0), 1)[0]
    trained, fresh = (filled(lambda rngs: space.network(chosen, rngs), seed) for seed in (1, 2))
    supernet = filled(space.supernet, 3)
    flat, unravel = ravel_pytree(nnx.state(supernet, nnx.Param))
    new, copied = disinherit(space, chosen, trained, np.asarray(flat))
    np.testing.assert_array_equal(new[~copied], flat[~copied])
    assert 0 < copied.sum() <= sum(x.size for x in jax.tree.leaves(nnx.state(trained, nnx.Param)))
    nnx.update(supernet, unravel(jnp.asarray(new)))
    space.inherit(fresh, chosen, supernet)
    flat = dict(nnx.to_flat_state(nnx.state(fresh, nnx.Param)))
    equal = {
        path: np.array_equal(flat[path][...], value[...])
        for path, value in nnx.to_flat_state(nnx.state(trained, nnx.Param))
        if path[-1] not in ("scale", "bias") and "auxiliary" not in path
    }
    # Smaller kernels of Once-for-All are no copies of the larger ones that contain them.
    left = {path[-2] for path, same in equal.items() if not same}
    assert left <= ({"depthwise"} if name == "ofa" else set())
    assert len(equal) > 2
