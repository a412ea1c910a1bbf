"""Making a table: what a row says, what is resumed and shared, and what is refused."""

import functools
import json
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from hwnas_jax.config import override
from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.cost.files.table_file import load_table_file
from hwnas_jax.cost.measure.networks import Measured
from hwnas_jax.data.pipeline import holdout
from hwnas_jax.display import Silent
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.files.npz import read_npz
from hwnas_jax.parallel.progress import StopRequest, quiet
from hwnas_jax.search.evaluators import Bench, Data, ShortTraining
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular.make import latencies
from hwnas_jax.tabular.make.networks import networks_of
from hwnas_jax.tabular.make.parts import Parts
from hwnas_jax.tabular.make.table import TableSettings
from hwnas_jax.tabular.make.training import Trainer
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE, images
from tests.tabular.table_worker import CONFIG, made


@pytest.fixture(scope="module")
def whole(once):
    """The table that was made in one go."""
    return once("own-table", lambda folder: made(folder / "t.npz")) / "t.npz"


def same(path, other):
    """Checks that two files hold the same bits, but for what tells the time."""
    found, expected = read_npz(path), read_npz(other)
    assert found.keys() == expected.keys()
    for name in found.keys() - {"seconds", "about"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    about, others = (json.loads(str(arrays["about"])) for arrays in (found, expected))
    assert {**about, "created": ""} == {**others, "created": ""}


def alone(network, seed, epochs, rows):
    """Returns the accuracy of one network, trained by the evaluator of short trainings."""
    data, (kept, _) = images(), holdout(images().train_targets, 0.25, CONFIG.seed)
    every = (np.concatenate([getattr(data, f"{part}_{kind}") for part in ("train", "test")])
             for kind in ("inputs", "targets"))  # fmt: skip
    bench = Bench(
        SPACE, Classification(), Data(*every, kept, rows, data.mean, data.std),
        make_supernet(SPACE), batch_size=8, seed=CONFIG.seed,
    )  # fmt: skip
    weights = CONFIG.search.weights
    evaluator = ShortTraining(
        epochs=epochs, learning_rate=weights.learning_rate, weight_decay=weights.decay,
        clip_norm=weights.clip_norm,
    )  # fmt: skip
    run = jax.jit(functools.partial(evaluator.evaluate, bench))
    found = run(evaluator.arrays(bench), network[None], 0, jax.random.key(seed))
    return float(found["accuracy"][0])


def test_a_row_says_what_the_network_reaches_alone(whole):
    """Nine batches are an epoch, in three calls of three steps."""
    table, data = load_table_file(whole), images()
    held_out = holdout(data.train_targets, 0.25, CONFIG.seed)[1]
    tested = np.arange(96, 126)
    assert table.seeds == (5, 6) and table.epochs == (1, 2)
    for row, epochs, seed in ((1, 1, 6), (6, 2, 5)):
        network, length, column = table.architectures[row], epochs - 1, table.seeds.index(seed)
        for split, rows in (("validation", held_out), ("test", tested)):
            expected = alone(network, seed, epochs, rows)
            assert getattr(table, split)[length, row, column] == pytest.approx(expected, abs=1e-6)
    assert len(np.unique(table.validation)) > 5
    assert (table.seconds > 0).all()


def test_rows_do_not_depend_on_what_is_trained_beside_them(whole):
    table = load_table_file(whole)
    config = override(CONFIG, parallel__devices=3, parallel__backend="shard_map")
    trainer = Trainer(SPACE, images(), Classification(), config)
    calls = []
    found = trainer.train(table.architectures[[4, 2]], (2,), (6, 5), calls.append)
    np.testing.assert_allclose(found.test[0], table.test[1][[4, 2]][:, ::-1], atol=1e-6)
    assert calls[-1] == 4 * trainer.calls(2) == 24 and sorted(calls) == calls


def test_networks_are_counted(whole):
    table = load_table_file(whole)
    operations = SPACE.operations()[0]
    for row, network in enumerate(table.architectures):
        names = [name for name in SPACE.to_names(network).values() if name != "skip"]
        for metric in ("macs", "params"):
            parts = [getattr(operations[name], metric) for name in (*names, "head")]
            assert table.counts[metric][row] == sum(parts)
    assert table.latency_ms is None


def logged(monkeypatch, before=lambda trained: None):
    """Returns a list that takes the thread and the networks of every chunk that is trained."""
    trained, train = [], Trainer.train

    def train_logged(self, networks, *args):
        trained.append((threading.get_ident(), networks))
        before(trained)
        return train(self, networks, *args)

    monkeypatch.setattr(Trainer, "train", train_logged)
    return trained


def test_a_killed_table_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch):
    path, said, display = tmp_path / "t.npz", [], Silent()
    words = [sys.executable, "-m", "tests.tabular.table_worker", str(path), "3"]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    parts = sorted((tmp_path / "t.npz.parts").glob("*.npz"))
    assert [part.name for part in parts] == ["chunk-00000.npz"] and not path.exists()
    display.say = said.append
    trained = logged(monkeypatch)
    made(path, display)
    assert any("going on with what is done" in line for line in said)
    assert [len(networks) for _, networks in trained] == [2, 2, 1], "the first chunk is done"
    same(path, whole)
    assert [item.name for item in tmp_path.iterdir()] == ["t.npz"]


