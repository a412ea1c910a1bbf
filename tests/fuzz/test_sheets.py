"""Measurements as CSV in every dialect: respelt, and with damaged cells, headers and bytes."""

import csv
import dataclasses
import io
import json
import math
import re

import numpy as np
from hypothesis import strategies as st

from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.files.readers import load_observations, load_table
from hwnas_jax.errors import UserError
from tests.cost.test_sheet import FORMS, HEADER, LATENCIES, ROWS, SPACE
from tests.fuzz.damage import damaged_bytes
from tests.fuzz.judge import judge

NAMES = [SPACE.to_string(row) for row in ROWS]
CELLS = [
    ["architecture", "latency_ms", "latency_iqr_ms", "repeats", "energy_mj", "note"],
    *(
        [name, f"{ms}", f"{ms / 100:.5f}", "20", f"{2 * ms:.4f}", "a, b; c"]
        for name, ms in zip(NAMES, LATENCIES, strict=True)
    ),
]
_ODD = (
    "", " ", "-1", "0", "1e999", "nan", "inf", "1e400", "\uff11\uff12", "1_0", "0x10", "1,5",
    "1.5.5",
    "1 000", "1.000,5", "+1", "--1", "9" * 401, "=1+1", "'1", '"', '""', "#", "# x: y", "a\0b",
    "\u202e1", "\ud7ff", "é", ";", "\t", "1e-400", "1.5e", "e5", ".", "5 ms", "5ms", "None",
    "[0,0,0,0,0,0]", "[9,0,0,0,0,0]", "[1_0,0,0,0,0,0]", "[\u0660,0,0,0,0,0]", "[0;0;0;0;0;0]",
    "|none~0|", "|" * 3000, "a" * 20000, NAMES[0], NAMES[1], "latency_s", "latency_ms", "index",
    "latency (us)", "device", "operation", "1.0", "20.5", "2" * 18, "1e3",
)  # fmt: skip
_HEADERS = (
    "# rows: 12", "# rows: 11", "# version: 1", "# version: 9", "# batch_size: 0", "# held_out: 99",
    "# batch_size: 1e3", "# batch_size: \uff12", "# held_out: 2", "# source: measured",
    "# source: x",
    "# conditions: {", '# conditions: {"notes": 5}', '# conditions: {"notes": ["a"]}',
    '# conditions: {"a": 1, "a": 2}', '# conditions: {"a": 1' + "0" * 400 + "}",
    '# conditions: {"a": NaN}', '# conditions: {"a": "\\ud800"}', "# software: []",
    '# software: {"jax": 5}', "# space: {}", "# space: 5", '# space: {"name": "nasbench201"}',
    '# space: {"name": "none"}', "# device: [/x]", "# device: \x1b[2J", '# device: {"kind": 5}',
    '# device: {"kind": "a", "kind": "b"}', '# device: {"cpu_count": -1}', "# device:",
    '# conditions: {"a": ' + "[" * 70 + "]" * 70 + "}",
    '# conditions: {"a": ' + "[" * 5000 + "]" * 5000 + "}", "# devise: x", "#", "# :", "# created:",
    '# space: {"name": "nasbench201", "args": {"cells": 10000000}, "input_shape": [8, 8, 1], '
    '"num_outputs": 10}',
    '# space: {"name": "nasbench201", "name": "darts", "args": {}, "input_shape": [8, 8, 1], '
    '"num_outputs": 10}',
)  # fmt: skip


def sheet(header, cells, delimiter, ends, quoting):
    """Returns a file as Python's own writer of CSV puts it."""
    out = io.StringIO()
    out.writelines(f"{line}{ends}" for line in header)
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    writer.writerows(cells)
    return out.getvalue()


_DIALECTS = st.tuples(
    st.sampled_from((",", ";", "\t")), st.sampled_from(("\n", "\r\n")),
    st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
)  # fmt: skip


@st.composite
def respelt(draw):
    """The same figures in another dialect, order of columns and order of header lines."""
    delimiter, ends, quoting = draw(_DIALECTS)
    order = draw(st.permutations(range(len(CELLS[0]))))
    comma = delimiter != "," and draw(st.booleans())
    rows = [[_decimal(row[i], comma) for i in order] for row in CELLS]
    text = sheet(draw(st.permutations(HEADER)), rows, delimiter, ends, quoting)
    encoding = draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16")))
    return text.encode(encoding)


def _decimal(cell, comma):
    number = re.fullmatch(r"\d+\.\d+", cell)
    return cell.replace(".", ",") if comma and number else cell


