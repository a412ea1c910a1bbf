"""Accel-NASBench as a table of costs and as a benchmark: made-up files, and the published one."""

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.files.readers import load_observations, load_table
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz
from hwnas_jax.search.evaluators import Bench, check_evaluator
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core import published
from hwnas_jax.tabular import Table, load_benchmark, look_up
from hwnas_jax.tasks import Classification

SPACE = published.accel_nasbench()
NAMES = [decision.name for decision in SPACE.decisions]


def accel_arrays(count=30, **changes):
    """Some networks in the published format; the last is the first once more, measured again."""
    rng = np.random.default_rng(4)
    rows = np.unique(SPACE.random(rng, count - 1), axis=0)
    rows = np.concatenate([rows, rows[:1]])
    values = [[int(option) for option in SPACE.to_names(row).values()] for row in rows]
    arrays = {"names": np.array(NAMES), "architecture": np.array(values, np.int8)}
    for column, low, high in (
        ("top1", 40, 70), ("train_time_s", 1e3, 3e4), ("throughput_a100_images_per_s", 4e3, 3e4),
        ("throughput_tpuv3_images_per_s", 600, 1700), ("throughput_zcu102_images_per_s", 80, 900),
        ("latency_zcu102_ms", 2, 20), ("throughput_a100_images_per_s_std", 1, 9),
    ):  # fmt: skip
        arrays[column] = rng.uniform(low, high, count).astype(np.float32)
    return {key: array for key, array in (arrays | changes).items() if array is not None}


def written(path, **changes):
    np.savez(path, **accel_arrays(**changes))
    return path


def encoded(arrays):
    names = arrays["names"].tolist()
    return np.stack(
        [
            SPACE.from_names(dict(zip(names, map(str, row), strict=True)))
            for row in arrays["architecture"].tolist()
        ]
    )


def test_throughputs_become_the_time_per_image(tmp_path):
    arrays = accel_arrays()
    table = load_table(written(tmp_path / "a.npz"))
    assert table.devices == ("a100", "tpuv3", "zcu102_throughput", "zcu102")
    assert table.space.spec == SPACE.spec and len(table.architectures) == 29
    rows = encoded(arrays)
    for device, column in (
        ("a100", 1e3 / arrays["throughput_a100_images_per_s"].astype(float)),
        ("zcu102", arrays["latency_zcu102_ms"].astype(float)),
    ):
        seen = table.observations(device)
        found = {tuple(r): v for r, v in zip(seen.architectures.tolist(),
                                             seen.values["latency_ms"], strict=True)}  # fmt: skip
        for row, value in list(zip(rows.tolist(), column, strict=True))[1:-1]:
            assert found[tuple(row)] == pytest.approx(value, rel=1e-6)
    # The network that was measured twice has the mean of what was measured.
    first = (table.architectures == rows[0]).all(axis=1)
    quick = arrays["throughput_a100_images_per_s"].astype(float)[[0, -1]].mean()
    assert table.values["latency_ms"][0, first] == pytest.approx(1e3 / quick)
    notes = "\n".join(table.notes)
    assert "a100, tpuv3, zcu102_throughput: latency_ms is 1000 / throughput" in notes
    assert "networks that are in the file twice, with the mean of both: 1" in notes


def test_what_the_input_path_bounds_and_what_is_missing_is_left_out(tmp_path):
    quick = np.linspace(600, 1803, 30).astype(np.float32)
    missing = np.full(30, 9000, np.float32)
    missing[[2, 5]] = np.nan
    table = load_table(
        written(
            tmp_path / "a.npz", throughput_tpuv3_images_per_s=quick,
            throughput_a100_images_per_s=missing,
        )
    )  # fmt: skip
    seen = table.observations("tpuv3").values["latency_ms"]
    # 1712.85 is 95 % of 1803; the mean of the first and the last row is below it.
    assert len(seen) == (quick[:-1] <= 1712.85).sum() < 29
    assert seen.min() >= 1e3 / 1712.85
    assert len(table.observations("a100")) == 27
    notes = "\n".join(table.notes)
    assert f"bounds them at 1803: {29 - len(seen)}" in notes
    assert f"networks without a value, of 29: a100 2, tpuv3 {29 - len(seen)}" in notes
    # Only the TPUs were read through that input path.
    assert "a100: " not in notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": np.array(["a"] * 28)}, "names must be block0_e, block0_k"),
        ({"names": np.arange(28)}, "names, a list of texts, is missing"),
        ({"architecture": np.ones((30, 27), int)}, r"whole numbers \[N, 28\], got int64\[30, 27\]"),
        ({"architecture": np.ones((30, 28))}, "whole numbers .* got float64"),
        ({"architecture": np.full((30, 28), 9)}, r"unknown option of block0_e in row \[0\] '9'"),
        ({"throughput_a100_images_per_s": np.zeros(30)}, r"row \[0\]: .*must be positive, got 0"),
        ({"throughput_a100_images_per_s": np.full(30, -1.0)}, r"row \[0\]: .*got -1"),
        ({"latency_zcu102_ms": np.full(30, np.inf)}, r"row \[0\]: latency_zcu102_ms .*got inf"),
        ({"latency_zcu102_ms": np.ones(29)}, "latency_zcu102_ms has 29 values for 30 networks"),
        ({name: None for name in accel_arrays() if "_s" in name or "_ms" in name},
         "no column such as throughput_a100_images_per_s"),
    ],
)  # fmt: skip
def test_costs_that_cannot_be(tmp_path, changes, said):
    path = written(tmp_path / "bad.npz", **changes)
    with pytest.raises(UserError, match=rf"(?s)bad\.npz: .*{said}"):
        load_table(path)


