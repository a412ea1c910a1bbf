"""The analytical accelerator: against SCALE-Sim, layers worked out on paper, and ZigZag's order."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.cost.judge.metrics import spearman
from hwnas_jax.cost.simulate.accelerator import Accelerator, simulate_layers
from hwnas_jax.cost.simulate.layers import Layer
from hwnas_jax.cost.simulate.systolic import layer_costs, layer_shapes, stack_designs
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.core.hardware import DATAFLOWS, TEMPLATES, Design, Technology, area_mm2

installed = pytest.mark.skipif(
    importlib.util.find_spec("zigzag") is None, reason="needs ZigZag, the extra `accelerator`"
)
SAME = ((1, 1), (1, 1))


def costs(layers, designs, technology=None, **options):
    return layer_costs(
        layer_shapes(layers), stack_designs(designs), technology or Technology(), **options
    )


def test_weight_stationary_cycles_are_those_of_scale_sim():
    """SCALE-Sim 3.0.0 counts from zero: 37,655, 9,629 and 5,589 for 16 to 16 channels, 3x3."""
    layer = Layer(1, 1, 16, 16, 32, 32, (3, 3), padding=SAME)
    found = costs([layer], [Design(n, n, 2048, "ws") for n in (8, 16, 32)]).cycles
    np.testing.assert_array_equal(found, [[37656, 9630, 5590]])


def test_an_output_stationary_layer_on_paper():
    """25 pixels of 4 channels to 6: 4 times 2 folds of 2 x 8 + 4 + 4 - 2 cycles on 8x4."""
    layer, design = Layer(1, 1, 4, 6, 5, 5), Design(8, 4, 2, "os", clock_mhz=100.0)
    found = costs([layer], [design])
    assert found.cycles[0, 0] == 8 * 22
    assert found.latency_ms[0, 0] == pytest.approx(176 / 100e3)
    assert found.utilisation[0, 0] == pytest.approx(600 / (176 * 32))
    # Images stay on the chip: 100 bytes in and 150 out fit in half of 2 KiB.
    assert found.dram_bytes[0, 0] == 24
    from_buffer, to_buffer = 2 * 100 + 4 * 24, 150 + 24
    pj = 600 * (0.04 + 0.137) + 24 * 87.5
    pj += (2 / 2048) ** 0.5 * (1.625625 * from_buffer + 1.478125 * to_buffer)
    assert found.energy_mj[0, 0] == pytest.approx(1e-9 * pj, rel=1e-5)
    alone = costs([layer], [design], resident=False)
    assert alone.dram_bytes[0, 0] == 24 + 100 + 150
    slow = costs([layer], [design], Technology(dram_bytes_per_cycle=0.5), resident=False)
    assert slow.cycles[0, 0] == 2 * 274


def test_a_row_stationary_layer_on_paper():
    """2 to 3 channels, 6x6, kernel 3x3 on 7x12: two kernels below, two images beside each other."""
    layer = Layer(1, 1, 2, 3, 6, 6, (3, 3), padding=SAME)
    assert costs([layer], [Design(7, 12, 64, "rs")]).cycles[0, 0] == 2 * (6 * 3 + 2)
    # Rows of a kernel that is higher than the array take turns, rows of the output strips.
    assert costs([layer], [Design(2, 4, 64, "rs")]).cycles[0, 0] == 6 * 2 * 2 * (6 * 3 + 1)


def test_sums_that_do_not_fit_are_made_in_parts():
    """100 pixels of 4 sums of 2 bytes are 800; half of 1 KiB makes that two parts of each fold."""
    layer = Layer(1, 1, 16, 4, 10, 10)
    designs = [Design(8, 4, n, "ws") for n in (1, 2)]
    small, large = costs([layer], designs, Technology(dram_bytes_per_cycle=64)).cycles[0]
    assert (small, large) == (2 * (2 * 18 + 100), 2 * (18 + 100))


def test_what_does_not_fit_is_fetched_again():
    """1,024 bytes of weights and 1,024 of inputs against 512, 1,024 and more in half a buffer."""
    layer = Layer(1, 1, 16, 64, 8, 8)
    designs = [Design(8, 8, n, "ws") for n in (1, 2, 4)]
    found = costs([layer], designs, resident=False).dram_bytes[0]
    np.testing.assert_array_equal(found, [1024 + 2 * 1024 + 4096, 2048 + 4096, 2048 + 4096])


layers_drawn = st.builds(
    lambda b, g, c, k, size, kernel, stride: Layer(
        b, g, c, k, size, size, (kernel, kernel), (stride, stride)
    ),
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 40), st.integers(1, 40),
    st.integers(1, 20), st.sampled_from((1, 3, 5)), st.integers(1, 2),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(layers_drawn, min_size=6, max_size=6))
def test_what_must_hold_of_every_layer(layers):
    designs = [
        Design(rows, columns, buffer, flow)
        for flow in DATAFLOWS
        for rows, columns in ((4, 4), (8, 8), (16, 8))
        for buffer in (4, 64, 4096)
    ]
    found = costs(layers, designs, resident=False)
    assert (np.asarray(found.utilisation) <= 1 + 1e-5).all()
    moved = np.asarray(found.dram_bytes).reshape(len(layers), -1, 3)
    assert (np.diff(moved, axis=-1) <= 0).all()
    least = [
        each.groups * each.inputs * each.outputs * each.kernel[0] ** 2
        + each.batch * each.groups * each.outputs * each.height**2
        for each in layers
    ]
    assert (moved[:, :, -1] >= np.array(least)[:, None] * (1 - 1e-6)).all()
    kept = np.asarray(costs(layers, designs).dram_bytes)
    assert (kept <= np.asarray(found.dram_bytes)).all()


@pytest.mark.parametrize("flow", DATAFLOWS)
def test_twice_the_multipliers_are_not_slower_where_all_have_work(flow):
    layer = Layer(1, 1, 64, 64, 32, 32, (1, 1))
    for grow in ((2, 1), (1, 2)):
        sizes = [(8, 8), (8 * grow[0], 8 * grow[1])]
        designs = [Design(rows, columns, 2048, flow) for rows, columns in sizes]
        few, many = costs([layer], designs).cycles[0]
        assert many <= few


def test_area_is_that_of_its_parts():
    design = Design(256, 256, 24 * 1024, "ws")
    assert area_mm2(design) == pytest.approx((0.24 + 0.29) * 331)
    assert area_mm2(Design(256, 256, 1, "rs")) > area_mm2(Design(256, 256, 1, "ws"))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((0, 8, 64, "ws"), "rows .* got 0"),
        ((8, -1, 64, "ws"), "columns .* got -1"),
        ((8, 8, 0, "ws"), "buffer_kib .* got 0"),
        ((8, 8, 64, "weight"), "unknown dataflow 'weight': allowed are ws, os, rs"),
        ((8, 8, 64, "ws", 0.0), "clock_mhz"),
    ],
)
def test_impossible_accelerators_are_named(values, word):
    with pytest.raises(UserError, match=word):
        Design(*values)


@installed
def test_energies_are_those_of_the_simulators_descriptions():
    from hwnas_jax.cost.simulate import zigzag

    for name in ("tpu-like", "edge-tpu-like"):
        found, own = zigzag._template(name), Technology()
        assert found["operational_array"]["unit_energy"] == own.mac_pj
        dram, buffer = (found["memories"][key] for key in ("dram", "sram_2MB"))
        assert (dram["r_cost"] / 8, dram["w_cost"] / 8) == (own.dram_read_pj, own.dram_write_pj)
        assert buffer["size"] == 8192 * own.buffer_reference_kib
        assert buffer["r_cost"] / 256 == pytest.approx(own.buffer_read_pj)
        assert dram["ports"][0]["bandwidth_max"] / 8 == own.dram_bytes_per_cycle


@pytest.mark.slow
@installed
def test_layers_are_ordered_as_by_the_simulator(tmp_path):
    layers = [
        Layer(1, 1, 8, 16, 8, 8, (3, 3), padding=SAME),
        Layer(1, 1, 16, 16, 16, 16),
        Layer(1, 1, 16, 16, 16, 16, (3, 3), padding=SAME),
        Layer(1, 1, 32, 64, 8, 8, (3, 3), padding=SAME),
        Layer(1, 1, 64, 64, 16, 16),
        Layer(1, 1, 3, 32, 32, 32, (3, 3), padding=SAME),
    ]
    simulated = simulate_layers(layers, Accelerator("tpu-like"), folder=tmp_path)
    found = costs(layers, [TEMPLATES["tpu-like"]], resident=False)
    for metric in ("cycles", "energy_mj"):
        theirs = np.array([getattr(simulated[layer], metric) for layer in layers])
        assert spearman(theirs, np.asarray(getattr(found, metric))[:, 0]) >= 0.8, metric
