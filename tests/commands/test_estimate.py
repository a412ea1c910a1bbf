import importlib.util

import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.cli import main
from hwnas_jax.config import Config, override
from hwnas_jax.cost.files.measurement_file import load_measurements
from hwnas_jax.cost.simulate import accelerator as accelerators
from hwnas_jax.cost.simulate import zigzag
from hwnas_jax.display import Silent
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.runs.network_costs import cost_of
from hwnas_jax.runs.run import Run


def refusal(capsys, line):
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("estimate", "either --topology (a TPU) or --accelerator"),
        ("estimate --topology v5e:1x1 --accelerator eyeriss-like", "one of the two"),
        ("estimate --topology v5e:1x1 --rows 3", "--rows goes with --accelerator"),
        ("estimate --accelerator eyeriss-like --dtype float32", "--dtype goes with --topology"),
        ("estimate --accelerator eyris-like", "Did you mean 'eyeriss-like'"),
        ("estimate --accelerator tpu-like --networks 0", "--networks must be positive, got 0"),
        ("estimate --accelerator tpu-like --batch 0", "--batch must be positive, got 0"),
        ("estimate --accelerator tpu-like --workers -1", "--workers must be positive, got -1"),
        ("estimate --topology v5e:1x1 --dtype bfloat61", "Did you mean 'bfloat16'"),
    ],
)
def test_mistakes(capsys, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, line)
    assert not list(tmp_path.iterdir())


def test_without_libtpu_the_extra_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "hwnas_jax[tpu]" in refusal(capsys, "estimate --topology v5e:1x1")
    assert "hwnas_jax[accelerator]" in refusal(capsys, "estimate --accelerator tpu-like")


def test_nothing_is_overwritten(capsys, tmp_path):
    out = tmp_path / "here.json"
    out.write_text("mine")
    assert "not overwritten" in refusal(capsys, f"estimate --accelerator tpu-like --out {out}")
    assert out.read_text() == "mine"


@pytest.fixture
def simulated(monkeypatch, tmp_path):
    """A simulator that takes a cycle per multiply-add."""

    def run(work, jobs, keep, *, done, what, progress=None, workers=None):
        for key, (layer, _) in jobs.items():
            keep(key, (float(layer.macs), 2.0 * layer.macs))

    monkeypatch.setattr(accelerators, "run_jobs", run)
    monkeypatch.setattr(accelerators, "require_zigzag", lambda: None)
    monkeypatch.setattr(zigzag, "describe", lambda *sizes: {})
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))


LINE = (
    "estimate --accelerator eyeriss-like --networks 24 --input-shape 8 8 1 "
    "--space.args.channels 4 --space.args.cells 1 --rows 8 --out"
)


def test_a_file_that_a_cost_model_is_fitted_to(capsys, tmp_path, simulated):
    out, model = tmp_path / "found.json", tmp_path / "model.npz"
    assert main([*LINE.split(), str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "24 networks on eyeriss-like 8x12, 1024 KiB, 200 MHz at batch 1" in shown
    assert "simulated, not a measurement" in shown
    found = load_measurements(out)
    assert len(found.networks) == 24 and found.held_out == 6
    assert np.ptp(found.latencies_ms) > 0
    assert main(f"cost fit {out} --cost.model analytic --out {model}".split()) == 0
    assert model.exists()


def test_a_run_asks_the_same_hardware_again_where_it_would_measure(tmp_path, simulated):
    out = tmp_path / "found.json"
    assert main([*LINE.split(), str(out)]) == 0
    config = override(Config(), space__args={"channels": 4, "cells": 1})
    run = Run.create(config, tmp_path / "run")
    run.adopt(measurements=out)
    known = load_measurements(out)
    again = cost_of(
        run.space, list(known.encoded(run.space)[:3]), Target("latency_ms", 1.0), run.folder,
        config, Silent(), quiet,
    )  # fmt: skip
    assert [sample.median for sample in again.corrected] == list(known.latencies_ms[:3])
    assert again.as_timed == again.corrected
    assert again.drift == 1.0
