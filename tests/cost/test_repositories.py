"""The published repositories' own files: HW-NAS-Bench's pickle and HELP's folders."""

import pickle

import numpy as np
import pytest

from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.core import published
from tests.cost.test_readers import CELLS, ROWS
from tests.files.test_pickles import LONGS, Runs, _Tensor, storage, torch_zip

METRICS = ("edgegpu_latency", "edgegpu_energy", "pixel3_latency", "eyeriss_arithmetic_intensity")


def _hw_cells(count=6):
    rng = np.random.default_rng(3)
    table = {name: [np.float64(v) for v in rng.uniform(1, 9, count)] for name in METRICS}
    table["config"] = [
        {"name": "infer.tiny", "C": 16, "N": 5, "arch_str": CELLS.to_string(row), "num_outputs": 10}
        for row in ROWS[:count]
    ]
    return table


def _write(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_hw_nas_bench_cells(tmp_path, protocol):
    cells = _hw_cells()
    numbered = {
        key: dict(enumerate(column)) if key == "config" else np.array(column)
        for key, column in cells.items()
    }
    content = {"nasbench201": {"cifar10": cells, "ImageNet16-120": numbered}}
    path = _write(tmp_path / "HW-NAS-Bench-v1_0.pickle", content, protocol)
    for task, shape in ((None, [32, 32, 3]), ("nasbench201/ImageNet16-120", [16, 16, 3])):
        table = load_table(path, task=task)
        assert table.space.spec["input_shape"] == shape
        np.testing.assert_array_equal(table.architectures, ROWS[:6])
        assert table.devices == ("edgegpu", "pixel3")
        np.testing.assert_array_equal(
            table.values["energy_mj"][0], np.array(cells["edgegpu_energy"])
        )
        assert np.isnan(table.values["energy_mj"][1]).all()
        assert table.observations("pixel3").metrics == ("latency_ms",)
    with pytest.raises(UserError, match=r"Did you mean 'nasbench201/cifar10'\?"):
        load_table(path, task="cifar10")


def _broken(change):
    cells = _hw_cells()
    change(cells)
    return {"nasbench201": {"cifar10": cells}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"other": 1}, "not HW-NAS-Bench"),
        ([1, 2], "not HW-NAS-Bench"),
        (_broken(lambda c: c.pop("config")), "config must be a list"),
        (_broken(lambda c: c["config"].pop()), "6 values for 5 networks"),
        (
            _broken(lambda c: c["config"][3].pop("arch_str")),
            r"row \[3\]: its config has no arch_str",
        ),
        (
            _broken(lambda c: c["config"][3].update(arch_str="|a~0|")),
            r"row \[3\]: .*no nasbench201",
        ),
        (_broken(lambda c: c["pixel3_latency"].__setitem__(2, -1)), r"row \[2\]: .*pixel3.*-1"),
        (
            _broken(lambda c: c["pixel3_latency"].__setitem__(2, np.nan)),
            r"row \[2\]: .*not a number",
        ),
        (_broken(lambda c: c["pixel3_latency"].__setitem__(2, "1s")), "pixel3_latency"),
        (
            _broken(lambda c: c["pixel3_latency"].__setitem__(2, None)),
            "pixel3_latency: a value in it is of another kind than it should be",
        ),
        (_broken(lambda c: c.update(config=None)), "config must be a list, got nothing"),
        (_broken(lambda c: c.update({m: 1 for m in METRICS[:3]})), "must be a list"),
        (_broken(lambda c: c.update(extra=Runs(print, "run"))), r"\.print.*nothing of it was run"),
    ],
)
def test_a_bad_pickle_is_named(tmp_path, value, said, capsys):
    path = _write(tmp_path / "hw.pickle", value)
    with pytest.raises(UserError, match=rf"hw\.pickle: .*{said}"):
        load_table(path)
    assert capsys.readouterr().out == ""


