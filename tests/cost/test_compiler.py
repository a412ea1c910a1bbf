"""Estimates by the TPU compiler: what is kept, and what is compiled at all."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.simulate import compiler
from hwnas_jax.cost.simulate.compiler import TPU, Estimate, estimate_networks, kept_in
from hwnas_jax.cost.simulate.estimates import estimate, hardware_of
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space

SPACE = make_space(
    "nasbench201", {"channels": 4, "cells": 1}, input_shape=(8, 8, 3), num_outputs=10
)
ROWS = np.array(
    [[3, 0, 0, 3, 0, 0], [0, 0, 0, 3, 0, 0], [1, 0, 3, 2, 0, 3], [2, 2, 2, 2, 2, 2]], np.int32
)


@pytest.fixture
def compiled(monkeypatch):
    """Compiles nothing; returns the canonical forms that would have been."""
    seen = []

    def run(work, jobs, keep, *, done, what, progress=None, workers=None):
        for key, (spec, form, tpu) in jobs.items():
            assert spec == SPACE.spec
            seen.append(form)
            cycles = 1000 + sum(form) * tpu.batch_size
            keep(key, Estimate(cycles, cycles / 1.5e6, 1.0, 1e6))

    monkeypatch.setattr(compiler, "run_jobs", run)
    monkeypatch.setattr(compiler, "clock_ghz", lambda topology: 1.5)
    return seen


def test_one_canonical_form_is_compiled_once_and_kept(compiled, tmp_path):
    tpu = TPU("v5e:1x1")
    found = estimate_networks(SPACE, ROWS, tpu, folder=tmp_path)
    assert compiled == [(0, 0, 0, 3, 0, 0), (1, 0, 3, 2, 0, 3), (2, 2, 2, 2, 2, 2)]
    assert [each.cycles for each in found] == [1024, 1024, 1072, 1096]
    assert found[0].latency_ms == pytest.approx(1024 / 1.5e6)
    again = estimate_networks(SPACE, ROWS[::-1], tpu, folder=tmp_path)
    assert len(compiled) == 3
    assert again == found[::-1]


def test_the_code_that_estimates_follow_from_is_there():
    assert all((compiler._PACKAGE / place).exists() for place in compiler._DEPENDS_ON)
    assert len(compiler._code_digest()) == 64


def test_an_interrupted_job_goes_on(compiled, tmp_path):
    estimate_networks(SPACE, ROWS[:2], TPU(), folder=tmp_path)
    estimate_networks(SPACE, ROWS, TPU(), folder=tmp_path)
    assert compiled == [(0, 0, 0, 3, 0, 0), (1, 0, 3, 2, 0, 3), (2, 2, 2, 2, 2, 2)]


def test_a_damaged_estimate_is_named(compiled, tmp_path):
    estimate_networks(SPACE, ROWS[:1], TPU(), folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text('{"cycles": 3}')
    with pytest.raises(UserError, match=f"{file.name}: the file has no 'latency_ms'; delete it"):
        estimate_networks(SPACE, ROWS[:1], TPU(), folder=tmp_path)


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"dtype": "bfloat61"}])
def test_mistakes_in_what_to_compile_for(arguments):
    with pytest.raises(UserError, match=r"positive, got 0|Did you mean 'bfloat16'"):
        TPU(**arguments)


def test_estimates_of_another_kind_are_kept_apart(monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1" if name == "libtpu" else version(name)
    )
    folders = {
        kept_in(SPACE, tpu).name
        for tpu in (TPU(), TPU("v4:1x1x1"), TPU(batch_size=1), TPU(dtype="float32"))
    }
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2")
    folders.add(kept_in(SPACE, TPU()).name)
    assert len(folders) == 5


LINES = """
import sys
from hwnas_jax.cli import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu, the extra `tpu`"
)
def test_networks_are_compiled_in_one_command_and_estimated_once(tmp_path):
    """In processes of their own: libtpu brings the process down that it fails in."""
    script = tmp_path / "command.py"
    script.write_text(LINES)
    line = (
        "estimate --topology v5e:1x1 --networks 2 --batch 2 --workers 1 --image-shape 8 8 3 "
        "--space.args.channels 4 --space.args.cells 1 --out"
    )
    words = line.split()
    here = {**os.environ, "HWNAS_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    here["PYTHONPATH"] = os.pathsep.join(path for path in ["", *sys.path] if path) or "."
    here.pop("XLA_FLAGS", None)

    def command(name):
        words_here = [sys.executable, str(script), *words, str(tmp_path / name)]
        return subprocess.run(words_here, env=here, capture_output=True, text=True, check=False)

    first = command("first.json")
    assert first.returncode == 0, first.stderr[-2000:]
    assert "compiler estimate, not a measurement" in first.stdout
    found = load_measurements(tmp_path / "first.json", SPACE)
    assert (found.source, found.runtime, found.batch_size) == ("compiler estimate", "libtpu", 2)
    assert found.device["kind"] == "TPU v5 lite"
    assert found.metrics == ("cycles", "latency_ms", "peak_memory_mib", "flops")
    # 1.5 GHz is the chip's published clock.
    np.testing.assert_allclose(found.latencies_ms, found.medians("cycles") / 1.5e6, rtol=1e-9)
    assert hardware_of(found) == TPU("v5e:1x1", 2, "bfloat16")
    kept = list((tmp_path / "cache").rglob("*.json"))
    ages = {file: file.stat().st_mtime_ns for file in kept}
    assert len(kept) == len(np.unique(SPACE.canonical(found.encoded(SPACE)), axis=0))
    second = command("second.json")
    assert second.returncode == 0, second.stderr[-2000:]
    assert {file: file.stat().st_mtime_ns for file in kept} == ages
    again = json.loads((tmp_path / "second.json").read_text())
    assert again["networks"] == json.loads((tmp_path / "first.json").read_text())["networks"]


def test_a_file_of_estimates_says_how_to_make_it_again(compiled, monkeypatch, tmp_path):
    class Device:
        device_kind = "TPU v5 lite"

    monkeypatch.setattr(
        "hwnas_jax.cost.simulate.estimates.topology_devices", lambda topology: (Device(),)
    )
    monkeypatch.setattr(compiler, "kept_in", lambda space, tpu: tmp_path / "kept")
    tpu = TPU("v5e:1x1", 4, "float32")
    save_measurements(estimate(SPACE, ROWS, tpu), tmp_path / "file.json")
    found = load_measurements(tmp_path / "file.json", SPACE)
    assert hardware_of(found) == tpu
    assert found.source == "compiler estimate"
