"""Published tables, as files of their formats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hwnas_jax.cost.files.measurement_file import save_measurements
from hwnas_jax.cost.files.readers import find_data, load_observations, load_table
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Decision
from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.nasbench201 import OPERATIONS
from tests.cost.toy import ToySpace, synthetic
from tests.files.test_pickles import torch_zip
from tests.spaces.contract import mean_of_products

CELLS = published.nasbench201()
OPS = np.array(OPERATIONS)[::-1]  # a file may name its operations in any order
ROWS = np.random.default_rng(0).permutation(CELLS.enumerate())[:20]


def _nb201(path, **changes):
    arrays = {
        "ops": (4 - ROWS).astype(np.uint8), "op_names": OPS, "devices": np.array(["a", "b"]),
        "latency_ms": np.linspace(5, 9, 40, dtype=np.float32).reshape(2, 20),
        "train_devices": np.array(["a"]), "test_devices": np.array(["b"]),
        "ref_idx": np.array([3, 1]),
    }  # fmt: skip
    arrays |= changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def test_a_compact_table_of_cells(tmp_path):
    table = load_table(_nb201(tmp_path / "anything.npz"))
    assert table.space.spec == CELLS.spec
    assert table.devices == ("a", "b") and table.references == (3, 1)
    assert table.splits == {"train": ("a",), "test": ("b",)}
    for row, ops in zip(table.architectures, ROWS, strict=True):
        names = [OPERATIONS[op] for op in ops]
        assert table.space.to_string(row) == (
            f"|{names[0]}~0|+|{names[1]}~0|{names[2]}~1|+|{names[3]}~0|{names[4]}~1|{names[5]}~2|"
        )
    seen = table.observations("b", np.array([4, 2]))
    np.testing.assert_array_equal(seen.values["latency_ms"], table.values["latency_ms"][1, [4, 2]])


def _row(change):
    latencies = np.ones((2, 20), np.float32)
    latencies[1, 7] = change
    return latencies


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latency_ms": _row(0)}, r"row \[7\]: latency_ms of b must be positive.*got 0"),
        ({"latency_ms": _row(-2)}, r"row \[7\]: latency_ms of b .*-2"),
        ({"latency_ms": _row(np.inf)}, r"row \[7\]: latency_ms of b .*inf"),
        ({"latency_ms": _row(np.nan)}, r"row \[7\]: latency_ms is not a number"),
        ({"latency_ms": np.ones((3, 20))}, r"\[3, 20\]; 2 devices and 20"),
        ({"latency_ms": None}, "latency_ms, an array of numbers with 2 axes, is missing"),
        ({"ops": np.repeat(ROWS[:1], 20, 0)}, r"row \[1\] is the same architecture as row \[0\]"),
        ({"ops": np.full((20, 6), 5)}, r"row \[0\]: operation 5 has no name among 5"),
        ({"ops": ROWS[:, :4]}, "has 6 decisions, the file has 4"),
        ({"op_names": np.array([*OPS[:4], "none3"])}, r"row \[\d+\] .*Did you mean 'none'"),
        ({"devices": np.array(["a", "a"])}, "a device appears twice"),
        ({"devices": np.array([{"a": 1}, "b"], object)}, "never Python objects"),
        ({"test_devices": np.array(["c"])}, r"unknown device \(in the split test\) 'c'"),
        ({"ref_idx": np.array([20])}, r"none of 0\.\.19"),
        ({"ref_idx": np.array([1.5])}, "ref_idx must be whole numbers, got float64"),
        ({"ref_idx": np.array([[1]])}, "ref_idx, an array of numbers with 1 axes"),
    ],
)
def test_a_bad_compact_table_is_named_with_its_row(tmp_path, changes, said):
    path = _nb201(tmp_path / "bad.npz", **changes)
    with pytest.raises(UserError, match=rf"(?s)bad\.npz: .*{said}"):
        load_table(path)


def test_cells_without_a_path_are_kept_and_told(tmp_path):
    rows = ROWS.copy()
    rows[5] = 0
    latencies = np.ones((2, 20))
    latencies[0, 5], latencies[1, 5] = 0.001, 0
    table = load_table(
        _nb201(tmp_path / "t.npz", ops=(4 - rows).astype(np.uint8), latency_ms=latencies)
    )
    assert len(table.architectures) == 20
    assert table.values["latency_ms"][0, 5] == 0.001
    told = "\n".join(table.notes)
    assert "1 of 20 architectures have no path from input to output; they are kept" in told
    assert "a: latency_ms of 1 architectures is below 1% of the median, down to 0.001" in told
    assert "b: latency_ms of 1 architectures without a path" in told and "unknown" in told
    assert len(table.observations("b")) == 19 and len(table.observations("a")) == 20


def test_tables_are_found_by_name_in_the_folder_of_data(tmp_path, monkeypatch):
    _nb201(tmp_path / "cells.npz")
    monkeypatch.delenv("HWNAS_DATA", raising=False)
    with pytest.raises(UserError, match=r"no data cells: give a path, or set HWNAS_DATA"):
        load_table("cells")
    monkeypatch.setenv("HWNAS_DATA", str(tmp_path))
    assert find_data("cells") == tmp_path / "cells.npz"
    assert len(load_table("cells.npz").devices) == 2
    with pytest.raises(UserError, match=r"cellz.*did you mean 'cells'\?"):
        load_table("cellz")
    monkeypatch.setenv("HWNAS_DATA", str(tmp_path / "no"))
    with pytest.raises(UserError, match="is no folder"):
        load_table("cells")


def test_damaged_and_foreign_files_are_named(tmp_path):
    whole = _nb201(tmp_path / "t.npz").read_bytes()
    for content in (whole[:50], whole[: len(whole) // 2], b"PK\x03\x04", b"", b"\xff\xfe"):
        (tmp_path / "t.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"t\.npz"):
            load_table(tmp_path / "t.npz")
    with pytest.raises(UserError, match=r"no folder of HELP"):
        load_table(tmp_path)
    torch_zip(tmp_path / "one.pt", [1.0], {})
    with pytest.raises(UserError, match=r"one\.pt: it is one file of torch\.save"):
        load_table(tmp_path / "one.pt")
    with pytest.raises(UserError, match="no tasks"):
        load_table(_nb201(tmp_path / "u.npz"), task="cifar10")


def test_a_zip_file_of_a_later_version_is_told(tmp_path):
    path = _nb201(tmp_path / "t.npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 100
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.npz: it is damaged.*version 10\.0"):
        load_table(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": np.array([], str)}, "its list of tasks is empty"),
        ({"tasks": np.array(["cifar100"])}, r"latency_ms has shape \[2, 2, 20\].* 1 tasks and 2 b"),
        ({"backends": np.array(["a"])}, r"latency_ms has shape \[2, 2, 20\].* 2 tasks and 1 b"),
    ],
)
def test_tables_of_tasks_fit_their_lists(tmp_path, changes, said):
    arrays = {"tasks": np.array(["cifar100", "darcy"]), "backends": np.array(["a", "b"])}
    latencies = np.ones((2, 2, 20))
    path = _nb201(tmp_path / "t.npz", devices=None, latency_ms=latencies, **arrays | changes)
    with pytest.raises(UserError, match=said):
        load_table(path)


def test_the_real_tables_are_those_that_were_published(shared):
    table = load_table(shared / "nb201_latency_help.npz")
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
    first += "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert table.space.to_string(table.architectures[0]) == first
    # HW-NAS-Bench prints these for the first cell.
    for device, ms in (("raspi4", 10.481976820010459), ("pixel3", 3.60585), ("fpga", 2.57296)):
        assert table.values["latency_ms"][table.row(device), 0] == pytest.approx(ms, rel=1e-6)
    assert len(np.unique(table.architectures, axis=0)) == 15625
    assert "341 of 15,625 architectures have no path" in table.notes[0]
    assert len(table.splits["test"]) == 6
    # HELP, table 1: FLOPs under its protocol have Spearman 0.950, 0.826 and 0.765.
    counted = AnalyticModel.count(CELLS)
    macs = predict_architectures(counted, table.architectures, CELLS.num_options)["macs"]
    for device, published_rank in (("titan_rtx_256", 0.950), ("gold_6226", 0.826),
                                   ("pixel2", 0.765)):  # fmt: skip
        latencies = table.values["latency_ms"][table.row(device)]
        kept = 900 + np.argsort(latencies[900:1900])[100:900]
        assert spearmanr(macs[kept], latencies[kept]).statistic == pytest.approx(
            published_rank, abs=0.006
        )


@pytest.mark.parametrize(
    ("name", "task", "shape", "metrics"),
    [
        ("nb201_pi5_pixel", None, (4, 15625), ("latency_ms", "energy_mj")),
        ("nb201_pi5_pixel", "ninapro", (4, 15625), ("latency_ms", "energy_mj")),
        ("nb201_pi5_pixel", "darcy", (4, 15625), ("latency_ms", "energy_mj")),
        ("fbnet_latency_help", None, (27, 5000), ("latency_ms",)),
        ("ofa_latency_help", None, (12, 5000), ("latency_ms",)),
    ],
)
def test_every_real_table_is_read(shared, name, task, shape, metrics):
    table = load_table(shared / f"{name}.npz", task=task)
    assert tuple(table.values) == metrics
    assert table.values["latency_ms"].shape == shape
    assert published.choices_from_spec(table.space.spec).spec == table.space.spec
    again = [table.space.from_string(table.space.to_string(a)) for a in table.architectures[:50]]
    np.testing.assert_array_equal(again, table.architectures[:50])
    assert len(table.observations(table.devices[-1])) == shape[1]
    if "energy_mj" in metrics:
        assert table.observations("pixel/litert").metrics == ("latency_ms",)
        assert table.observations("pi5/onnx").metrics == metrics


def test_once_for_all_beyond_the_depth_is_one_network():
    space = published.OnceForAll()
    names = [decision.name for decision in space.decisions]
    row = space.random(np.random.default_rng(0), 1)[0]
    depths = {f"d{stage}": stage % 3 for stage in range(1, 6)}
    for name, option in depths.items():
        row[names.index(name)] = option
    for block in range(20):
        stage, place = block // 4, block % 4
        built = place < 2 + depths[f"d{stage + 1}"]
        for kind in ("ks", "e"):
            other = row.copy()
            where = names.index(f"{kind}{block + 1}")
            other[where] = (other[where] + 1) % 3
            same = (space.canonical(other[None]) == space.canonical(row[None])).all()
            assert same != built, (block, kind)
    other = row.copy()
    other[names.index("r")] += 1 if row[names.index("r")] == 0 else -1
    assert (space.canonical(other[None]) != space.canonical(row[None])).any()


def test_the_mixture_of_once_for_all_is_the_mean_over_its_networks():
    space = published.OnceForAll()
    rng = np.random.default_rng(1)
    weight = np.where(space.mask, rng.dirichlet(np.ones(space.num_options), 46), 0)
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    functions = rng.uniform(0.5, 1.5, (46, space.num_options))
    found = mean_of_products(space.canonical_mixture(weight), functions)
    draws = (rng.random((40_000, 46, 1)) > weight.astype(float).cumsum(axis=1)[None]).sum(axis=2)
    draws = space.canonical(np.minimum(draws, space.mask.sum(axis=1) - 1))
    samples = functions[np.arange(46), draws].prod(axis=1)
    error = samples.std() / np.sqrt(len(samples))
    assert abs(found - samples.mean()) < 4 * error
    assert error < 0.03 * samples.mean()


def _csv(tmp_path, text, **options):
    (tmp_path / "t.csv").write_text(text)
    return load_table(tmp_path / "t.csv", **options)


CELL = [CELLS.to_string(row) for row in ROWS]


def test_a_csv_of_several_devices(tmp_path):
    table = _csv(
        tmp_path,
        "device,architecture,latency_ms,energy_mj,accuracy\n"
        f"phone,{CELL[0]},5,2,90\nboard,{CELL[0]},50,,90\nphone,{CELL[1]},6,3,91\n",
    )
    assert table.devices == ("phone", "board")
    np.testing.assert_array_equal(table.architectures, ROWS[:2])
    np.testing.assert_array_equal(table.values["latency_ms"], [[5, 6], [50, np.nan]])
    np.testing.assert_array_equal(table.values["energy_mj"], [[2, 3], [np.nan, np.nan]])
    assert table.notes[-1] == "columns left out: accuracy"
    assert len(table.observations("board")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("architecture,latency_ms\nblock0,1\n", "of which space"),
        (f"architecture,latency_h\n{CELL[0]},1\n", "'latency_h' has a unit"),
        (f"architecture,latency_ms\n{CELL[0]},1\n{CELL[1]},0\n", "line 3: latency_ms.*got 0"),
        (f"architecture,latency_ms\n{CELL[0]},1\n{CELL[1]},nan\n", "line 3: latency_ms.*got 'nan'"),
        (f"architecture,latency_ms\n{CELL[0]},5\n{CELL[0]},6\n", "line 3 is the same.*line 2.*6"),
        (f"architecture,latency_ms\n{CELL[0]},5\n{CELL[1]},6000\n{CELL[2]},5\n",
         "line 3: .*in another unit"),
        (f"architecture,latency_ms\n{CELL[0]},5\n{CELL[1][:-6]},6\n", "line 3: .*form is"),
        (f"architecture,latency_ms,device\n{CELL[0]},5,\n", "empty cell"),
        (f"architecture,latency_ms\n{CELL[0]},5\n{CELL[1]}", "line 3: 1 cells"),
        ('architecture,latency_ms\n"|a,5\n', "line 2"),
    ],
)  # fmt: skip
def test_a_bad_csv_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(UserError, match=rf"(?s)t\.csv: .*{said}"):
        _csv(tmp_path, text)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_table_comes_back_from_its_csv(tmp_path_factory, data):
    widths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    space = Choices("drawn", tuple(
        Decision(f"d{i}", tuple(f"o{k}" for k in range(n))) for i, n in enumerate(widths)
    ))  # fmt: skip
    rows = data.draw(st.permutations(list(space.enumerate())))[: data.draw(st.integers(1, 6))]
    costs = st.none() | st.floats(1e-9, 1e9, allow_nan=False)
    lines, values = ["architecture,device,latency_ms"], np.full((2, len(rows)), np.nan)
    for number, row in enumerate(rows):
        for device in range(2):
            value = data.draw(costs)
            values[device, number] = np.nan if value is None else value
            lines.append(f"{space.to_string(row)},{'ab'[device]},{'' if value is None else value}")
    path = tmp_path_factory.mktemp("c") / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    table = load_table(path, space=space)
    np.testing.assert_array_equal(table.architectures, rows)
    np.testing.assert_array_equal(table.values["latency_ms"], values)


def test_measurement_files_are_tables_too(tmp_path):
    space = ToySpace()
    measured = synthetic(space, space.enumerate()[:9])
    for name in ("m.json", "m.csv"):
        save_measurements(measured, tmp_path / name)
        table = load_table(tmp_path / name, space=space)
        assert table.devices == ("cpu",)
        np.testing.assert_array_equal(table.values["latency_ms"][0], measured.latencies_ms)
        seen = load_observations(tmp_path / name, space=space)
        assert set(seen.observations.operations) == {"narrow", "wide", "head"}
        assert "cpu (measured)" in seen.source
    with pytest.raises(UserError, match=r"m\.json.*belong to the space"):
        load_table(tmp_path / "m.json", space=CELLS)


def test_observations_of_a_table_need_a_device(tmp_path):
    path = _nb201(tmp_path / "t.npz")
    with pytest.raises(UserError, match=r"several devices, name one with --device: a, b"):
        load_observations(path)
    assert len(load_observations(path, device="b").observations) == 20
    with pytest.raises(UserError, match=r"unknown device of t\.npz 'c'"):
        load_observations(path, device="c")
    with pytest.raises(UserError, match="belong to the space"):
        load_observations(path, device="a", space=ToySpace())


@pytest.mark.parametrize(
    "space",
    [published.fbnet(), published.OnceForAll(), published.CellChoices("nasbench201_darcy"),
     CELLS, Choices("mine", (Decision("a", ("x", "y")),)),
     published.fbnet().restricted({"block1": ["skip"]}), CELLS.restricted({"*": ["none"]})],
)  # fmt: skip
def test_a_space_is_rebuilt_from_its_description(space):
    again = published.choices_from_spec(space.spec)
    assert type(again) is type(space) and again.spec == space.spec
    for row in space.random(np.random.default_rng(0), 5):
        np.testing.assert_array_equal(again.from_string(space.to_string(row)), row)


@pytest.mark.parametrize(
    "spec", [None, {}, {"name": "x", "decisions": {}}, {"name": 3, "decisions": {"a": ["b"]}},
             {"name": "x", "decisions": {"a": [1]}}, {"name": "x", "decisions": ["a"]}],
)  # fmt: skip
def test_a_damaged_description_is_refused(spec):
    with pytest.raises(UserError, match="description of the space"):
        published.choices_from_spec(spec)
