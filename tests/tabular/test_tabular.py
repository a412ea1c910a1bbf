"""Tabular benchmarks: look-ups against the files, and every damage told."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz
from hwnas_jax.registry import Part
from hwnas_jax.search.evaluators import EVALUATORS, Bench, check_evaluator
from hwnas_jax.spaces import make_space
from hwnas_jax.tabular import Table, load_benchmark, look_up
from hwnas_jax.tasks import Classification
from tests.tabular.tables import BLOCKS, CELLS, cell_arrays, macro_table, small_table

BENCH = Bench(CELLS, Classification())


def test_every_cell_of_a_table_is_found(tmp_path):
    table = load_benchmark(small_table(tmp_path / "t.npz"), data_set="cifar10")
    arrays = cell_arrays()
    rows = (4 - arrays["ops"]).astype(np.int32)
    found = jax.jit(functools.partial(look_up, table.space))(table.metrics, rows)
    assert set(found) == {
        "validation_accuracy_12", "validation_accuracy_200", "test_accuracy_12",
        "test_accuracy_200",
    }  # fmt: skip
    for name, column in (
        ("validation_accuracy_12", "cifar10valid_valid_12"),
        ("validation_accuracy_200", "cifar10valid_valid_200"),
        ("test_accuracy_12", "cifar10_test_12"),
        ("test_accuracy_200", "cifar10_test_200"),
    ):
        np.testing.assert_allclose(found[name], arrays[column] / 100, rtol=1e-6)
    assert table.known == 15_625
    nested = jax.jit(jax.vmap(lambda a: look_up(table.space, table.metrics, a)))
    batched = nested(rows[:20].reshape(5, 4, 6))["test_accuracy_12"]
    np.testing.assert_array_equal(batched.reshape(-1), found["test_accuracy_12"][:20])


def test_what_the_table_lacks_is_not_a_number(tmp_path):
    table = load_benchmark(small_table(tmp_path / "t.npz", 50), data_set="cifar10")
    assert table.known == 50
    there = (4 - cell_arrays(50)["ops"]).astype(np.int32)
    others = np.array([row for row in CELLS.enumerate()[::700] if not (row == there).all(1).any()])
    outside = np.array([[0, 0, 0, 0, 0, 5], [-1, 0, 0, 0, 0, 0]], np.int32)
    for rows, known in ((there, True), (others, False), (outside, False)):
        found = look_up(table.space, table.metrics, jnp.asarray(rows))
        for values in found.values():
            assert (~np.isnan(np.asarray(values)) == known).all()
    whole = {"first": np.arange(5**6, dtype=np.float32)}
    assert np.isnan(look_up(table.space, whole, outside)["first"]).all()


def test_what_is_selected_by_and_what_is_reported_have_names_of_their_own(tmp_path):
    path = small_table(tmp_path / "t.npz")
    table = load_benchmark(path, data_set="cifar10")
    assert table.select() == "validation_accuracy_200"
    assert table.select(epochs=12) == "validation_accuracy_12"
    assert table.select("test", 12) == "test_accuracy_12"
    assert table.report == "test_accuracy_200"
    with pytest.raises(UserError, match=r"validation images after 90 epochs; .* after 12, 200"):
        table.select(epochs=90)
    bare = load_benchmark(path, data_set="cifar100")
    assert bare.select("test") == bare.report == "test_accuracy_200"
    with pytest.raises(UserError, match=r"(?s)no accuracy on validation.*test_accuracy_200; split"):
        bare.select()
    mine = load_benchmark(path, data_set="mine")
    assert (mine.select(), mine.report) == ("validation_accuracy_3", "test_accuracy_3")
    with pytest.raises(UserError, match=r"unknown data set of t\.npz 'cifar'.*cifar10, cifar100"):
        load_benchmark(path, data_set="cifar")


def test_a_macro_table_has_the_mean_over_seeds_and_no_validation(tmp_path):
    path = macro_table(tmp_path / "m.npz")
    table, arrays = load_benchmark(path), read_npz(path)
    names = BLOCKS[arrays["ops"][:9]]
    decisions = [decision.name for decision in table.space.decisions]
    rows = [table.space.from_names(dict(zip(decisions, row, strict=True))) for row in names]
    found = look_up(table.space, table.metrics, jnp.stack(rows))["test_accuracy"]
    np.testing.assert_allclose(found, arrays["test_acc"][:9].mean(1) / 100, rtol=1e-6)
    with pytest.raises(UserError, match=r"m\.npz:cifar10 has no accuracy on validation images"):
        table.select()
    with pytest.raises(UserError, match="after 9 epochs; it has those after an unknown number"):
        table.select("test", 9)
    with pytest.raises(UserError, match=r"unknown data set of m\.npz 'cifar100'"):
        load_benchmark(path, data_set="cifar100")


def _column(row, value):
    column = np.full(20, 50.0, np.float32)
    column[row] = value
    return {"cifar10_test_200": column}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (_column(7, -1), r"row \[7\]: test_accuracy_200 must be a number of percent.*got -1"),
        (_column(3, 100.5), r"row \[3\]: .*100.5"),
        (_column(4, np.nan), r"row \[4\]: .*nan"),
        (_column(4, np.inf), r"row \[4\]: .*inf"),
        ({"cifar10_test_200": np.full(20, 0.9)}, "at most 0.9: percent from 0 to 100 are wanted"),
        ({"cifar10_test_200": np.ones(19)}, r"must be float\[20\].*float64\[19\]"),
        ({"cifar10_test_200": np.ones(20, int)}, r"must be float\[20\].*int64\[20\]"),
        ({"cifar10_test_200": np.ones((20, 1))}, r"cifar10_test_200, .* is float64\[20, 1\]"),
        ({"cifar10_test_200": np.array(["x"] * 20)}, r"cifar10_test_200, an array of numbers"),
        ({"ops": None}, "ops, an array of numbers with 2 axes, is missing"),
        ({"ops": np.full((20, 6), 1.5)}, "operations are given by whole numbers, got float64"),
        ({"ops": np.full((20, 6), 5)}, r"row \[0\]: operation 5 has no name among 5"),
        ({"ops": np.full((20, 6), -1)}, r"row \[0\]: operation -1 has no name"),
        ({"ops": np.zeros((20, 6), np.uint8)}, r"row \[1\] is the same architecture as row \[0\]"),
        ({"ops": np.zeros((20, 5), np.uint8)}, "has 6 decisions, the file has 5"),
        ({"ops": np.zeros((0, 6), np.uint8)}, "the table is empty"),
        ({"op_names": None}, "op_names, a list of texts, is missing"),
        ({"op_names": np.array([*"abcd", "none"])}, r"row \[\d+\] '[a-d]': allowed are none, skip"),
        ({"op_names": np.array([{}, 1, 2, 3, 4], object)}, "'op_names.npy' is object"),
    ],
)
def test_what_cannot_be_is_named_with_its_file(tmp_path, changes, said):
    path = small_table(tmp_path / "bad.npz", 20, **changes)
    with pytest.raises(UserError, match=rf"(?s)benchmark .*bad\.npz: .*{said}"):
        load_benchmark(path, data_set="cifar10")


def test_a_macro_table_without_seeds_is_told(tmp_path):
    path = macro_table(tmp_path / "t.npz", test_acc=np.ones((3**8, 0)))
    with pytest.raises(UserError, match=r"test_acc is empty: \[6561, 0\]"):
        load_benchmark(path)


def test_foreign_files_are_told(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, latency_ms=np.ones(3))
    with pytest.raises(UserError, match=r"other\.npz: it holds no accuracies.*but latency_ms"):
        load_benchmark(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(UserError, match=r"one\.npy: it is one array without a name"):
        load_benchmark(tmp_path / "one.npy")
    with pytest.raises(UserError, match="there is no data"):
        load_benchmark(tmp_path / "absent.npz")


def test_any_damage_to_the_bytes_is_told_or_harmless(tmp_path):
    """Cut off anywhere, or with bytes changed: one message with the file's name, or the table."""
    whole = small_table(tmp_path / "t.npz", 30).read_bytes()
    expected = load_benchmark(tmp_path / "t.npz").metrics
    rng, told = np.random.default_rng(0), 0
    for number in range(150):
        content = bytearray(whole)
        if number % 3 == 0:
            content = content[: rng.integers(0, len(whole))]
        else:
            for place in rng.integers(0, len(whole), 1 + number % 4):
                content[place] ^= int(rng.integers(1, 256))
        (tmp_path / "d.npz").write_bytes(content)
        try:
            found = load_benchmark(tmp_path / "d.npz").metrics
        except UserError as error:
            told += "d.npz" in str(error)
        else:
            for name, values in found.items():
                np.testing.assert_array_equal(values, expected[name])
    assert told > 75