def test_names_may_stand_in_any_order(tmp_path):
    arrays = accel_arrays()
    order = np.random.default_rng(0).permutation(28)
    table = load_table(
        written(
            tmp_path / "a.npz", names=arrays["names"][order],
            architecture=arrays["architecture"][:, order],
        )
    )  # fmt: skip
    np.testing.assert_array_equal(table.architectures, np.unique(encoded(arrays), axis=0))


def test_accuracies_are_looked_up_and_most_networks_are_unknown(tmp_path):
    arrays = accel_arrays()
    table = load_benchmark(written(tmp_path / "a.npz"), data_set="imagenet")
    assert table.known == 29 and table.report == "test_accuracy"
    rows = encoded(arrays)
    found = look_up(table.space, table.metrics | {"s": table.seconds()}, jnp.asarray(rows))
    for name, column, scale in (("test_accuracy", "top1", 100), ("s", "train_time_s", 1)):
        expected = arrays[column].astype(float) / scale
        expected[[0, -1]] = expected[[0, -1]].mean()
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    strangers = SPACE.random(np.random.default_rng(9), 200)
    found = look_up(table.space, table.metrics, strangers)["test_accuracy"]
    assert np.isnan(found).all()
    with pytest.raises(UserError, match="has no accuracy on validation images"):
        table.select()
    with pytest.raises(UserError, match=r"unknown data set of a\.npz 'cifar10'"):
        load_benchmark(tmp_path / "a.npz", data_set="cifar10")
    bench = Bench(table.space, Classification())
    method = Table(str(tmp_path / "a.npz"), data_set="imagenet", split="test")
    assert check_evaluator(method, bench)
    mnasnet = make_space("mnasnet", {}, input_shape=(32, 32, 3), num_outputs=3)
    with pytest.raises(UserError, match="is of accel_nasbench, whose decisions are block0_e of 3"):
        method.arrays(Bench(mnasnet, Classification()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top1": None}, "top1, an array of numbers with 1 axes, is missing"),
        ({"top1": np.full(30, np.nan)}, "top1 must have a number .*30 of them NaN"),
        ({"top1": np.full(29, 50.0)}, "top1 must have a number for each of 30 networks, got 29"),
        ({"top1": np.full(30, 101.0)}, r"row \[0\]: test_accuracy must be .*got 101"),
        ({"top1": np.full(30, 0.5)}, "at most 0.5: percent"),
        ({"train_time_s": np.full(30, -5.0)}, r"row \[0\]: seconds of training must be .*-5"),
    ],
)
def test_accuracies_that_cannot_be(tmp_path, changes, said):
    path = written(tmp_path / "bad.npz", **changes)
    with pytest.raises(UserError, match=rf"(?s)benchmark .*bad\.npz: .*{said}"):
        load_benchmark(path)


def test_the_published_networks(shared):
    path = shared / "accel_nasbench.npz"
    arrays = read_npz(path)
    assert len(arrays["architecture"]) == 5_138
    benchmark = load_benchmark(path)
    assert benchmark.known == len(np.unique(arrays["architecture"], axis=0)) == 5_125
    best = np.argmax(arrays["top1"])
    row = encoded({"names": arrays["names"], "architecture": arrays["architecture"][[best]]})
    found = look_up(benchmark.space, benchmark.metrics, row)["test_accuracy"]
    assert float(found[0]) == pytest.approx(0.67052, abs=1e-6)
    assert benchmark.metrics["test_accuracy"].values.max() == found[0]
    table = load_table(path)
    assert len(table.devices) == 8
    # Networks that were measured twice come with their means, so that counts differ from the rows.
    assert len(table.observations("a100")) == 5_125
    assert len(table.observations("zcu102")) == len(table.observations("vck190")) == 5_123
    tpu = load_observations(path, device="tpuv3").observations.values["latency_ms"]
    assert len(tpu) == 5_000 and 1e3 / tpu.min() < 0.95 * 1803.4
    # Multiply-adds and the time on a GPU go together.
    rows = encoded(arrays)
    seen = table.observations("a100")
    times = dict(zip(map(tuple, seen.architectures.tolist()), seen.values["latency_ms"],
                     strict=True))  # fmt: skip
    told = np.array([times[tuple(row)] for row in rows.tolist()])
    assert np.corrcoef(arrays["macs_m"], told)[0, 1] > 0.8
