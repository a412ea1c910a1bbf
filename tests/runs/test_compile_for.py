"""Compiling for TPU chips that are not there."""

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.compile.ahead import compile_ahead
from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.runs import compile_for as compile_module
from hwnas_jax.runs.compile_for import ChipStep, compile_for, topology_devices
from hwnas_jax.runs.gradient_search import batches_of
from hwnas_jax.spaces import make_space
from tests.helpers import stripes

SPACE = make_space("nasbench201", {"channels": 2, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3)

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu, the extra `tpu`"
)

DIGITS = "--data.name digits"
STEP = ChipStep(
    topology="v5e:2x4", kind="TPU v5 lite", chips=8, replicas=8, images=1600, lower_seconds=1.0,
    compile_seconds=2.0, argument_bytes=2**20, temporary_bytes=2**21, memory_bytes=2**22,
    flops=3e9, bytes_accessed=1e6, all_reduces=2.0, all_reduce_bytes=8e6, other_collectives=0.0,
    cycles=3e6, unknown_loops=0,
)  # fmt: skip


def test_estimates_follow_from_published_figures():
    """3e6 cycles at 1.5 GHz; a ring of 8 sends 2 * 7/8 of 8 MB at 200 GB/s."""
    assert STEP.flops_per_image == 3e9 / 200
    assert STEP.compute_seconds == pytest.approx(2e-3)
    assert STEP.all_reduce_seconds == pytest.approx(70e-6)
    assert STEP.images_per_second == pytest.approx(1600 / 2.07e-3)
    rows = dict(STEP.rows())
    assert rows["memory per chip"] == "4.0 MiB"
    assert rows["HBM per chip (published)"] == "16 GiB"
    assert rows["all-reduces per step"] == "2"
    assert rows["images/s that would mean"] == "772,947"


def test_a_chip_of_two_replicas_adds_them_up():
    step = dataclasses.replace(STEP, kind="TPU v4", chips=4)
    rows = dict(step.rows())
    assert rows["memory per chip"] == "8.0 MiB"
    assert rows["FLOPs per step and chip"] == "6e+09"
    assert rows["FLOPs per image"] == "1.5e+07"


def test_an_unknown_chip_has_no_estimates():
    step = dataclasses.replace(STEP, kind="TPU v99", unknown_loops=2)
    rows = dict(step.rows())
    assert rows["HBM per chip (published)"] == "not known"
    assert rows["loops counted once, length unknown"] == "2"
    assert step.to_dict()["images_per_second"] is None
    assert not any("images/s" in name for name in rows)


def refusal(capsys, line):
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


def test_without_libtpu_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "hwnas_jax[tpu]" in refusal(capsys, "search --compile-for v5e:2x4")


def test_what_needs_a_run_folder_does_not_go_with_it(capsys, tmp_path):
    shown = refusal(capsys, f"search --compile-for v5e:2x4 --run-dir {tmp_path / 'new'}")
    assert "--run-dir does not go with --compile-for" in shown
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--search.batch-size 12", "search.batch_size = 12 does not divide by 8 devices"),
        ("--retrain.batch-size 12", "retrain.batch_size = 12 does not divide by 8 devices"),
        ("--parallel.devices 9", "parallel.devices = 9, but v5e:2x4 has 8"),
        (f"{DIGITS} --search.batch-size 1024", "is more than the 719 in half of"),
        (f"{DIGITS} --search.batch-size 1024", "allowed are at most 712"),  # a multiple of 8
        (f"{DIGITS} --retrain.batch-size 4096", "is more than the 1294 that retrain"),
        (f"{DIGITS} --retrain.batch-size 4096", "allowed are at most 1288"),
        ("--search.relaxation.name gaea --space.name single_path --space.args thresholds true "
         "halvings 1", "the space single_path scores its options"),
        ("--search.fair --search.draws 4", "search.fair runs each of the 5 options"),
    ],
)  # fmt: skip
def test_what_a_search_would_refuse_is_refused_before_anything_is_compiled(
    capsys, monkeypatch, words, said
):
    chips = jax.devices()[:1] * 8
    monkeypatch.setattr(compile_module, "topology_devices", lambda name: tuple(chips))
    monkeypatch.setattr(compile_module, "compile_for", None)
    shown = refusal(capsys, f"search --compile-for v5e:2x4 {words}")
    assert said in " ".join(shown.split())


