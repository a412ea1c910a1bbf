"""Networks as files for other runtimes. What needs the extra `export` is skipped without it."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax import Run, export
from hwnas_jax.cli import main
from hwnas_jax.errors import UserError
from hwnas_jax.nn.kernels.convolution import avg_pool_2x2, avg_pool_3x3, conv2d
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.platform import platform
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.architecture_files import save_architecture
from tests.helpers import initialise

MISSING = [m for m in ("onnx", "onnxruntime", "jax2onnx") if importlib.util.find_spec(m) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
KINDS = [pytest.param("onnx", marks=needs_onnx), "stablehlo"]

IMAGES = np.random.default_rng(0).standard_normal((3, 9, 7, 4), np.float32)
KERNEL = np.random.default_rng(1).standard_normal((3, 3, 4, 6), np.float32)


def ran(content, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def called(kind, content, images):
    """Returns what an exported file makes of images."""
    if kind == "onnx":
        return ran(content, images)
    return np.asarray(jax.export.deserialize(bytearray(content)).call(images))


def kinds(content):
    import onnx

    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def notes(content):
    import onnx

    return {note.key: note.value for note in onnx.load_from_string(content).metadata_props}


@needs_onnx
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: conv2d(x, jnp.asarray(KERNEL)), "Conv"),
        (lambda x: conv2d(x, jnp.asarray(KERNEL), stride=2, dilation=2), "Conv"),
        (lambda x: conv2d(x, jnp.asarray(KERNEL[:1, :1]), stride=2), "Conv"),
        (avg_pool_3x3, "AveragePool"),
        (avg_pool_2x2, "AveragePool"),
    ],
)
def test_operations_become_the_nodes_that_onnx_has_for_them(function, kind):
    content = export.to_onnx(function, IMAGES.shape)
    assert kinds(content).count(kind) == 1
    assert {"Einsum", "MatMul", "Pad", "ReduceSum"} & set(kinds(content)) == set()
    np.testing.assert_allclose(ran(content, IMAGES), function(IMAGES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [avg_pool_3x3, avg_pool_2x2])
def test_the_forms_for_export_have_the_same_gradients(function):
    def weighted(x):
        return (function(x) * jnp.arange(function(x).size).reshape(function(x).shape)).sum()

    expected = jax.grad(weighted)(IMAGES)
    with platform("onnx"):
        np.testing.assert_allclose(jax.grad(weighted)(IMAGES), expected, rtol=1e-5)


@needs_onnx
def test_open_batch_types_and_notes():
    content = export.to_onnx(
        lambda x: x.astype(jnp.float32) * 2, (None, 9, 7, 4), np.uint8, notes={"who": "me"}
    )
    whole = np.arange(2 * 252, dtype=np.uint16).reshape(2, 9, 7, 4).astype(np.uint8)
    np.testing.assert_array_equal(ran(content, whole), 2.0 * whole)
    np.testing.assert_array_equal(ran(content, whole[:1]), 2.0 * whole[:1])
    assert notes(content) == {"who": "me"}


@needs_onnx
def test_a_function_that_returns_its_input():
    content = export.to_onnx(lambda x: x, (2, 3))
    np.testing.assert_array_equal(ran(content, IMAGES[0, :2, :3, 0]), IMAGES[0, :2, :3, 0])


def test_stablehlo_holds_any_batch_and_every_platform():
    content = export.to_stablehlo(lambda x: conv2d(x, jnp.asarray(KERNEL)), (None, 9, 7, 4))
    loaded = jax.export.deserialize(bytearray(content))
    assert set(loaded.platforms) == set(export.PLATFORMS)
    for batch in (1, 3):
        expected = conv2d(IMAGES[:batch], jnp.asarray(KERNEL))
        np.testing.assert_allclose(loaded.call(IMAGES[:batch]), expected, rtol=1e-4, atol=1e-4)
    assert "stablehlo.convolution" in loaded.mlir_module()


def test_a_difference_is_measured_and_refused():
    expected = np.array([1.0, -4.0])
    assert export.check_output(expected + 2e-4, expected, "it") == pytest.approx(5e-5)
    for wrong in (expected + 1e-3, np.array([1.0, np.nan])):
        with pytest.raises(UserError, match="it: the export differs from JAX by"):
            export.check_output(wrong, expected, "it")
    with pytest.raises(UserError, match="returns"):
        export.check_output(expected[:1], expected, "it")


@pytest.fixture
def architecture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    space = make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10
    )
    save_architecture(tmp_path / "a.json", space, np.array([3, 2, 4, 1, 0, 3]))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_with_decoders_is_exported(kind):
    outputs = (Output(2, dense=True), Output(3))
    space = make_space(
        "transnas_cell", {"channels": 2, "macro": "4", "stem_halvings": 1},
        input_shape=(9, 7, 4), num_outputs=5, outputs=outputs,
    )  # fmt: skip
    network = initialise(lambda rngs: space.network(np.array([3, 1, 2, 0, 1, 3]), rngs))
    network.eval()
    make = export.to_onnx if kind == "onnx" else export.to_stablehlo
    content = make(network, (None, 9, 7, 4))
    expected = np.asarray(network(IMAGES))
    assert expected.shape == (3, 9 * 7 * 2 + 3 + 2)
    export.check_output(called(kind, content, IMAGES), expected, kind)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_writes_an_architecture(architecture, capsys, kind, batch_size):
    words = ["export", "a.json", "--format", kind]
    words += [] if batch_size is None else ["--batch-size", str(batch_size)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "not trained" in shown
    assert "float32[8, 8, 1]" in shown
    content = (architecture / f"network.{kind}").read_bytes()
    images = np.random.default_rng(3).standard_normal((3, 8, 8, 1), np.float32)
    assert called(kind, content, images).shape == (3, 10)
    if kind == "onnx":
        assert kinds(content).count("Conv") == 3 * (2 + 1) + 2 * 3 + 1
        assert "|nor_conv_3x3~0|" in notes(content)["architecture"]
    assert main(words) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("export missing.json", "missing.json"),
        ("export a.json --format onxn", "onxn"),
        ("export a.json --out nowhere/x.onnx", "no folder nowhere"),
        ("export a.json --batch-size 0", "must be positive"),
        ("export a.json --network search-0", "--network is for a run"),
        ("export .", "no run folder"),
    ],
)
def test_mistakes_of_the_command(architecture, capsys, line, part):
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert part in shown.out + shown.err
    assert [path.name for path in architecture.iterdir()] == ["a.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_retrained_network_of_a_run_is_exported_with_its_weights(
    finished_run, tmp_path, monkeypatch, capsys, kind
):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / f"net.{kind}"
    assert main(["export", str(finished_run), "--format", kind, "--out", str(out)]) == 0
    assert "uint8[8, 8, 1]" in capsys.readouterr().out
    dataset = Run.open(finished_run).dataset
    found = called(kind, out.read_bytes(), dataset.test_inputs).argmax(1)
    networks = json.loads((finished_run / "networks.json").read_text())["networks"]
    (accuracy,) = [n["test_metric"] for n in networks if n["label"] == "search-1"]
    count = len(dataset.test_targets)
    assert np.mean(found == dataset.test_targets) == pytest.approx(accuracy, abs=1.5 / count)


def test_a_network_that_a_run_does_not_have(finished_run, tmp_path, capsys):
    words = ["--network", "serach-1", "--out", str(tmp_path / "x.onnx")]
    assert main(["export", str(finished_run), *words]) == 2
    assert "Did you mean 'search-1'?" in capsys.readouterr().err


def test_nothing_is_imported_before_it_is_used():
    code = (
        "import sys, hwnas_jax, hwnas_jax.cli, hwnas_jax.export, hwnas_jax.cost.measure.runtimes;"
        "print([m for m in ('onnx', 'onnxruntime', 'jax2onnx', 'pynvml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