def _fbnet_names(size, stride_init, strides, last, classes):
    """Every block of FBNet's space by the name that HW-NAS-Bench has for it, per position."""
    rest = [f"ConvNorm_H{size}_W{size}_Cin3_Cout16_kernel3_stride{stride_init}_group1"]
    size, before, positions = size // stride_init, 16, []
    for width, depth, stage_stride in zip(
        [16, 24, 32, 64, 112, 184, 352], [1, 4, 4, 4, 4, 4, 1], strides, strict=True
    ):
        for i in range(depth):
            stride = stage_stride if i == 0 else 1
            shape = f"H{size}_W{size}_Cin{before}_Cout{width}"
            names = [
                f"ConvBlock_{shape}_exp{e}_kernel{k}_stride{stride}_group{g}"
                for k in (3, 5)
                for e, g in ((1, 1), (1, 2), (3, 1), (6, 1))
            ]
            positions.append([*names, f"Skip_{shape}_stride{stride}"])
            before, size = width, size // stride
    rest.append(f"ConvNorm_H{size}_W{size}_Cin352_Cout{last}_kernel1_stride1_group1")
    rest.append(f"AvgP_H{size}_W{size}_Cin{last}_Cout{last}_kernel{size}_stride1")
    rest.append(f"FC_Cin{last}_Cout{classes}")
    return positions, rest


CIFAR = _fbnet_names(32, 1, [1, 1, 2, 2, 1, 2, 1], 1504, 100)
IMAGENET = _fbnet_names(224, 2, [1, 2, 2, 2, 1, 2, 1], 1984, 1000)


def test_hw_nas_bench_fbnet_adds_up_its_blocks(tmp_path):
    rng = np.random.default_rng(5)
    names = {n for table in (CIFAR, IMAGENET) for row in (*table[0], table[1]) for n in row}
    costs = {
        key: {name: float(rng.uniform(0.1, 2)) for name in sorted(names)}
        for key in ("edgegpu_latency", "edgegpu_energy", "fpga_latency")
    }
    path = _write(tmp_path / "hw.pickle", {"fbnet": costs})
    for data_set, (positions, rest) in (("cifar100", CIFAR), ("ImageNet", IMAGENET)):
        found = load_table(path, task=f"fbnet/{data_set}")
        some = rng.choice(len(found.architectures), 30, replace=False)
        drawn = found.architectures[some]
        for key, device, metric in (("fpga_latency", "fpga", "latency_ms"),
                                    ("edgegpu_energy", "edgegpu", "energy_mj")):  # fmt: skip
            expected = [
                sum(costs[key][positions[i][op]] for i, op in enumerate(row))
                + sum(costs[key][name] for name in rest)
                for row in drawn
            ]
            np.testing.assert_allclose(found.values[metric][found.row(device)][some], expected)
    table = load_table(path, task="fbnet/ImageNet")
    assert table.values["latency_ms"].shape == (2, 5000)
    del costs["fpga_latency"][CIFAR[0][4][8]]
    _write(path, {"fbnet": costs})
    with pytest.raises(UserError, match=r"fpga_latency: there is no block 'Skip_H32_W32_Cin24"):
        load_table(path)


def _help(folder):
    """The three folders of HELP, small."""
    latencies = {"fpga": [float(v) for v in range(1, 21)], "1080ti_1": None}
    values = np.arange(20, dtype="<f8") + 0.5
    tensor = _Tensor(storage("0", "DoubleStorage", 20), 0, (20,), (1,))
    rng = np.random.default_rng(2)
    blocks = published.fbnet().random(rng, 20)
    ofa = published.OnceForAll().random(rng, 20)
    sizes = [[int(o) for o in published.OnceForAll().to_names(row).values()] for row in ofa]
    archs = {
        "nasbench201/str_arch2idx.pt": {CELLS.to_string(r): i for i, r in enumerate(ROWS)},
        "fbnet/metainfo.pt": {"arch": [{"op_idx_list": [int(b) for b in r]} for r in blocks]},
        "ofa/ofa_archs.pt": {
            "arch": [
                {"ks": s[:20], "e": s[20:40], "d": s[40:45], "r": s[45]} for s in sizes
            ]
        },
    }  # fmt: skip
    for name, value in archs.items():
        place = folder / "data" / name
        (place.parent / "latency").mkdir(parents=True)
        torch_zip(place, value, {})
        for device, numbers in latencies.items():
            path = place.parent / "latency" / f"{device}.pt"
            torch_zip(path, numbers or tensor, {} if numbers else {"0": values})
        longs = _Tensor(storage("1", "LongStorage", 4), 0, (4,), (1,))
        torch_zip(place.parent / "hardware_embedding_index.pt", longs, {"1": LONGS})
    return {"nasbench201": ROWS, "fbnet": blocks, "ofa": ofa}


