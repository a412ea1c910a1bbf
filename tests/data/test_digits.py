"""The built-in digits against scikit-learn's own arrays; offline, quiet, safe to race."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits as reference_digits

from hwnas_jax.data import DataConfig, Digits, load_data
from hwnas_jax.errors import UserError
from hwnas_jax.files.cache import cache_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _rows(images, labels):
    rows = np.concatenate([images.reshape(len(images), -1), labels[:, None]], axis=1).astype(int)
    return rows[np.lexsort(rows.T)]


def test_holds_every_digit_once(offline, capfd):
    data = load_data(DataConfig(name="digits", test_fraction=0.25))
    assert capfd.readouterr() == ("", "")
    assert "tensorflow" not in sys.modules
    assert data.input_shape == (8, 8, 1)
    assert data.output_names == tuple("0123456789")
    reference = reference_digits()
    pixels = np.floor(reference.images * 255 / 16 + 0.5)
    assert pixels.max() == 255
    got = _rows(
        np.concatenate([data.train_inputs, data.test_inputs]),
        np.concatenate([data.train_targets, data.test_targets]),
    )
    np.testing.assert_array_equal(got, _rows(pixels, reference.target))


def test_split_is_stratified_fixed_and_by_fraction(cache, monkeypatch):
    quarter, fifth = Digits(test_fraction=0.25).load(), Digits().load()
    counts = np.bincount(reference_digits().target)
    for data, fraction in ((quarter, 0.25), (fifth, 0.2)):
        assert abs(len(data.test_targets) - fraction * counts.sum()) <= 0.5
        assert np.abs(np.bincount(data.test_targets) - fraction * counts).max() <= 1
    monkeypatch.setenv("HWNAS_CACHE", str(cache / "elsewhere"))
    again = Digits(0.25).load()
    np.testing.assert_array_equal(again.train_inputs, quarter.train_inputs)
    np.testing.assert_array_equal(again.test_targets, quarter.test_targets)


def test_prepares_once_and_leaves_nothing_else(cache):
    Digits().load()
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    Digits().load()
    assert files == {p: p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()}
    assert [path.name for path in (cache / "tfds").iterdir()] == ["digits"]


def test_two_processes_at_once(cache):
    """The other process says when it has imported all; then both load, each into the same cache."""
    code = (
        "import sys\n"
        "import hwnas_jax.data as data\n"
        "import tensorflow_datasets\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "images = data.load_data(data.DataConfig()).train_inputs\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print(images.shape, int(images.sum()))\n"
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=env, text=True, **pipes) as other:
        assert other.stdout.readline() == "ready\n", other.stderr.read()
        other.stdin.write("go\n")
        other.stdin.flush()
        images = load_data(DataConfig()).train_inputs
        said, errors = other.communicate(timeout=120)
    assert images.shape == (1438, 8, 8, 1)
    assert (said, errors) == (f"{images.shape} {int(images.sum())}\n", "")
    assert other.returncode == 0
    assert [folder.name for folder in (cache / "tfds").iterdir()] == ["digits"]


def test_loser_of_the_race_uses_the_winners_files(cache, monkeypatch):
    def beaten(path, target):
        target.mkdir(parents=True)
        for file in path.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        raise OSError("not empty")

    monkeypatch.setattr(Path, "rename", beaten)
    assert Digits().load().train_inputs.shape == (1438, 8, 8, 1)


def test_damaged_files_are_named(cache):
    Digits().load()
    record = next(cache.rglob("*train.array_record*"))
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(UserError, match=f"damaged.*delete {cache}"):
        Digits().load()


def test_unwritable_folder_is_named(cache):
    (cache / "tfds").write_text("a file, no folder")
    with pytest.raises(UserError, match=r"cannot write the digits to .*HWNAS_CACHE"):
        Digits().load()


def test_fraction_too_small_is_named():
    with pytest.raises(UserError, match="nothing held out"):
        Digits(test_fraction=1e-5).load()


def test_cache_folder_order(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path
    monkeypatch.delenv("HWNAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "hwnas_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "hwnas_jax"
