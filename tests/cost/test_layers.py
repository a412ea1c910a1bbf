import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.simulate.layers import Layer, layers_of, space_layers
from hwnas_jax.cost.simulate.shape_programs import Program, network_program
from hwnas_jax.spaces import make_space


def program(call, weights, images):
    def shape(size):
        return jax.ShapeDtypeStruct(size, jnp.float32)

    return Program(call, [shape(size) for size in weights], shape(images))


def convolve(x, kernel, **options):
    options = {"window_strides": (1, 1), "padding": "SAME", **options}
    return jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def test_layers_of_a_network_do_the_work_that_is_counted():
    """All edges hold convolutions; the count includes the additions of the bias."""
    space = make_space(
        "nasbench201", {"channels": 4, "cells": 2}, input_shape=(8, 8, 3), num_outputs=10
    )
    row = np.array([3, 2, 3, 2, 3, 3], np.int32)
    layers = layers_of(network_program(space, row, batch_size=5))
    weight = np.eye(5, dtype=np.float32)[row]
    macs = AnalyticModel.count(space).predict(weight)["macs"]
    total = sum(times * layer.macs for layer, times in layers.items())
    assert total == 5 * (macs - space.num_outputs)
    # Per stage two sizes of kernel; the stem, the head, and three layers of both reductions, of
    # which the second 3x3 is as in the cells.
    assert len(layers) == 3 * 2 + 2 + 2 * 2
    stem = Layer(5, 1, 3, 4, 8, 8, (3, 3), padding=((1, 1), (1, 1)))
    assert layers[stem] == 1
    assert layers[Layer(5, 1, 16, 16, 2, 2)] == 2 * 2


def test_operations_traced_once_make_the_layers_of_every_network():
    space = make_space(
        "nasbench201", {"channels": 4, "cells": 2}, input_shape=(8, 8, 3), num_outputs=10
    )
    layers = space_layers(space, 3)
    rows = [*space.random(np.random.default_rng(0), 5), np.zeros(6, np.int32)]
    for row in rows:
        assert layers(row) == layers_of(network_program(space, row, 3))


def test_a_strided_grouped_dilated_convolution_keeps_all_its_numbers():
    found = layers_of(
        program(
            lambda w, x: convolve(
                x, w[0], window_strides=(2, 1), padding=((2, 2), (0, 0)), rhs_dilation=(2, 1),
                feature_group_count=3,
            ),
            [(3, 1, 2, 12)], (7, 9, 5, 6),
        )
    )  # fmt: skip
    (layer,) = found
    # 9 rows and 2 above; the last of 5 windows begins at row 8 of these and ends at 12.
    assert layer == Layer(7, 3, 2, 4, 5, 5, (3, 1), (2, 1), (2, 1), ((2, 2), (0, 0)))
    assert layer.macs == 7 * 12 * 25 * 2 * 3


def test_padding_that_is_not_read_does_not_count():
    """3x3 at stride 2 on 8 lines: the last window ends with the eighth."""
    found = layers_of(
        program(
            lambda w, x: convolve(x, w[0], window_strides=(2, 2), padding=((1, 1), (1, 1))),
            [(3, 3, 2, 2)], (1, 8, 8, 2),
        )
    )  # fmt: skip
    (layer,) = found
    assert layer.padding == ((1, 0), (1, 0))


def test_one_dimension_and_products_are_layers_too():
    def call(w, x):
        x = jax.lax.conv_general_dilated(
            x, w[0], (2,), ((1, 1),), dimension_numbers=("NWC", "WIO", "NWC")
        )
        return jnp.einsum("nwc,nvc->nwv", x, x) @ w[1]

    found = layers_of(program(call, [(3, 4, 6), (5, 2)], (2, 10, 4)))
    assert found == {
        Layer(2, 1, 4, 6, 1, 5, (1, 3), (1, 2), (1, 1), ((0, 0), (1, 0))): 1,
        Layer(5, 2, 6, 5): 1,
        Layer(2, 1, 5, 2, 1, 5): 1,
    }


def test_a_scan_counts_every_turn():
    def call(w, x):
        return jax.lax.scan(lambda x, kernel: (convolve(x, kernel), None), x, w[0])[0]

    found = layers_of(program(call, [(5, 3, 3, 2, 2)], (1, 4, 4, 2)))
    assert list(found.values()) == [5]


@pytest.mark.parametrize(
    "call",
    [
        lambda w, x: jax.lax.while_loop(lambda v: v.sum() < 9, lambda v: v + 1, x),
        lambda w, x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
        lambda w, x: convolve(x, w[0], lhs_dilation=(2, 2)),
    ],
)
def test_what_cannot_be_counted_is_refused(call):
    with pytest.raises(ValueError, match=r"loop|branches|transposed"):
        layers_of(program(call, [(3, 3, 2, 2)], (1, 4, 4, 2)))
