"""A cell space with an operation of one's own, written in a file outside the package."""

import textwrap

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.mixed_path import MixedCells
from hwnas_jax.spaces import make_space
from tests.spaces import contract
from tests.spaces.passes import check_space

SPACE = """
    import jax, math
    from flax import nnx
    from hwnas_jax.nn.cell_operations import NONE, SKIP_CONNECT, CellOperation, relu_conv_norm
    from hwnas_jax.nn.kernels.convolution import conv2d
    from hwnas_jax.spaces.nasbench201 import NasBench201

    class Conv5x5(nnx.Module):
        def __init__(self, inputs, outputs, stride, norm, rngs):
            self.stride, self.norm = stride, norm(outputs, rngs)
            draw = nnx.initializers.he_uniform()
            self.kernel = nnx.Param(draw(rngs.params(), (5, 5, inputs, outputs)))

        def __call__(self, x):
            return self.norm(conv2d(jax.nn.relu(x), self.kernel[...], stride=self.stride))

        def macs(self, shape):
            return shape[0] * shape[1] * math.prod(self.kernel.shape)

    class Mine(NasBench201):
        name, summary, num_stages = "mine", "cells with a 5x5 convolution", 2
        cell_operations = (
            NONE, SKIP_CONNECT, relu_conv_norm(1), CellOperation("conv_5x5", Conv5x5),
        )

    class Backwards(Mine):
        cell_operations = Mine.cell_operations[::-1]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_cells.py"
    path.write_text(textwrap.dedent(SPACE))
    return path


def make(name, cells=1):
    return make_space(name, {"channels": 2, "cells": cells}, input_shape=(8, 8, 1), num_outputs=3)


def test_a_new_operation_needs_a_record_and_nothing_else(file):
    check_space(make(f"{file}:Mine"))
    space = make(f"{file}:Mine", cells=2)
    assert space.size == 4**6
    assert all(isinstance(stage, MixedCells) for stage in abstract(space.supernet).stages)
    contract.check_codecs(space)
    contract.check_counts(space, extra=3)
    contract.check_tables_agree(space)
    row = space.from_string("|conv_5x5~0|+|none~0|skip_connect~1|+|none~0|none~1|conv_5x5~2|")
    names = [step.operation for step in space.graph(row) if "conv_5x5" in step.operation]
    assert names == ["conv_5x5 8x8x2"] * 4 + ["conv_5x5 4x4x4"] * 4


def test_strings_name_the_operations_there_are(file):
    with pytest.raises(UserError, match="conv_5x5"):
        make(f"{file}:Mine").from_string("|conv_5x7~0|+|none~0|none~1|+|none~0|none~1|none~2|")


def test_relations_follow_the_kinds_of_operations(file):
    """An edge that skips alone into a node is that node; trained operations are never merged."""
    space = make(f"{file}:Mine")
    one = space.from_string("|skip_connect~0|+|none~0|none~1|+|none~0|conv_5x5~1|none~2|")
    other = space.from_string("|none~0|+|none~0|none~1|+|conv_5x5~0|none~1|none~2|")
    twice = space.from_string("|skip_connect~0|+|none~0|none~1|+|conv_5x5~0|conv_5x5~1|none~2|")
    found = space.relations(np.stack([one, other, twice]))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[:, 3] == [1, 1, 2]).all()


def test_the_first_operation_must_cut(file):
    with pytest.raises(UserError, match="'conv_5x5' is of kind 'trained'"):
        make(f"{file}:Backwards")
