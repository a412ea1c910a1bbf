"""TransNAS-Bench-101's macro networks: a made-up file, damaged ones, the published one."""

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz
from hwnas_jax.search.evaluators import Bench, check_evaluator
from hwnas_jax.spaces import make_space
from hwnas_jax.tabular import Table, known_networks, load_benchmark, look_up
from hwnas_jax.tabular.transnas_macro import macro_networks
from hwnas_jax.tasks import Classification
from tests.tabular.tables import written

SPACE = macro_networks()


def macro_arrays(count=50, **changes):
    """Some networks in the published format, with made-up results."""
    rng = np.random.default_rng(2)
    rows = rng.permutation(SPACE.enumerate())[:count]
    digits = ["".join("1234"[option] for option in row if option < 4) for row in rows]
    arrays = {"modules": np.array(digits)}
    for column, low, high in (
        ("class_scene_valid_top1", 40, 60), ("class_scene_test_top1", 40, 70),
        ("normal_valid_ssim", 0.4, 0.7), ("normal_test_ssim", 0.4, 0.7),
        ("normal_train_time_s", 1e4, 9e4),
    ):  # fmt: skip
        arrays[column] = rng.uniform(low, high, count).astype(np.float32)
    return {key: array for key, array in (arrays | changes).items() if array is not None}


def test_networks_by_their_digits(tmp_path):
    arrays = macro_arrays()
    table = load_benchmark(written(tmp_path / "macro.npz", arrays), data_set="normal")
    assert table.known == 50 and table.source == "macro.npz:normal"
    assert (table.select(), table.report) == ("validation_ssim", "test_ssim")
    rows = np.stack([SPACE.from_string(f"64-{digits}-basic") for digits in arrays["modules"]])
    found = look_up(table.space, table.metrics, rows)
    np.testing.assert_allclose(found["validation_ssim"], arrays["normal_valid_ssim"], rtol=1e-6)
    np.testing.assert_allclose(found["test_ssim"], arrays["normal_test_ssim"], rtol=1e-6)
    seconds = look_up(table.space, {"s": table.seconds()}, rows)["s"]
    np.testing.assert_array_equal(seconds, arrays["normal_train_time_s"])
    scenes = load_benchmark(tmp_path / "macro.npz")
    assert scenes.source == "macro.npz:class_scene" and scenes.seconds() is None
    # What the decisions allow for and the space does not is no network.
    gap = jnp.array([[0, 1, 2, 3, 4, 0]])
    assert not SPACE.feasible(np.asarray(gap))[0]
    assert np.isnan(look_up(table.space, table.metrics, gap)["test_ssim"][0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modules": np.array(["4111"] * 50)}, r"row \[1\] is the same architecture as row \[0\]"),
        (
            {"modules": np.array(["4111", "1111"] * 25)},
            r"row \[1\]: 1111-- is no network of transnas",
        ),
        ({"modules": np.array(["4111", "411"] * 25)}, r"row \[1\]: '64-411-basic' has 3 modules"),
        (
            {"modules": np.array(["4111", "4151"] * 25)},
            r"row \[1\]: '64-4151-basic' is no transnas",
        ),
        ({"modules": np.arange(50)}, "modules, a list of texts, is missing"),
        ({"normal_test_ssim": np.full(50, 1.5)}, r"row \[0\]: test_ssim must be .*got 1.5"),
        ({"normal_test_ssim": np.ones(49)}, r"test_ssim must be float\[50\]"),
        (
            {"normal_train_time_s": np.full(50, -1.0)},
            r"row \[0\]: seconds of training must be .*-1",
        ),
        ({"normal_train_time_s": np.full(50, np.nan)}, r"row \[0\]: seconds of training .*nan"),
    ],
)
def test_networks_that_cannot_be(tmp_path, changes, said):
    path = written(tmp_path / "bad.npz", macro_arrays(**changes))
    with pytest.raises(UserError, match=rf"(?s)benchmark .*bad\.npz: .*{said}"):
        load_benchmark(path, data_set="normal")


def test_a_search_of_the_packages_space_is_looked_up(tmp_path):
    path = str(written(tmp_path / "macro.npz", macro_arrays()))
    small = make_space(
        "transnas_macro", {"channels": 4, "halvings": 4, "stem_halvings": 0},
        input_shape=(16, 16, 1), num_outputs=3,
    )  # fmt: skip
    bench = Bench(small, Classification())
    assert check_evaluator(Table(path, data_set="normal"), bench)
    table = load_benchmark(path, data_set="normal")
    networks, values = known_networks(table, small)
    assert len(networks) == 50 and not np.isnan(values).any()
    short = make_space("transnas_macro", {"most": 5}, input_shape=(64, 64, 3), num_outputs=3)
    with pytest.raises(UserError, match="is of transnas_macro, whose decisions are module1 of 4"):
        Table(path, data_set="normal").arrays(Bench(short, Classification()))


@pytest.mark.parametrize(
    ("task", "best", "digits"),
    [
        ("class_object", 0.4796, "21231"), ("class_scene", 0.5748, "224131"),
        ("jigsaw", 0.9702, "2243"), ("segmentsemantic", 0.2966, "211314"),
        ("normal", 0.6435, "224111"), ("autoencoder", 0.7688, "221113"),
        ("room_layout", -0.5628, "22333"),
    ],
)  # fmt: skip
def test_the_published_networks(shared, task, best, digits):
    table = load_benchmark(shared / "transnas101_macro.npz", data_set=task)
    assert table.known == 3_256
    networks, values = known_networks(table, table.space)
    np.testing.assert_array_equal(networks, table.space.enumerate())
    assert not np.isnan(values).any()
    column = table.metrics[table.select()]
    assert np.nanmax(column) == pytest.approx(best, abs=5e-5)
    row = table.space.from_string(f"64-{digits}-basic")[None]
    found = look_up(table.space, table.metrics, row)[table.select()]
    assert float(found[0]) == np.nanmax(column)
    arrays = read_npz(shared / "transnas101_macro.npz")
    seconds = table.seconds()
    assert np.nansum(seconds.astype(float)) == pytest.approx(
        arrays[f"{task}_train_time_s"].astype(float).sum()
    )


def test_the_published_cells_tell_their_seconds(shared):
    table = load_benchmark(shared / "transnas101_micro.npz", data_set="jigsaw")
    arrays = read_npz(shared / "transnas101_micro.npz")
    # The file is in the order of the architectures' numbers, so it is the column itself.
    np.testing.assert_array_equal(table.seconds(), arrays["jigsaw_train_time_s"])
    for name in ("nb201_accuracy", "nasbench_macro_cifar10", "nats_size_cifar10"):
        assert load_benchmark(shared / f"{name}.npz").seconds() is None