def test_workers_share_the_work(whole, tmp_path, monkeypatch):
    """The first chunks of both are begun before either is trained."""
    both = threading.Barrier(2)
    trained = logged(monkeypatch, lambda trained: both.wait(60) if len(trained) <= 2 else None)
    path, failed = tmp_path / "t.npz", []

    def work():
        try:
            made(path)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
    assert len({worker for worker, _ in trained}) == 2
    rows = np.concatenate([networks for _, networks in trained])
    assert len(rows) == len(np.unique(rows, axis=0)) == 7
    same(path, whole)
    assert [item.name for item in tmp_path.iterdir()] == ["t.npz"]


def test_a_stop_leaves_whole_parts(tmp_path, monkeypatch):
    class Stopping(Silent):
        def say(self, text):
            monkeypatch.setattr(StopRequest, "signum", signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped"):
        made(tmp_path / "t.npz", Stopping())
    assert [item.name for item in tmp_path.iterdir()] == ["t.npz.parts"]


def test_what_is_refused_before_anything_is_trained(tmp_path, whole):
    path = tmp_path / "t.npz"
    with pytest.raises(UserError, match="exists and is not overwritten"):
        made(whole)
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        made(tmp_path / "nowhere" / "t.npz")
    with pytest.raises(UserError, match=r"more than the 72 .*at most 72"):
        made(path, search__batch_size=73)
    with pytest.raises(UserError, match=r"parallel\.devices = 99"):
        made(path, parallel__devices=99)
    with pytest.raises(UserError, match=r"data\.resident"):
        made(path, data__resident=False)
    with pytest.raises(UserError, match=r"profile\.runtime = 'systolic' does not go with"):
        latencies.check_measurable(SPACE, override(CONFIG, profile__runtime="systolic").profile)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_another_table_are_refused(tmp_path):
    parts = Parts.beside(tmp_path / "t.npz")
    assert not parts.begin({"seed": 1, "epochs": (1, 2)})
    assert Parts.beside(tmp_path / "t.npz").begin({"seed": 1, "epochs": [1, 2]})
    with pytest.raises(UserError, match=r"differs in seed \(seed: 1\).*--out"):
        parts.begin({"seed": 2, "epochs": (1, 2)})
    parts.write("a", {"x": np.zeros(3)})
    with pytest.raises(
        UserError, match=r"a\.npz: x must be number\[2\], and is float64\[3\]; remove it"
    ):
        parts.read("a", {"x": (2,)})
    (tmp_path / "t.npz.parts" / "a.npz").write_bytes(b"PK half")
    with pytest.raises(UserError, match=r"part .*a\.npz: it is damaged.*made again"):
        parts.read("a", {"x": (3,)})
    with parts.claim("b") as mine, parts.claim("b") as other:
        assert mine and not other
    with parts.claim("b") as mine:
        assert mine


def test_latencies_are_measured_in_parts_at_the_speed_of_the_first(tmp_path, monkeypatch):
    asked = []

    def measure(space, networks, known, config, *, seed, progress):
        asked.append((networks.tolist(), None if known is None else known.latencies_ms.tolist()))
        samples = [Sample(1.0 + row.sum(), 0.1, 3) for row in networks]
        return Measured(samples, samples, 1.0)

    monkeypatch.setattr(latencies, "measure_networks", measure)
    monkeypatch.setattr(latencies, "_AT_ONCE", 2)
    networks, parts = SPACE.enumerate()[2:7], Parts(tmp_path / "parts")
    parts.begin({})
    ask = functools.partial(
        latencies.measure_part_by_part, SPACE, networks, CONFIG.profile, parts,
        seed=0, progress=quiet,
    )  # fmt: skip
    found, first_ms = ask(), (1.0 + networks[:2].sum(1)).tolist()
    assert asked == [
        (networks[:2].tolist(), None),
        (networks[2:4].tolist(), first_ms),
        (networks[4:].tolist(), first_ms),
    ]
    np.testing.assert_allclose(found.median_ms, 1.0 + networks.sum(1))
    np.testing.assert_allclose(found.iqr_ms, 0.1)
    assert found.device["batch_size"] == 64 and found.device["runtime"] == "jax"
    (tmp_path / "parts" / "latency-0001.npz").unlink()
    again = ask()
    assert asked[3:] == [(networks[2:4].tolist(), first_ms)]
    np.testing.assert_array_equal(again.median_ms, found.median_ms)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": ()}, "different lengths"),
        ({"epochs": (1, 2, 1)}, "different lengths of training, got"),
        ({"epochs": (0, 2)}, "epochs = .*greater than 0"),
        ({"seeds": 0}, "seeds = 0 .*greater than 0"),
        ({"sample": 0}, "sample = 0"),
        ({"measured": -1}, "measured = -1"),
        ({"chunk": 0}, "chunk = 0"),
    ],
)
def test_settings_out_of_range(changes, said):
    with pytest.raises(UserError, match=said):
        TableSettings(**changes).check()
    assert TableSettings(epochs=(3, 1)).check().epochs == (1, 3)