def test_the_evaluator_returns_what_is_selected_by_and_what_is_reported(tmp_path):
    path = small_table(tmp_path / "t.npz")
    arrays = cell_arrays()
    rows = (4 - arrays["ops"][:9]).astype(np.int32)
    for options, column in (
        ({}, "cifar10valid_valid_200"),
        ({"epochs": 12}, "cifar10valid_valid_12"),
        ({"split": "test", "epochs": 12}, "cifar10_test_12"),
    ):
        method = EVALUATORS.make(Part("table", {"path": str(path), **options}))
        columns = check_evaluator(method, BENCH)
        found = method.evaluate(BENCH, columns, jnp.asarray(rows), 0, jax.random.key(0))
        np.testing.assert_allclose(found["accuracy"], arrays[column][:9] / 100, rtol=1e-6)
        reported = arrays["cifar10_test_200"][:9] / 100
        np.testing.assert_allclose(found["test_accuracy"], reported, rtol=1e-6)
    # Shorter trainings are lower fidelities.
    method = EVALUATORS.make(Part("table", {"path": str(path)}))
    assert method.fidelities(BENCH) == (1.0, 12 / 200)
    found = method.evaluate(BENCH, method.arrays(BENCH), jnp.asarray(rows), 1, None)
    expected = arrays["cifar10valid_valid_12"][:9] / 100
    np.testing.assert_allclose(found["accuracy"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "train"}, r"split = 'train' must be 'validation' or 'test'"),
        ({"epochs": 90}, "after 90 epochs"),
        ({"data_set": "cifar100"}, "has no accuracy on validation images"),
        ({"data_set": "svhn"}, "unknown data set"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, said):
    path = str(small_table(tmp_path / "t.npz", 20))
    with pytest.raises(UserError, match=said):
        EVALUATORS.make(Part("table", {"path": path, **options})).arrays(BENCH)
    with pytest.raises(UserError, match="the evaluator table needs path"):
        EVALUATORS.make(Part("table"))


