"""Networks by their number in a table: a row of a file, or the published number of a benchmark."""

import numpy as np
import pytest

from hwnas_jax.cost.files.readers.numbered import read_architecture, rows_of
from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core import published
from tests.tabular.tables import cell_arrays, macro_table, small_table

CELLS = published.nasbench201()
MACRO = make_space("nasbench_macro", {}, input_shape=(32, 32, 3), num_outputs=10)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder of HWNAS_DATA, with a table of accuracies in an order of its own."""
    monkeypatch.setenv("HWNAS_DATA", str(tmp_path))
    small_table(tmp_path / "nb201_accuracy.npz")
    return tmp_path


def test_a_number_is_the_row_of_the_published_table(data):
    rows = 4 - cell_arrays()["ops"].astype(int)  # the file numbers its operations backwards
    for form in ("6111", " 6111 ", "nb201_accuracy:6111", f"{data / 'nb201_accuracy.npz'}:6111"):
        assert read_architecture(form, CELLS).tolist() == rows[6111].tolist()
    np.testing.assert_array_equal(rows_of("nb201_accuracy", CELLS), rows)


def test_rows_of_any_table_of_costs_are_numbered_as_well(data):
    lines = ["none~0", "nor_conv_1x1~0", "skip_connect~0"]
    cells = [f"|{one}|+|none~0|none~1|+|none~0|none~1|none~2|" for one in lines]
    text = "".join(f"{cell},{ms}\n" for cell, ms in zip(cells, "123", strict=True))
    (data / "own.csv").write_text(f"architecture,latency_ms\n{text}")
    assert CELLS.to_string(read_architecture("own:1", CELLS)) == cells[1]
    macro_table(data / "macro.npz")
    assert MACRO.check(read_architecture("macro:6560", MACRO)) is not None
    assert read_architecture("00000012", MACRO).tolist() == [0] * 6 + [1, 2]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("15625", "here: row 15625 is not in the table: its rows are 0 to 15624"),
        ("nb201_acuracy:3", "here: there is no data nb201_acuracy.*mean 'nb201_accuracy'"),
        ("macro:3", "here: the rows of .*macro.npz are not of the space nasbench201: .*has 8"),
        ("|none~0|:3", "here: '|none~0|:3' is no nasbench201 cell|no data"),
        ("1:2:3", "here: '1:2:3' is no nasbench201 cell"),
        ("x" * 300 + ":3", "here: .*(File name too long|more than any architecture)"),
        ("x:" * 600 + "x:3", "more than any architecture"),
        ("a\0b:3", "here: "),
    ],
)
def test_what_is_no_row_of_a_table(data, form, said):
    macro_table(data / "macro.npz")
    with pytest.raises(UserError, match=f"(?s){said}"):
        read_architecture(form, CELLS, "here")


def test_without_the_table_the_message_says_where_it_is_looked_for(monkeypatch):
    monkeypatch.delenv("HWNAS_DATA", raising=False)
    with pytest.raises(UserError, match="no data nb201_accuracy: give a path, or set HWNAS_DATA"):
        read_architecture("6111", CELLS)
    with pytest.raises(UserError, match="12 counts the rows of a table"):
        read_architecture("12", MACRO)


def test_published_numbers_are_those_of_the_real_table(shared, monkeypatch):
    """The authors print network 0; the most accurate on CIFAR-10 and CIFAR-100 are known too."""
    monkeypatch.setenv("HWNAS_DATA", str(shared))
    assert CELLS.to_string(read_architecture("0", CELLS)) == (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    with np.load(shared / "nb201_accuracy.npz") as arrays:
        assert arrays["cifar10_test_200"].argmax() == 6111
        assert arrays["cifar100_test_200"].argmax() == 9930
    costs = rows_of("nb201_latency_help", CELLS)
    np.testing.assert_array_equal(costs, rows_of("nb201_accuracy", CELLS))
