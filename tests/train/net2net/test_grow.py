"""Widening and deepening keep what a network computes, in every family of networks."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import weight_rngs
from hwnas_jax.nn.outputs import Output
from hwnas_jax.spaces import SPACES, make_space
from hwnas_jax.train.net2net import grow as growing
from hwnas_jax.train.net2net.grow import grow, recycle

SIZES = {"halvings": 1, "head": 16}
OFA = {"units": "1,2", "depths": "1,2", "kernels": "3,5", "expansions": "2,3", "halvings": 1}


def of(name, shape=(8, 8, 1), **args):
    return make_space(name, args, input_shape=shape, num_outputs=3)


def macro(width, depth):
    return of("nasbench_macro", width=width, depth=depth, halvings=1, head=16)


GROWN = {
    "nasbench201": (
        (of("nasbench201", channels=2, cells=1),
         "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"),
        (of("nasbench201", channels=3, cells=2), None),
    ),
    "a pooling": (
        (of("nasbench201", channels=2, cells=1),
         "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"),
        (of("nasbench201", channels=4, cells=1), None),
    ),
    "bnas": (
        (of("bnas", channels=2, cells=1),
         "|bin_conv_3x3~0|+|none~0|bin_conv_5x5~1|+|skip_connect~0|none~1|bin_conv_3x3~2|"),
        (of("bnas", channels=4, cells=1), None),
    ),
    "transnas_cell": (
        (of("transnas_cell", channels=4, macro="4", stem_halvings=0), "4-4-2_03_133"),
        (of("transnas_cell", channels=8, macro="41", stem_halvings=0), "8-41-2_03_133"),
    ),
    "transnas_macro": (
        (of("transnas_macro", channels=4, least=2, most=2, halvings=1, stem_halvings=0),
         "4-41-basic"),
        (of("transnas_macro", channels=6, least=2, most=3, halvings=1, stem_halvings=0),
         "6-411-basic"),
    ),
    "complete_graph": (
        (of("complete_graph", channels=2, nodes=4, stages=2), 1),
        (of("complete_graph", channels=4, nodes=4, stages=2), None),
    ),
    "darts": (
        (of("darts", channels=2, cells=3, network_channels=2, network_cells=3), 1),
        (of("darts", channels=2, cells=3, network_channels=4, network_cells=3), None),
    ),
    "dash": (
        (of("dash", channels=2, blocks=1, kernels="3", dilations="1"), 0),
        (of("dash", channels=3, blocks=2, kernels="3,5", dilations="1"),
         "-".join(["k3d1", "k5d1"] * 6)),
    ),
    "autoformer": (
        (of("autoformer", embeddings="4", depths="1", heads="2", ratios="2", head_size=2, patch=4),
         "4-2x2"),
        (of("autoformer", embeddings="8", depths="2", heads="2,3", ratios="2,3", head_size=2,
            patch=4), "8-3x3-2x2"),
    ),
    "channels": (
        (of("channels", fractions="1.0", width=0.1, stages=2, depth=1, divisor=2, **SIZES), 0),
        (of("channels", fractions="1.0", width=0.2, stages=2, depth=2, divisor=2, **SIZES), 0),
    ),
    "ofa": (
        (of("ofa", width=0.5, **OFA), "k3e2|k3e2"),
        (of("ofa", width=1.0, **OFA), "k5e3-k3e2|k3e3-k5e2"),
    ),
    "single_path": (
        (of("single_path", width=0.5, depth=1, stages=1, **SIZES), "3x3-3"),
        (of("single_path", width=1.0, depth=2, stages=1, **SIZES), "5x5-6/3x3-3"),
    ),
    "nasbench_macro": ((macro(0.25, 1), "111"), (macro(0.5, 2), "121212")),
    "fbnet": (
        (of("fbnet", width=1.0, depth=1, **SIZES),
         "k3_e1-k3_e1-k3_e1-k3_e1_g2-k3_e1-k3_e1-k3_e1"),
        (of("fbnet", width=2.0, depth=1, **SIZES), None),
    ),
    "proxylessnas": (
        (of("proxylessnas", width=0.5, depth=1, **SIZES), 0),
        (of("proxylessnas", width=1.0, depth=1, **SIZES), None),
    ),
    "dna": (
        (of("dna", width=0.5, depth=1, **SIZES), 0),
        (of("dna", width=1.0, depth=1, **SIZES), None),
    ),
    "mnasnet": (
        (of("mnasnet", width=0.5, blocks=2, depth=2, **SIZES),
         "conv_3_0_none_1.0_0|sepconv_3_0.25_identity_1.0_0"),
        (of("mnasnet", width=1.0, blocks=2, depth=2, **SIZES),
         "conv_5_0_none_1.0_0|sepconv_3_0.25_identity_1.0_+1"),
    ),
}  # fmt: skip

SAME = {"codesign": "builds networks of other spaces"}
REFUSED = {"edmips": "weights of few bits"}


def test_every_family_is_tried():
    tried = {space.name for (space, _), _ in GROWN.values()}
    assert tried | SAME.keys() | REFUSED.keys() == set(SPACES)


def architecture(space, given, names=None):
    if given is None:
        return space.from_names(names)
    if isinstance(given, str):
        return space.from_string(given)
    return (space.mask.argmax(-1) if given == 0 else space.random(rng(given), 1)[0]).astype(
        np.int32
    )


def rng(seed):
    return np.random.default_rng(seed)


def trained(space, chosen):
    """Returns a network whose every array, running statistics included, is drawn."""
    network = space.network(chosen, weight_rngs(jax.random.key(0)))
    state, random = nnx.state(network, nnx.Any(nnx.Param, nnx.BatchStat)), rng(0)
    for path, value in nnx.to_flat_state(state):
        old = np.asarray(value[...])
        noise = 0.3 * random.normal(size=old.shape)
        new = {"var": np.exp(noise), "scale": 1 + noise, "mean": noise, "bias": noise}
        value[...] = jnp.asarray(new.get(path[-1], old), jnp.float32)
    nnx.update(network, state)
    network.eval()
    return network


def outputs(network, space):
    graph, state = nnx.split(network)
    inputs = rng(3).normal(size=(2, *space.input_shape)).astype(np.float32)
    return np.asarray(jax.jit(lambda state: nnx.merge(graph, state)(inputs))(state))


@pytest.mark.parametrize("name", GROWN)
def test_a_larger_network_computes_what_the_smaller_one_did(name, monkeypatch):
    monkeypatch.setattr(growing, "_difference", lambda *given: None)  # compared here instead
    (space, given), (larger, wanted) = GROWN[name]
    chosen = architecture(space, given)
    wider = architecture(larger, wanted, space.to_names(chosen))
    network = trained(space, chosen)
    grown = grow(network, space, chosen, larger, wider)
    size = {each: sum(leaf.size for leaf in jax.tree.leaves(nnx.state(each, nnx.Param)))
            for each in (network, grown)}  # fmt: skip
    assert size[grown] > size[network]
    before, after = outputs(network, space), outputs(grown, larger)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * max(1, np.abs(before).max()))
    assert np.ptp(before, axis=0).max() > 1e-3


def cells(count, **args):
    return of("nasbench201", **{"channels": 2, "cells": count, **args})


def refused(small, large, text, other=None):
    """Returns why a network cannot become another."""
    chosen, wanted = small.from_string(text), large.from_string(other or text)
    with pytest.raises(UserError) as caught:
        grow(trained(small, chosen), small, chosen, large, wanted)
    return str(caught.value)


POOLED = "|skip_connect~0|+|none~0|none~1|+|skip_connect~0|avg_pool_3x3~1|none~2|"
TWICE = "|skip_connect~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|"
PLAIN = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"


@pytest.mark.parametrize(
    ("small", "large", "text", "other", "said"),
    [
        (cells(1), cells(2), POOLED, None, r"cell has 1 of the first kind and 1 of the second"),
        (cells(1), cells(2), TWICE, None, r"cell has 2 of the first kind and 0 of the second"),
        (cells(1), cells(2), PLAIN, None, r"cell has 0 of the first kind and 0 of the second"),
        (cells(2), cells(1), TWICE, None, r"1 of the 2 blocks of stage 1 have no place"),
        (cells(1, channels=4), cells(1), PLAIN, None, r"the channels would shrink from 16 to 8"),
        (cells(1), of("dash"), PLAIN, "-".join(["k3d1"] * 6), r"of nasbench201 with inputs"),
        (cells(1), of("nasbench201", (4, 4, 1), channels=2, cells=1), PLAIN, None,
         r"inputs \(8, 8, 1\).* cannot become one of nasbench201 with inputs \(4, 4, 1\)"),
        (of("edmips", channels=2), of("edmips", channels=4), "-".join(["w2a3"] * 6), None,
         r"weights of few bits are rounded to steps"),
        (of("autoformer", embeddings="4", depths="1", heads="1", ratios="1", patch=8),
         of("autoformer", embeddings="6", depths="1", heads="1", ratios="1", patch=8),
         "4-1x1", "6-1x1", r"4 channels can grow to a multiple of them, not to 6"),
    ],
)  # fmt: skip
def test_what_cannot_grow_is_told_why(small, large, text, other, said):
    assert re.search(said, refused(small, large, text, other))


def test_dense_outputs_are_kept():
    outs = (Output(2, dense=True), Output(3))
    args = {"input_shape": (8, 8, 1), "num_outputs": 5, "outputs": outs}
    small = make_space("nasbench201", {"channels": 2, "cells": 1}, **args)
    large = make_space("nasbench201", {"channels": 4, "cells": 1}, **args)
    chosen = small.from_string(PLAIN)
    network = trained(small, chosen)
    grown = grow(network, small, chosen, large, chosen)
    np.testing.assert_allclose(outputs(grown, large), outputs(network, small), rtol=1e-4, atol=1e-5)


def test_copies_learn_different_things():
    """With equal shares the gradients of both copies of a channel would be equal for ever."""
    small, large = cells(1), cells(1, channels=4)
    chosen = small.from_string(PLAIN)
    grown = grow(trained(small, chosen), small, chosen, large, chosen)
    graph, weights, rest = nnx.split(grown, nnx.Param, ...)
    inputs = rng(1).normal(size=(4, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def gradient(weights):
        return jax.grad(lambda w: jnp.square(nnx.merge(graph, w, rest)(inputs) - 1.0).sum())(
            weights
        )

    kernel = np.asarray(gradient(weights)["stem"]["conv"]["kernel"][...])
    one, two = kernel[..., 0], kernel[..., 1]
    assert np.abs(one).max() > 1e-3
    assert np.abs(one - two).max() > 1e-2 * np.abs(one).max()
    stem = np.asarray(grown.stem.conv.kernel[...])
    np.testing.assert_array_equal(stem[..., 0], stem[..., 1])


def test_another_operation_leaves_a_block_as_it_was_drawn():
    space = of("dash", channels=2, blocks=1, kernels="3,5", dilations="1")
    old = space.from_string("-".join(["k5d1"] * 6))
    new = space.from_string("-".join(["k5d1", "k5d1", "k3d1", "k5d1", "k5d1", "k5d1"]))
    network = trained(space, old)
    found = recycle(network, space, old, space, new)
    assert "would shrink from 5 to 3" in found.differs
    assert 0.5 < found.taken < 1
    same = [
        np.array_equal(one.convs[0].kernel[...], two.convs[0].kernel[...])
        for one, two in zip(network.blocks, found.network.blocks, strict=True)
        if one.convs[0].kernel.shape == two.convs[0].kernel.shape
    ]
    assert same == [True, True]
    exact = recycle(network, space, old, space, old)
    assert (exact.taken, exact.differs) == (1.0, None)
    for one, two in zip(*(jax.tree.leaves(nnx.state(n)) for n in (network, exact.network)),
                        strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, two)
