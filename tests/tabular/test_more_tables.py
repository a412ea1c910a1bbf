"""NATS-Bench size and TransNAS-Bench-101 cells: made-up files, damaged ones, the published ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz
from hwnas_jax.search.evaluators import Bench
from hwnas_jax.spaces import Decision, make_space
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular import (
    Table,
    check_decisions,
    known_networks,
    load_benchmark,
    look_up,
)
from hwnas_jax.tasks import Classification
from tests.tabular.tables import written

OPERATIONS = np.array(["nor_conv_3x3", "none", "skip_connect", "nor_conv_1x1"])


def size_arrays(count=40, **changes):
    """Some networks of NATS-Bench size in the published format, with made-up accuracies."""
    rng = np.random.default_rng(0)
    numbers = rng.choice(8**5, count, replace=False)
    widths = 8 + 8 * np.stack(np.unravel_index(numbers, (8,) * 5), axis=1)
    test = rng.uniform(70, 95, count).astype(np.float32)
    arrays = {"widths": widths.astype(np.uint8), "test_acc": test}
    return {key: array for key, array in (arrays | changes).items() if array is not None}


def cell_arrays(count=60, **changes):
    """Some cells of TransNAS-Bench-101 in the published format, with made-up results."""
    rng = np.random.default_rng(1)
    numbers = rng.choice(4**6, count, replace=False)
    ops = np.stack(np.unravel_index(numbers, (4,) * 6), axis=1)
    arrays = {"ops": ops.astype(np.uint8), "op_names": OPERATIONS}
    for column, low, high in (
        ("class_object_valid_top1", 20, 50), ("class_object_test_top1", 20, 50),
        ("segmentsemantic_valid_mIoU", 5, 30), ("segmentsemantic_test_mIoU", 5, 30),
        ("autoencoder_valid_ssim", -0.1, 0.6), ("autoencoder_test_ssim", -0.1, 0.6),
        ("room_layout_valid_neg_loss", -2, 0), ("room_layout_test_neg_loss", -2, 0),
        ("class_object_train_time_s", 1e3, 1e4),
    ):  # fmt: skip
        arrays[column] = rng.uniform(low, high, count).astype(np.float32)
    return {key: array for key, array in (arrays | changes).items() if array is not None}


def test_networks_by_their_widths(tmp_path):
    arrays = size_arrays()
    table = load_benchmark(written(tmp_path / "size.npz", arrays), data_set="cifar10")
    assert table.known == 40 and set(table.metrics) == {"test_accuracy"}
    rows = np.stack([table.space.from_string("/".join(map(str, row))) for row in arrays["widths"]])
    found = look_up(table.space, table.metrics, jnp.asarray(rows))["test_accuracy"]
    np.testing.assert_allclose(found, arrays["test_acc"] / 100, rtol=1e-6)
    every = look_up(table.space, table.metrics, jnp.asarray(table.space.enumerate()))
    assert np.isnan(every["test_accuracy"]).sum() == 8**5 - 40
    np.testing.assert_array_equal(table.space.canonical(rows), rows)
    with pytest.raises(UserError, match="has no accuracy on validation images"):
        table.select()
    with pytest.raises(UserError, match=r"unknown data set of size\.npz 'cifar100'"):
        load_benchmark(tmp_path / "size.npz", data_set="cifar100")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_acc": None}, "test_acc, an array of numbers with 1 axes, is missing"),
        ({"test_acc": np.full(40, 0.9)}, "at most 0.9: percent from 0 to 100"),
        (
            {"test_acc": np.full(40, np.nan)},
            r"row \[0\]: test_accuracy must be a number of percent",
        ),
        ({"widths": np.full((40, 5), 9, np.uint8)}, r"unknown option of layer1 in row \[0\] '9'"),
        (
            {"widths": np.full((40, 5), 8, np.uint8)},
            r"row \[1\] is the same architecture as row \[0\]",
        ),
        ({"widths": np.full((40, 4), 8, np.uint8)}, "has 5 decisions, the file has 4"),
        ({"widths": np.full((40, 5), 8.0)}, "widths are whole numbers of channels, got float64"),
    ],
)
def test_widths_that_cannot_be(tmp_path, changes, said):
    path = written(tmp_path / "bad.npz", size_arrays(**changes))
    with pytest.raises(UserError, match=rf"(?s)benchmark .*bad\.npz: .*{said}"):
        load_benchmark(path)


@pytest.mark.parametrize(
    ("task", "metric", "column", "scale"),
    [
        ("class_object", "accuracy", "top1", 100),
        ("segmentsemantic", "mean_iou", "mIoU", 100),
        ("autoencoder", "ssim", "ssim", 1),
        ("room_layout", "negative_loss", "neg_loss", 1),
    ],
)
def test_cells_by_task(tmp_path, task, metric, column, scale):
    arrays = cell_arrays()
    table = load_benchmark(written(tmp_path / "cells.npz", arrays), data_set=task)
    assert table.known == 60
    assert (table.select(), table.report) == (f"validation_{metric}", f"test_{metric}")
    decisions = [decision.name for decision in table.space.decisions]
    rows = np.stack(
        [
            table.space.from_names(dict(zip(decisions, OPERATIONS[row], strict=True)))
            for row in arrays["ops"]
        ]
    )
    found = look_up(table.space, table.metrics, jnp.asarray(rows))
    for split, name in (("valid", table.select()), ("test", table.report)):
        np.testing.assert_allclose(
            found[name], arrays[f"{task}_{split}_{column}"] / scale, rtol=1e-5
        )
    with pytest.raises(UserError, match=f"has no {metric} on validation images after 9 epochs"):
        table.select(epochs=9)
    with pytest.raises(UserError, match=r"unknown task of cells\.npz 'object'.*class_object"):
        load_benchmark(tmp_path / "cells.npz", data_set="object")


def _column(name, value):
    return {name: np.full(60, value, np.float32)}


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        (
            "class_object",
            _column("class_object_test_top1", 101),
            r"row \[0\]: test_accuracy.*got 101",
        ),
        ("autoencoder", _column("autoencoder_test_ssim", 1.5), "from -1 to 1, got 1.5"),
        ("room_layout", _column("room_layout_test_neg_loss", 0.5), "from -inf to 0, got 0.5"),
        ("room_layout", _column("room_layout_test_neg_loss", -np.inf), "got -inf"),
        ("class_object", {"ops": None}, "ops, an array of numbers with 2 axes, is missing"),
        ("class_object", {"op_names": OPERATIONS[:3]}, "operation 3 has no name among 3"),
        ("class_object", {"op_names": np.array([*"abc", "none"])}, "row .* '[abc]': allowed are"),
    ],
)
def test_cells_that_cannot_be(tmp_path, task, changes, said):
    path = written(tmp_path / "bad.npz", cell_arrays(**changes))
    with pytest.raises(UserError, match=rf"(?s)benchmark .*bad\.npz: .*{said}"):
        load_benchmark(path, data_set=task)


def test_cells_of_the_packages_space_are_judged_by_the_table(tmp_path):
    path = str(written(tmp_path / "cells.npz", cell_arrays()))
    small = make_space(
        "transnas_cell", {"channels": 4, "macro": "1"}, input_shape=(8, 8, 1), num_outputs=3
    )
    columns = Table(path, data_set="autoencoder").arrays(Bench(small, Classification()))
    ours, theirs = (load_benchmark(path, data_set="autoencoder").metrics[f"{split}_ssim"]
                    for split in ("validation", "test"))  # fmt: skip
    np.testing.assert_array_equal(columns["accuracy_0"], ours)
    np.testing.assert_array_equal(columns["test_accuracy"], theirs)
    with pytest.raises(UserError, match="is of nats_size, whose decisions are layer1 of 8"):
        Table(str(written(tmp_path / "size.npz", size_arrays())), split="test").arrays(
            Bench(small, Classification())
        )


@pytest.mark.parametrize("arrays", [size_arrays(), cell_arrays()], ids=["size", "cells"])
def test_a_file_that_is_cut_short_is_told(tmp_path, arrays):
    path = written(tmp_path / "cut.npz", arrays)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"benchmark .*cut\.npz: it is damaged"):
            load_benchmark(path)


def test_decisions_of_equal_number_and_other_options_are_told():
    theirs = Choices("theirs", (Decision("one", ("a", "b")), Decision("two", ("a", "b"))))
    ours = Choices("ours", (Decision("one", ("a", "b")), Decision("two", ("a", "c"))))
    check_decisions(ours, ours, "t.npz")
    with pytest.raises(
        UserError, match=r"t\.npz is of theirs, .* two: a, b; those of ours .* a, c"
    ):
        check_decisions(ours, theirs, "t.npz")


def test_known_networks_are_members_in_canonical_form_each_once(tmp_path):
    arrays = cell_arrays(4**6)
    table = load_benchmark(written(tmp_path / "all.npz", arrays), data_set="room_layout")
    space = table.space.restricted({"3<-*": ["none"], "1<-0": ["nor_conv_*"]})
    networks, values = known_networks(table, space)
    # With 1<-0 open, one of the edges into node 2 is open and 3<-2 counts, or both are cut and it
    # does not. With 1<-0 cut, only 2<-0, 3<-0 and 3<-2 count, the last where 2<-0 is open.
    assert len(networks) == (15 * 27 + 9) + (3 * 3 * 3 + 3)
    found = look_up(table.space, table.metrics, jnp.asarray(networks))[table.report]
    np.testing.assert_array_equal(values, np.asarray(found, float))
    np.testing.assert_array_equal(np.unique(networks, axis=0), networks)
    assert not (networks[:, 0] >= 2).any() and networks[:, [3]].all()


def test_the_published_widths(shared):
    table = load_benchmark(shared / "nats_size_cifar10.npz")
    arrays = read_npz(shared / "nats_size_cifar10.npz")
    column = table.metrics["test_accuracy"]
    assert table.known == len(column) == 32_768
    assert column.min() == pytest.approx(0.7979, abs=5e-5)
    assert column.max() == pytest.approx(0.9365, abs=5e-5)
    assert column.astype(float).mean() == pytest.approx(0.9109, abs=5e-5)
    # The file is in the order of the architectures' numbers, so it is the column itself.
    np.testing.assert_allclose(column, arrays["test_acc"] / 100, rtol=1e-6)
    best = table.space.from_string("64/64/56/64/24")
    assert column[np.ravel_multi_index(best, (8,) * 5)] == column.max()


@pytest.mark.parametrize(
    ("task", "best", "cell"),
    [
        ("class_object", 0.4632, "3_03_122"), ("class_scene", 0.5494, "3_32_132"),
        ("jigsaw", 0.9537, "3_30_132"), ("segmentsemantic", 0.2627, "3_33_213"),
        ("normal", 0.5962, "3_31_332"), ("autoencoder", 0.5772, "1_20_310"),
        ("room_layout", -0.5938, "3_11_131"),
    ],
)  # fmt: skip
def test_the_published_tasks(shared, task, best, cell):
    table = load_benchmark(shared / "transnas101_micro.npz", data_set=task)
    space = make_space("transnas_cell", {}, input_shape=(64, 64, 3), num_outputs=10)
    assert table.space.decisions == space.decisions and table.known == 4_096
    column = table.metrics[table.select()]
    assert column.max() == pytest.approx(best, abs=5e-5)
    found = look_up(space, table.metrics, space.from_string(f"64-41414-{cell}")[None])
    assert float(found[table.select()][0]) == column.max()


def test_cells_without_a_path_are_one_network(shared):
    """The table has one value for all of them, as the canonical form says."""
    table = load_benchmark(shared / "transnas101_micro.npz", data_set="class_object")
    every = table.space.enumerate()
    cut = ~table.space.canonical(every).any(axis=1)
    assert cut.sum() == 169
    values = table.metrics[table.select()][cut]
    np.testing.assert_allclose(values, 0.2655, atol=5e-5)
