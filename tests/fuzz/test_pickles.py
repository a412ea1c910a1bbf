"""Pickles and files of torch.save: whole published tables with damaged values and bytes."""

import bz2
import copy
import pickle
import shutil

import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.files.pickles import is_torch, load_pickle, load_torch
from hwnas_jax.tabular import load_benchmark
from tests.cost.test_repositories import _help, _hw_cells
from tests.files.test_pickles import DATA, LONGS, _value, torch_legacy, torch_zip
from tests.fuzz.damage import changed, damaged_bytes, damaged_zip
from tests.fuzz.judge import judge
from tests.tabular.original import epochs_file, packed, pieces, trials
from tests.tabular.test_transnas_epochs import NETWORKS
from tests.tabular.test_trials import CELL_TEXTS


@st.composite
def damaged_values(draw, value):
    """Changes some values or keys of plain values."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        found = changed(draw, found)
    return found


PLAIN = {
    "texts": ["a", "é"],
    "numbers": [1, 2.5, 10**30],
    ("tuple", 1): {"set": None},
    "array": [0.5],
}


def test_plain_values(tmp_path, attack):
    path = tmp_path / "a.pickle"

    def check(drawn):
        value, protocol, small, content = drawn
        if content is None:
            content = pickle.dumps(value, protocol)
            path.write_bytes(bz2.compress(content) if small else content)

            def right(found):
                assert repr(found) == repr(value)

            assert judge("pickle: plain values", lambda: load_pickle(path), right) == "accepted"
        else:
            path.write_bytes(content)
            judge("pickle: damaged bytes", lambda: load_pickle(path))

    array = PLAIN | {"array": np.arange(5.0), "more": np.array(["a", "b"])}
    contents = [pickle.dumps(array, protocol) for protocol in range(6)]
    contents += [bz2.compress(contents[2]), bz2.compress(contents[4])]
    good = st.tuples(damaged_values(PLAIN), st.integers(0, 5), st.booleans(), st.none())
    bad = st.sampled_from(contents).flatmap(damaged_bytes)
    attack(good | st.tuples(st.none(), st.just(0), st.just(False), bad), check, examples=150)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_tensors(tmp_path, attack, form):
    path = tmp_path / "a.pt"
    write = {"zip": torch_zip, "legacy": torch_legacy}[form]
    write(path, _value(*([] if form == "zip" else [None])), {"0": DATA, "1": LONGS})
    content = path.read_bytes()

    def check(damaged):
        path.write_bytes(damaged)

        def call():
            is_torch(path)
            return load_torch(path)

        judge(f"pickle: tensors in a {form}", call)

    attack((damaged_zip if form == "zip" else damaged_bytes)(content), check, examples=120)


def _latencies(table):
    """Returns what a table says, once it is such as any stage can use."""
    for values in table.values.values():
        assert values.shape == (len(table.devices), len(table.architectures))
        assert (np.isnan(values) | (np.isfinite(values) & (values > 0))).all()
    assert len(np.unique(table.architectures, axis=0)) == len(table.architectures)


def test_costs_of_hw_nas_bench(tmp_path, attack):
    path = tmp_path / "a.pickle"
    good = {"nasbench201": {"cifar10": {
        key: column if key == "config" else [float(value) for value in column]
        for key, column in _hw_cells().items()
    }}}  # fmt: skip

    def check(value):
        path.write_bytes(pickle.dumps(value))

        def right(table):
            _latencies(table)
            cells = next(iter(value["nasbench201"].values()))
            for device in table.devices:
                listed = cells.get(f"{device}_latency")
                if not isinstance(listed, list):
                    continue
                column = table.values["latency_ms"][table.row(device)]
                assert [float(one) for one in listed] == column.tolist()

        judge("pickle: HW-NAS-Bench", lambda: load_table(path), right)

    attack(damaged_values(good), check, examples=100)


def test_costs_of_help(tmp_path, attack):
    _help(tmp_path / "good")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    good = tmp_path / "good" / "data"
    files = sorted(path.relative_to(good) for path in good.rglob("*.pt"))
    values = {
        "nasbench201/latency/fpga.pt": [float(v) for v in range(1, 21)],
        "fbnet/metainfo.pt": load_torch(good / "fbnet/metainfo.pt"),
        "ofa/ofa_archs.pt": load_torch(good / "ofa/ofa_archs.pt"),
        "nasbench201/str_arch2idx.pt": load_torch(good / "nasbench201/str_arch2idx.pt"),
    }

    def check(drawn):
        name, value, content = drawn
        path = tmp_path / "bad" / "data" / name
        whole = path.read_bytes()
        if content is None:
            torch_zip(path, value, {})
        else:
            path.write_bytes(content)
        task = str(name).partition("/")[0]
        judge("pickle: HELP", lambda: load_table(tmp_path / "bad", task=task), _latencies)
        path.write_bytes(whole)

    one = st.sampled_from(sorted(values)).flatmap(
        lambda name: st.tuples(st.just(name), damaged_values(values[name]), st.none())
    )
    other = st.sampled_from(files).flatmap(
        lambda name: st.tuples(
            st.just(str(name)), st.none(), damaged_zip((good / name).read_bytes())
        )
    )
    attack(one | other, check, examples=40)


def _shares(bench):
    assert bench.known > 0
    for name, table in bench.metrics.items():
        if "accuracy" in name:
            for values in map(np.asarray, jax.tree.leaves(table)):
                if values.dtype.kind == "f":
                    fine = np.isnan(values) | ((values >= 0) & (values <= 1))
                    assert fine.all(), f"{name}: {values}"


LENGTHS = {"12": 2, "200": 3}


@pytest.mark.parametrize("form", ["packed", "zip", "legacy", "folder"])
def test_trainings_of_nats_bench(tmp_path, attack, form):
    good = trials(CELL_TEXTS[:3], LENGTHS)
    good["evaluated_indexes"] = [0, 1, 2]
    path = tmp_path / "file"

    def check(value):
        if form == "folder":
            shutil.rmtree(path, ignore_errors=True)
            if not isinstance(value, dict) or not isinstance(value.get("arch2infos"), dict):
                return
            if not all(isinstance(key, int) for key in value["arch2infos"]):
                return
            pieces(path, value)
        elif form == "packed":
            packed(path, value)
        else:
            {"zip": torch_zip, "legacy": torch_legacy}[form](path, value, {})
        judge(f"pickle: NATS-Bench {form}", lambda: load_benchmark(path), _shares)

    attack(damaged_values(good), check, examples=40)


def test_epochs_of_transnas_bench(tmp_path, attack):
    good, path = epochs_file(NETWORKS), tmp_path / "t.pth"

    def check(value):
        torch_zip(path, value, {})
        judge("pickle: TransNAS-Bench-101", lambda: load_benchmark(path), _shares)

    attack(damaged_values(good), check, examples=60)
