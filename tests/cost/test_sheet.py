"""CSV files as people write them and as spreadsheets save them."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.cost.files.columns import understand
from hwnas_jax.cost.files.measurement_file import load_measurements
from hwnas_jax.cost.files.readers import load_observations, load_table
from hwnas_jax.cost.files.sheet import decode, parse_sheet
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.nasbench201 import NasBench201

SPACE = NasBench201(input_shape=(8, 8, 1), num_outputs=10, channels=8, cells=1)
ROWS = SPACE.random(np.random.default_rng(0), 12)
LATENCIES = np.round(np.linspace(0.4, 1.6, 12), 3)
HEADER = [
    f"# space: {json.dumps(SPACE.spec)}", "# device: Pixel 8", "# batch_size: 1",
    "# runtime: tflite",
]  # fmt: skip
CELLS = [
    ["architecture", "latency_ms"],
    *([SPACE.to_string(row), f"{ms}"] for row, ms in zip(ROWS, LATENCIES, strict=True)),
]


def saved(rows, delimiter=",", ends="\n"):
    """Returns rows as Python's own writer of the spreadsheet's dialect puts them."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=ends).writerows(rows)
    return out.getvalue()


def plain(delimiter=",", decimal="."):
    rows = [[name, ms.replace(".", decimal)] for name, ms in CELLS]
    return "\n".join(HEADER) + "\n" + saved(rows, delimiter)


def divided(delimiter=","):
    """Returns the file after a spreadsheet has divided every line at its commas and saved it."""
    rows = [*(line.split(",") for line in HEADER), *CELLS]
    width = max(map(len, rows))
    return saved([[*row, *[""] * (width - len(row))] for row in rows], delimiter, "\r\n")


def in_one_cell(delimiter):
    """Returns the file after a spreadsheet has kept every header line in its first cell."""
    rows = [*([line, ""] for line in HEADER), *([a, b.replace(".", ",")] for a, b in CELLS)]
    return saved(rows, delimiter, "\r\n")


FORMS = {
    "text": plain().encode(),
    "padded header": plain().replace("# batch_size: 1", "# batch_size: 1,").encode(),
    "classes": plain().replace("num_outputs", "num_classes").encode(),
    "no blank": plain().replace("# ", "#").encode(),
    "capitals": plain().replace("# batch_size", "# Batch Size").replace("arch", "Arch").encode(),
    "byte order mark": b"\xef\xbb\xbf" + plain().encode(),
    "windows": plain().replace("\n", "\r\n").encode("cp1252"),
    "divided at commas": divided().encode(),
    "divided, then tabs": divided("\t").encode("utf-16"),
    "semicolons and decimal commas": plain(";", ",").encode(),
    "one cell, semicolons": in_one_cell(";").encode(),
    "one cell, tabs": in_one_cell("\t").encode("utf-16"),
    "tabs": plain("\t").encode(),
    "a line about the delimiter": b"sep=;\r\n" + plain(";", ",").encode(),
    "old ends of lines": plain().replace("\n", "\r").encode(),
}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('# conditions: {"a": 1, "a": 2}', "'# conditions:' is damaged: the key 'a' stands twice"),
        ('# conditions: {"a": 1' + "0" * 400 + "}", "more than 100 digits"),
        ('# conditions: {"a": ' + "[" * 70 + "]" * 70 + "}", "nested more than 64 levels deep"),
        ('# conditions: {"a": "\\ud800"}', "one half of a surrogate pair"),
        ('# conditions: {"a": NaN}', "NaN is no number"),
        ("# conditions: [" + "1," * 500 + "1]", r"must hold a JSON object, got .{,90}$"),
    ],
)
def test_a_header_line_is_checked_as_any_json(tmp_path, line, said):
    (tmp_path / "m.csv").write_text(f"{line}\n{plain()}")
    with pytest.raises(UserError, match=said):
        load_measurements(tmp_path / "m.csv")


def test_a_message_shows_no_more_than_the_beginning_of_a_line(tmp_path):
    (tmp_path / "m.csv").write_text("\n".join(HEADER) + "\n" + "a" * 9999 + "," + "a" * 9999)
    with pytest.raises(UserError, match="columns must have distinct names") as told:
        load_measurements(tmp_path / "m.csv")
    assert len(str(told.value)) < 600


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["m.csv", "m.CSV", "m.txt", "m"])
def test_every_form_is_the_same_file(tmp_path, form, name):
    (tmp_path / name).write_bytes(FORMS[form])
    found = load_measurements(tmp_path / name)
    assert found.space == SPACE.spec and found.device == {"kind": "Pixel 8"}
    assert (found.batch_size, found.runtime) == (1, "tflite")
    np.testing.assert_array_equal(found.encoded(SPACE), ROWS)
    np.testing.assert_array_equal(found.latencies_ms, LATENCIES)
    seen = load_observations(tmp_path / name)
    assert seen.source == f"{name}, Pixel 8 (measured)"
    table = load_table(tmp_path / name)
    np.testing.assert_array_equal(table.values["latency_ms"], [LATENCIES])


UNITS = {
    "latency (ms)": 1.0, "Latency_ms": 1.0, "median latency [ms]": 1.0, "latency/ms": 1.0,
    "Inference time (ms)": 1.0, "latency_us": 1e-3, "latency (µs)": 1e-3, "latency [μs]": 1e-3,
    "latency in seconds": 1e3, "latency_ns": 1e-6,
}  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_units_are_read_from_the_names_that_people_write(tmp_path, name):
    factor = UNITS[name]
    rows = [["architecture", name], *([a, float(b) / factor] for a, b in CELLS[1:])]
    path = tmp_path / "phone.csv"
    path.write_text("\n".join(HEADER) + "\n" + saved(rows))
    found = load_measurements(path)
    np.testing.assert_allclose(found.latencies_ms, LATENCIES, rtol=1e-12)
    said = f"the column {name!r} is multiplied by {factor:.6g}, which gives latency_ms"
    assert list(found.notes) == ([] if factor == 1 else [said])


