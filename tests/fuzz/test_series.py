"""Files of the archive of time series, damaged line by line."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.data.test_time_series import LABELS, SERIES, write_arff, write_ts
from tests.fuzz.array_kinds import whole_dataset
from tests.fuzz.damage import damaged_bytes
from tests.fuzz.judge import judge
from tests.fuzz.test_own_data import changes_of, copied_folder, make_changes, read

_CELLS = (
    "", " ", "?", "nan", "NaN", "-nan", "inf", "1e999", "1e39", "-0", "1_0", "\uff11", "0x10",
    "1,2", "5 5", "a", "(1,2)", "'", '"', ":", "::", "@data", "#", "%", "9" * 400, "\\n", "\0", "é",
    "\u202e", "@classLabel false", "{a,b}", "\ud800",
)  # fmt: skip
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@st.composite
def damaged_lines(draw, content):
    """Changes cells of some lines, or some bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged_bytes(content))
    lines = content.decode().splitlines()
    for _ in range(draw(st.integers(1, 2))):
        number = draw(st.integers(0, len(lines) - 1))
        parts = re.split(r"([,:{}'\s]+)", lines[number])
        at = draw(st.integers(0, len(parts) - 1))
        match draw(st.sampled_from(("cell", "cell", "cell", "less", "twice", "line", "gone"))):
            case "cell":
                parts[at] = draw(st.sampled_from(_CELLS))
            case "less":
                del parts[at:]
            case "twice":
                parts[at:at] = parts[at : at + 2]
            case "line":
                lines.insert(number, lines[number])
            case "gone":
                parts = [""]
        lines[number] = "".join(parts)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _numbers(folder):
    """Returns all numbers that stand in the files, as they would be kept."""
    found = {np.float32(0)}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_text("utf-8", "replace").replace("\\n", ",")
            for token in re.split(r"[,:'\"\s]+", text):
                if _NUMBER.fullmatch(token):
                    with np.errstate(over="ignore"):
                        found.add(np.float32(token))
    return found


@pytest.mark.parametrize("suffix", ["ts", "arff"])
def test_a_damaged_file_is_refused_or_read_right(tmp_path, attack, suffix):
    write = {"ts": write_ts, "arff": write_arff}[suffix]

    def both(folder):
        write(folder / f"Toy_TRAIN.{suffix}", SERIES[:5], LABELS[:5])
        write(folder / f"Toy_TEST.{suffix}", SERIES[5:], LABELS[5:])

    good, fresh = copied_folder(tmp_path, both)
    whole_dataset(read(good))

    def check(changes):
        folder = fresh()
        make_changes(folder, changes)

        def right(found):
            whole_dataset(found)
            kept = {*found["train_inputs"].ravel(), *found["test_inputs"].ravel()}
            assert kept <= _numbers(folder), kept - _numbers(folder)

        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            judge(f"data: .{suffix}", lambda: read(folder), right)

    attack(changes_of(good, damaged_lines), check, examples=60)
