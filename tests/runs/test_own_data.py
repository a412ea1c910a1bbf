"""Data of the user's own in a run: kept in its folder, named in its config, told about."""

import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax.cli import main
from hwnas_jax.config import Config, override
from hwnas_jax.data import arrays
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.strategy_search import search_name
from tests.data.tiny_sets import write_idx_folder, write_image_folder

SMALL = override(
    Config(), space__args={"channels": 2, "cells": 1}, parallel__devices=1,
    search__batch_size=8, retrain__batch_size=8,
)  # fmt: skip


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def given(**options):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60_000, (40, 6, 9), dtype=np.uint16)
    return arrays(images, ["cat", "dog"] * 20, **options)


def test_a_run_keeps_arrays_in_its_folder_wherever_that_lies(tmp_path):
    data, display = given(), Listening()
    run = Run.create(SMALL, tmp_path / "run", data=data, display=display)
    assert run.space.input_shape == (6, 9, 1)
    assert display.said[0].startswith("there is no test part: 8 examples of 40")
    (tmp_path / "run").rename(tmp_path / "moved")
    again = Run.open(tmp_path / "moved")
    assert again.config.data.name == "arrays"
    assert again.dataset.output_names == ("cat", "dog")
    np.testing.assert_array_equal(again.dataset.train_inputs, data.train_inputs)
    np.testing.assert_array_equal(again.dataset.test_targets, data.test_targets)


def test_arrays_that_do_not_fit_leave_no_folder(tmp_path):
    signals = np.random.default_rng(0).standard_normal((40, 6, 9))
    for data, message in (
        ((signals, [0, 1] * 20), r"data must be a data set, such as .*arrays.*got tuple"),
        (given(test_fraction=0.8), r"search\.batch_size = 8 is more than the 4 in half of 8"),
    ):
        with pytest.raises(UserError, match=message):
            Run.create(SMALL, tmp_path / "run", data=data)
        assert not (tmp_path / "run").exists()


def test_a_path_tells_the_source_and_the_run_writes_it_down(tmp_path):
    write_image_folder(tmp_path / "pictures", each=20)
    run = Run.create(override(SMALL, data__path=str(tmp_path / "pictures")), tmp_path / "run")
    assert run.space.input_shape == (6, 8, 1)
    assert Run.open(tmp_path / "run").config.data.name == "image_folder"


def test_the_command_line_takes_a_path_alone(tmp_path, monkeypatch, capsys):
    """Nothing of the built-in data is left: neither its name nor its options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my set").mkdir()
    write_idx_folder(tmp_path / "my set", parts=[("train", 20), ("t10k", 4)])
    assert main(["search", "--data.path", "my set"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "search.batch_size = 64 is more than the 10 in half of 20 train examples" in said
    assert "retrain.batch_size = 64 is more than the 18" in said
    assert [path.name for path in tmp_path.iterdir()] == ["my set"]

    made = []
    monkeypatch.setattr(Run, "create", lambda config, *_, **__: made.append(config) or 1 / 0)
    for words, name, run, epochs in (
        ([], None, "my_set", 60),
        (["--data.name", "idx"], "idx", "my_set", 60),
        (["cluttered_digits"], None, "cluttered_digits", 4),
        (["cluttered_digits", "--data.name=idx"], "idx", "cluttered_digits", 4),
        (["--data.name", "mnist"], "mnist", "cluttered_digits", 4),
    ):
        with pytest.raises(ZeroDivisionError):
            main(["search", *words, "--data.path=my set", "--data.args", "subset", "a"])
        config = made.pop()
        assert (config.data.name, config.data.path) == (name, "my set")
        assert config.data.args == {"subset": "a"}
        assert (config.name, config.retrain.epochs) == (run, epochs)


def test_searches_on_data_of_different_paths_have_different_names():
    """Processes that share a storage of trials tell their searches apart by these."""
    own = override(SMALL, data__name="idx", data__args={"subset": "letters"})
    names = [search_name(override(own, data__path=path)) for path in ("a", "b")]
    assert [name.split(" / ")[1] for name in names] == [f"idx subset=letters {p}" for p in "ab"]
    assert search_name(SMALL).split(" / ")[1] == "digits"


@pytest.mark.slow
def test_a_single_network_is_trained_on_few_data_for_one_step(tmp_path, monkeypatch, capsys):
    """Thirty images, one epoch: a schedule of a single step."""
    monkeypatch.chdir(tmp_path)
    write_idx_folder(tmp_path, parts=[("train", 30), ("t10k", 4)], shape=(6, 9))
    space = hw.make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(6, 9, 1), num_outputs=3
    )
    architecture = np.zeros(space.num_decisions, np.int32)
    hw.save_architecture(tmp_path / "architecture.json", space, architecture)
    words = ["retrain", "architecture.json", "--data.path", ".", "--parallel.devices", "1"]
    words += ["--retrain.epochs", "1", "--retrain.batch-size"]
    assert main([*words, "64"]) == 2
    assert "retrain.batch_size = 64 is more than the 27" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main([*words, "27"]) == 0
    assert "test accuracy" in capsys.readouterr().out