def test_another_dialect_means_the_same(tmp_path, attack):
    path = tmp_path / "m.csv"

    def check(content):
        path.write_bytes(content)

        def right(found):
            assert list(found.encoded(SPACE).tolist()) == ROWS.tolist()
            np.testing.assert_array_equal(found.latencies_ms, LATENCIES)
            assert (found.batch_size, found.runtime) == (1, "tflite")
            assert found.origin.name == "Pixel 8"
            assert [one["latency_ms"].repeats for one in found.networks] == [20] * 12

        assert judge("CSV: dialects", lambda: load_measurements(path), right) == "accepted"

    attack(respelt(), check, examples=60)


@st.composite
def damaged_sheet(draw):
    """Some cells, columns, rows or header lines that are odd, as text and as rows."""
    header, cells = list(HEADER), [list(row) for row in CELLS]
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        row = draw(st.integers(0, len(cells) - 1))
        column = draw(st.integers(0, len(cells[0]) - 1))
        match draw(st.sampled_from(("cell", "cell", "cell", "header", "more", "row", "column"))):
            case "cell":
                cells[row][min(column, len(cells[row]) - 1)] = draw(st.sampled_from(_ODD))
            case "header":
                header[draw(st.integers(0, 3))] = draw(st.sampled_from(_HEADERS))
            case "more":
                header.insert(draw(st.integers(0, 4)), draw(st.sampled_from(_HEADERS)))
            case "row" if draw(st.booleans()):
                cells.insert(row, list(cells[row]))
            case "row":
                cells[row] = cells[row][:column] or [""]
            case "column":
                for one in cells:
                    del one[column : column + 1]
    return header, cells


def _is_plain(text):
    return re.fullmatch(r"\+?\d+(\.\d*)?(e\+?\d+)?", text, re.ASCII) is not None


def _check_against(content, found):
    """The figures are those that Python's own reader of CSV finds in a file with commas."""
    lines = [line for line in content.decode().splitlines() if not line.startswith("#")]
    rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    names, given = [name.strip() for name in rows[0]], []
    if "architecture" not in names or "latency_ms" not in names:
        return
    if "operation" in names or any("," in row[names.index("latency_ms")] for row in rows[1:]):
        return
    place = names.index("latency_ms")
    for row in rows[1:]:
        if _is_plain(row[place].strip()):
            given.append(float(row[place]))
        else:
            raise AssertionError(f"{row[place]!r} is no number")
    assert [one["latency_ms"].median for one in found.networks] == given


def test_a_damaged_file_is_refused_or_read_right(tmp_path, attack):
    path = tmp_path / "m.csv"

    def check(drawn):
        header, cells = drawn
        content = sheet(header, cells, ",", "\n", csv.QUOTE_MINIMAL).encode()
        path.write_bytes(content)

        def right(found):
            _believable(found)
            _check_against(content, found)
            again = tmp_path / "again.csv"
            try:
                save_measurements(found, again)
            except UserError:
                return
            _equal(load_measurements(again), found)

        judge("CSV: damaged cells", lambda: load_measurements(path), right)
        judge("CSV: as observations", lambda: load_observations(path))
        judge("CSV: as a table", lambda: load_table(path), _table)

    attack(damaged_sheet(), check, examples=150)


def test_damaged_bytes_of_every_form(tmp_path, attack):
    path = tmp_path / "m"

    def check(content):
        path.write_bytes(content)
        judge("CSV: damaged bytes", lambda: load_measurements(path), _believable)

    attack(st.sampled_from(list(FORMS.values())).flatmap(damaged_bytes), check, examples=150)


def _believable(found):
    assert (found.networks or found.operations) and found.batch_size >= 1
    assert json.dumps(found.device) and json.dumps(found.conditions, allow_nan=False)
    for one in found.networks:
        for sample in one.values():
            assert math.isfinite(sample.median) and sample.median > 0
            assert math.isfinite(sample.iqr) and sample.iqr >= 0 and sample.repeats >= 1
    rows = [tuple(names.values()) for names in found.architectures]
    assert len(set(rows)) == len(rows)


def _equal(one, other):
    drop = {"conditions"}  # the notes say again what was converted
    for field in dataclasses.fields(one):
        if field.name not in drop:
            assert getattr(one, field.name) == getattr(other, field.name), field.name


def _table(found):
    for values in found.values.values():
        assert (np.isnan(values) | (np.isfinite(values) & (values > 0))).all()