def meant(*columns):
    text = saved([["architecture", *columns], ["x", *("1" for _ in columns)]])
    found = understand(parse_sheet(text))
    return {metric: own.factor for metric, own in found.values.items()}, found.left_out


def test_other_metrics_and_columns_without_one():
    values, rest = meant("Energy (J)", "peak memory (MB)", "FLOPs (M)", "params", "accuracy")
    assert values == {
        "energy_mj": 1e3, "peak_memory_mib": 1e6 / 2**20, "flops": 1e6, "params": 1.0,
    }  # fmt: skip
    assert rest == ("accuracy",)
    values, rest = meant("latency_ms", "mean latency (ms)", "latency_p99_ms", "training_time_s")
    assert values == {"latency_ms": 1.0}
    assert rest == ("mean latency (ms)", "latency_p99_ms", "training_time_s")


def test_columns_left_out_are_said_with_what_they_may_mean(tmp_path):
    rows = [[*CELLS[0], "repeat", "accuracy"], *([*row, "5", "90"] for row in CELLS[1:])]
    (tmp_path / "m.csv").write_text("\n".join(HEADER) + "\n" + saved(rows))
    found = load_measurements(tmp_path / "m.csv")
    assert found.notes == ("columns left out: repeat (meant is repeats?), accuracy",)
    assert load_table(tmp_path / "m.csv").notes[-1] == found.notes[0]


def test_architectures_are_numbers_or_usual_spellings_too(tmp_path):
    listed = [str(row.tolist()) for row in ROWS]
    spelled = [
        SPACE.to_string(row).replace("nor_conv_1x1", "conv1x1").replace("nor_conv_3x3", "Conv-3x3")
        .replace("skip_connect", "identity").replace("none", "zero")
        for row in ROWS
    ]  # fmt: skip
    for names in (listed, spelled):
        rows = [CELLS[0], *([name, ms] for name, (_, ms) in zip(names, CELLS[1:], strict=True))]
        (tmp_path / "m.csv").write_text("\n".join(HEADER) + "\n" + saved(rows))
        np.testing.assert_array_equal(load_measurements(tmp_path / "m.csv").encoded(SPACE), ROWS)


def test_networks_may_be_numbered_by_a_table(tmp_path):
    table, picked = SPACE.enumerate(), [7, 15000, 0]
    path = tmp_path / "m.csv"
    rows = [
        ["index", "latency_ms"],
        *([place, ms] for place, ms in zip(picked, "567", strict=True)),
    ]
    for head in ([], HEADER):  # a table without its device, and a measurement file
        path.write_text("".join(f"{line}\n" for line in head) + saved(rows))
        found = load_observations(path, space=SPACE, numbered=table).observations
        np.testing.assert_array_equal(found.architectures, table[picked])
        with pytest.raises(UserError, match="index counts the rows of a table"):
            load_observations(path, space=SPACE)
        with pytest.raises(UserError, match=r"line \d+: row 15000 is not in the table: .* 14999"):
            load_observations(path, space=SPACE, numbered=table[:15000])


def test_gaps_are_left_out_where_they_are_allowed(tmp_path):
    lines = plain().splitlines()
    lines[6] = lines[6].rpartition(",")[0] + ","
    lines[8] = lines[8].rpartition(",")[0]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    found = load_measurements(tmp_path / "m.csv", gaps=True)
    kept = [number for number in range(12) if number not in (1, 3)]
    np.testing.assert_array_equal(found.encoded(SPACE), ROWS[kept])
    with pytest.raises(UserError, match="line 7: latency_ms must be a number, the cell is empty"):
        load_measurements(tmp_path / "m.csv")


def test_a_column_may_name_the_device_but_not_another_one(tmp_path):
    rows = [["device", *CELLS[0]], *(["Pixel 8", *row] for row in CELLS[1:])]
    for head, told, device in ((HEADER, None, None), (HEADER[:1], "board", "Pixel 8")):
        (tmp_path / "m.csv").write_text("\n".join(head) + "\n" + saved(rows))
        found = load_measurements(tmp_path / "m.csv", device=told)
        assert found.device == {"kind": device or "Pixel 8"}
    other = HEADER[1].replace("8", "9")
    (tmp_path / "m.csv").write_text(f"{HEADER[0]}\n{other}\n" + saved(rows))
    with pytest.raises(UserError, match="it is of Pixel 9, but its column says Pixel 8"):
        load_measurements(tmp_path / "m.csv")


def test_what_is_no_text_is_refused():
    for content in (b"\x89PNG\r\n\x1a\n\x00", b"a,b\n\x001,2\n", b"a\x81"):
        with pytest.raises(UserError, match="it is not text"):
            decode(content)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_sheet_or_one_message(content):
    try:
        sheet = parse_sheet(decode(content))
    except UserError:
        return
    assert sheet.rows and all(set(row) == set(sheet.columns) for _, row in sheet.rows)


@given(st.integers(0, 10**7), st.sampled_from([".", ","]), st.booleans())
def test_numbers_come_back_from_either_decimal_mark(thousandths, mark, grouped):
    value = thousandths / 1000
    text = f"{value:,.3f}" if grouped else f"{value:.3f}"
    if mark == ",":
        text = text.translate({ord(","): ".", ord("."): ","})
    sheet = parse_sheet(
        saved([["architecture", "latency_ms"], ["x", text], ["y", f"0{mark}5"]], ";")
    )
    columns = understand(sheet)
    assert columns.value(sheet.rows[0][1], "latency_ms", "here") == value