def test_the_folders_of_help(tmp_path):
    expected = _help(tmp_path)
    for task, rows in expected.items():
        for place in (tmp_path, tmp_path / "data", tmp_path / "data" / task):
            table = load_table(place, task=task)
            np.testing.assert_array_equal(table.architectures, rows)
            assert table.devices == ("1080ti_1", "fpga") and table.references == (0, 1, 2, 3)
            np.testing.assert_array_equal(table.values["latency_ms"][0], np.arange(20) + 0.5)
            np.testing.assert_array_equal(table.values["latency_ms"][1], np.arange(1, 21))
    assert load_table(tmp_path).space.spec == CELLS.spec
    assert load_table(tmp_path).splits == {"train": ("1080ti_1",), "test": ("fpga",)}
    with pytest.raises(UserError, match="Did you mean 'fbnet'"):
        load_table(tmp_path, task="fbent")


@pytest.mark.parametrize(
    ("file", "value", "said"),
    [
        ("latency/fpga.pt", [1.0] * 19, r"fpga\.pt: 19 latencies for 20"),
        ("latency/fpga.pt", [1.0] * 19 + [-1.0], r"row \[19\]: latency_ms of fpga .*-1"),
        ("latency/fpga.pt", [1.0] * 19 + [float("nan")], r"row \[19\]: .*not a number"),
        ("latency/fpga.pt", {"a": 1}, r"fpga\.pt: it must hold a list of numbers"),
        ("latency/fpga.pt", ["a"] * 20, r"fpga\.pt: it must hold a list of numbers"),
        ("latency/fpga.pt", Runs(print, "run"), r"fpga\.pt: it names .*print"),
        ("str_arch2idx.pt", {"|a~0|": 0}, r"str_arch2idx\.pt: .*no nasbench201 cell"),
        ("str_arch2idx.pt", {CELLS.to_string(ROWS[0]): 3}, "not numbered"),
        ("str_arch2idx.pt", [1, 2], "does not hold architectures"),
        (
            "str_arch2idx.pt",
            {CELLS.to_string(ROWS[0]): float("inf")},
            "does not hold architectures",
        ),
        ("latency/fpga.pt", [1.0] * 19 + [10**400], r"fpga\.pt: it must hold a list of numbers"),
        ("hardware_embedding_index.pt", [99], r"none of 0\.\.19"),
    ],
)
def test_a_bad_file_of_help_is_named(tmp_path, file, value, said, capsys):
    _help(tmp_path)
    torch_zip(tmp_path / "data" / "nasbench201" / file, value, {})
    with pytest.raises(UserError, match=said):
        load_table(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wrong", [1.5, 1e300, 2**70, None])
def test_blocks_of_help_are_whole_numbers(tmp_path, wrong):
    _help(tmp_path)
    networks = {"arch": [{"op_idx_list": [wrong] + [0] * 21}]}
    torch_zip(tmp_path / "data" / "fbnet" / "metainfo.pt", networks, {})
    with pytest.raises(
        UserError, match=r"metainfo\.pt: .*architectures: they are no whole numbers"
    ):
        load_table(tmp_path, task="fbnet")