@needs_libtpu
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("v5e16x16", ("v5e16x16", "Did you mean 'v5e:16x16'")),
        ("v9:2x2", ("TPU v9", "v5e:4x4")),
        ("nonsense", ("nonsense", "v5e:4x4")),
        ("v5e:3x5", ("not divisible",)),
    ],
)
def test_unknown_topologies(capsys, name, parts):
    shown = refusal(capsys, f"search --compile-for {name}")
    for part in ("no TPU topology", *parts):
        assert part in shown


@needs_libtpu
def test_a_batch_that_does_not_divide(capsys):
    shown = refusal(capsys, "search --compile-for v5e:16x16 --search.batch-size 64")
    assert "search.batch_size = 64 does not divide by 256 devices" in shown
    shown = refusal(capsys, "search --compile-for v5e:2x4 --parallel.devices 9")
    assert "parallel.devices = 9, but v5e:2x4 has 8" in shown


@needs_libtpu
def test_a_single_chip_is_a_topology():
    (device,) = topology_devices("v5e:1x1")
    assert device.device_kind == "TPU v5 lite"


@needs_libtpu
def test_the_tpu_compilers_refusal_is_told():
    replicas = Replicas(topology_devices("v5e:2x4"))
    dispatch = replicas.compile(lambda x, data: (jnp.sort(x @ data) @ data + x, data[0]))
    size = 40_000
    shapes = replicas.shapes(*[jax.ShapeDtypeStruct((size, size), jnp.float32)] * 2)
    with pytest.raises(UserError, match=r"huge does not fit.*G.*15\.75G.*What helps: less"):
        compile_ahead(dispatch, *shapes, "huge", "less")


@functools.cache
def tiny(chips, backend="pmap"):
    config = override(
        Config(), search__batch_size=2 * chips, search__steps=6, search__warmup_steps=1,
        search__steps_per_dispatch=3, parallel__devices=chips, parallel__backend=backend,
    )  # fmt: skip
    return compile_for("v5e:2x4", SPACE, stripes(), config)


def test_streamed_shapes_are_those_of_the_stream():
    """What a topology of several hosts is compiled for is what a job there would read."""
    config = override(Config(), search__batch_size=8)
    replicas = Replicas(tuple(jax.devices("cpu")[:2]))
    stream = batches_of(stripes(), config, 3).stream(replicas)
    read = stream.load(jax.random.key(0), 0)
    _, expected = replicas.shapes({}, stream.shapes(), own_data=True)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), read) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    assert not replicas.streams(None)
    assert replicas.streams(False)


@needs_libtpu
@pytest.mark.slow
def test_eight_chips_do_what_one_does_and_two_all_reduces():
    """All-reduced are the gradients, and a loss and an accuracy beside each."""
    one, eight = tiny(1), tiny(8)
    assert (one.chips, eight.chips) == (1, 8)
    assert (one.all_reduces, eight.all_reduces) == (0, 2)
    search = eight.all_reduce_bytes / 4
    weights = search - SPACE.mask.size - 4
    assert weights == number_of_weights()
    assert one.other_collectives == eight.other_collectives == 0
    assert eight.flops_per_image == one.flops_per_image
    assert eight.cycles == pytest.approx(one.cycles, rel=0.2)
    assert eight.unknown_loops == 0
    # Each of both steps costs two to four forward passes. Images of 4, 2 and 1 pixels read 10 of
    # 12, 4 of 6 and 1 of 3 taps a line inside, while the count of operations takes all.
    model = AnalyticModel.count(SPACE)
    dearest = [d.options.index("nor_conv_3x3") for d in SPACE.decisions]
    gates = np.eye(SPACE.num_options, dtype=np.float32)[dearest]
    forward = 2 * float(model.predict(gates)["macs"])
    assert 2 * forward / 3**2 < eight.flops_per_image < 4 * forward * (10 / 12) ** 2
    state = 4 * 2 * weights
    assert state <= eight.argument_bytes <= state + 2**14 + stripes().train_inputs.size * 8


def number_of_weights():
    from flax import nnx

    params = nnx.state(abstract(SPACE.supernet), nnx.Param)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@needs_libtpu
@pytest.mark.slow
def test_the_command_prints_a_table(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    words = (
        "search --compile-for v5e:2x4 --space.args.channels 2 --space.args.cells 1 "
        "--search.steps 4 --search.warmup-steps 1 --search.steps-per-dispatch 2 "
        "--search.relaxation.name softmax"
    )
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    for part in ("8 (TPU v5 lite)", "memory per chip", "16 GiB", "not a measurement"):
        assert part in shown
    assert not list(tmp_path.iterdir())
