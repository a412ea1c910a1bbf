"""The built-in table: made once, kept by what it depends on, and read like any other."""

from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.config import override
from hwnas_jax.data import load_data
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.tabular import builtin, load_benchmark
from hwnas_jax.tabular.builtin import built_in_path, built_in_table
from hwnas_jax.tabular.make import TableSettings
from hwnas_jax.tabular.make.networks import networks_of


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A built-in table of two small networks, in a cache of its own."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    name = f"{Path(__file__).with_name('small_space.py')}:SmallSpace"
    config = override(
        builtin.CONFIG, space={"name": name, "args": {}, "off": {}}, parallel__devices=2,
        data={"name": "digits", "args": {}},
    )  # fmt: skip
    monkeypatch.setattr(builtin, "CONFIG", config)
    monkeypatch.setattr(builtin, "SETTINGS", TableSettings(sample=2, epochs=(1,), measured=0))


def test_it_is_made_once(small, monkeypatch, capsys):
    path = built_in_path()
    assert built_in_table(Silent()) == path and path.is_file()
    made = path.stat().st_mtime_ns
    benchmark = load_benchmark("built_in")
    assert (path.stat().st_mtime_ns, benchmark.known) == (made, 2)
    assert benchmark.report == "test_accuracy_1"
    shown = capsys.readouterr()
    assert shown.out + shown.err == "", "nothing is said of what is there"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(UserError, match=r"built-in table .* is damaged .*delete it"):
        load_benchmark("built_in")
    monkeypatch.setattr(builtin, "SETTINGS", TableSettings(sample=3, epochs=(1,), measured=0))
    assert built_in_path() != path


def test_a_cache_that_cannot_be_written_is_told(small, tmp_path):
    (tmp_path / "tables").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot write the built-in table .*HWNAS_CACHE"):
        built_in_table(Silent())


def test_it_has_some_hundred_networks_of_every_size():
    config = builtin.CONFIG
    data = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args, off=config.space.off,
        input_shape=data.input_shape, num_outputs=data.num_outputs,
    )  # fmt: skip
    networks = networks_of(space, None, config.seed)
    assert len(networks) == 290
    runs = (networks != 0).sum(axis=1)
    assert set(np.unique(runs)) == {1, 2, 3, 4, 5, 6}