def test_a_space_of_other_decisions_is_told(tmp_path):
    path = macro_table(tmp_path / "m.npz")
    with pytest.raises(
        UserError, match=r"m\.npz:cifar10 is of nasbench_macro.*nasbench201 are 1<-0"
    ):
        Table(str(path), split="test").arrays(BENCH)
    # Width and depth are no decisions: a smaller supernet may be judged by the published table.
    small = make_space("nasbench201", {"channels": 4}, input_shape=(8, 8, 1), num_outputs=3)
    cells = str(small_table(tmp_path / "t.npz"))
    check_evaluator(Table(cells), dataclasses.replace(BENCH, space=small))


@pytest.mark.parametrize(
    ("data_set", "best", "skips", "convolutions"),
    [
        ("cifar10", 0.9437, 0.5430, 0.9376),
        ("cifar100", 0.7351, 0.1561, 0.7111),
        ("imagenet16_120", 0.4731, 0.1632, 0.4144),
    ],
)
def test_the_published_cells(shared, data_set, best, skips, convolutions):
    table = load_benchmark(shared / "nb201_accuracy.npz", data_set=data_set)
    assert table.known == 15_625 and set(table.validation) == set(table.test) == {12, 200}
    column = table.metrics[table.report]
    assert column.max() == pytest.approx(best, abs=5e-5)
    every = {"skip_connect": skips, "nor_conv_3x3": convolutions}
    for name, accuracy in every.items():
        cell = table.space.from_names({d.name: name for d in table.space.decisions})
        found = look_up(table.space, table.metrics, jnp.asarray(cell)[None])[table.report]
        assert float(found[0]) == pytest.approx(accuracy, abs=6e-5)


def test_the_published_macro_networks(shared):
    table = load_benchmark(shared / "nasbench_macro_cifar10.npz")
    assert table.known == 6_561
    column = table.metrics["test_accuracy"]
    assert column.max() == pytest.approx(0.9313, abs=5e-5)
    best = table.space.from_string("22212202")
    found = look_up(table.space, table.metrics, jnp.asarray(best)[None])["test_accuracy"]
    assert float(found[0]) == column.max()