def test_networks_that_are_built_alike_count_once():
    space = make_space(
        "nasbench201", {"channels": 2, "cells": 1}, input_shape=(8, 8, 1), num_outputs=10,
        off={"*": ("skip_connect", "nor_conv_1x1"), "1<-0": ("none",)},
    )  # fmt: skip
    every = networks_of(space, None, 0)
    listed = space.enumerate()
    assert len(every) == len(np.unique(space.canonical(listed), axis=0)) < len(listed)
    assert space.mask[np.arange(6), every].all(), "what is switched off is not trained"
    some = networks_of(space, 20, 3)
    assert len(np.unique(some, axis=0)) == 20
    assert (some[:, None] == every).all(axis=-1).any(axis=1).all()
    np.testing.assert_array_equal(some, networks_of(space, 20, 3))
    assert (some != networks_of(space, 20, 4)).any()
    with pytest.raises(UserError, match=rf"sample of 9,999 .* has {len(every)}"):
        networks_of(space, 9999, 0)


def test_of_a_large_space_a_sample_is_drawn():
    space = make_space("ofa", {}, input_shape=(32, 32, 3), num_outputs=10)
    found = networks_of(space, 30, 1)
    assert len(np.unique(space.canonical(found), axis=0)) == 30
    with pytest.raises(UserError, match="too many to train: name a sample"):
        networks_of(space, None, 1)
