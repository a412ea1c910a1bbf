"""Files of the archive of time series classification: read as written, padded, refused."""

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, TimeSeries, load_data
from hwnas_jax.errors import UserError

RNG = np.random.default_rng(0)
SERIES = [RNG.normal(size=(2, steps)).round(3) for steps in (4, 3, 5, 4, 2, 5, 3, 4)]
LABELS = ["b", "a", "b", "a", "b", "a", "b", "a"]
HEADER = """# a comment
@problemName Toy
@timeStamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true b a
@data
"""


def ts_line(values, label):
    return ":".join(",".join(map(str, channel)) for channel in values) + f":{label}"


def write_ts(path, series, labels, header=HEADER):
    lines = [ts_line(*pair) for pair in zip(series, labels, strict=True)]
    path.write_text(header + "\n".join(lines) + "\n")


def write_arff(path, series, labels):
    """As the archive writes it: channels of equal length, `?` behind the end of a series."""
    longest = max(values.shape[1] for values in series)
    columns = "".join(f"  @attribute att{n} numeric\n" for n in range(longest))
    lines = []
    for values, label in zip(series, labels, strict=True):
        left = ["?"] * (longest - values.shape[1])
        channels = [",".join([*map(str, channel), *left]) for channel in values]
        lines.append("'" + "\\n".join(channels) + f"',{label}")
    path.write_text(
        f"% comment\n@relation Toy\n@attribute Toy relational\n{columns}@end Toy\n"
        "@attribute class {b,a}\n\n@data\n" + "\n".join(lines) + "\n"
    )


def padded(series, longest, last=False):
    found = np.zeros((len(series), 1, longest, 2), np.float32)
    for row, values in enumerate(series):
        for step in range(longest):
            if step < values.shape[1] or last:
                found[row, 0, step] = values[:, min(step, values.shape[1] - 1)]
    return found


@pytest.mark.parametrize(("write", "suffix"), [(write_ts, "ts"), (write_arff, "arff")])
def test_both_forms_are_read_as_they_were_written(tmp_path, write, suffix):
    write(tmp_path / f"Toy_TRAIN.{suffix}", SERIES[:5], LABELS[:5])
    write(tmp_path / f"Toy_TEST.{suffix}", SERIES[5:], LABELS[5:])
    for path in (tmp_path, tmp_path / f"Toy_TEST.{suffix}"):
        data = load_data(DataConfig(path=str(path)))  # found without a name
        assert data.name == "Toy"
        assert data.output_names == ("b", "a")
        np.testing.assert_array_equal(data.train_inputs, padded(SERIES[:5], 5))
        np.testing.assert_array_equal(data.test_inputs, padded(SERIES[5:], 5))
        assert data.train_targets.tolist() == [0, 1, 0, 1, 0]
        assert data.test_targets.tolist() == [1, 0, 1]
        assert any("from 2 to 5 steps; zeros stand behind" in note for note in data.notes)
    last = TimeSeries(str(tmp_path), pad="last").load()
    np.testing.assert_array_equal(last.train_inputs, padded(SERIES[:5], 5, last=True))


def test_one_file_gives_a_test_part_and_one_channel_needs_no_quotes(tmp_path):
    rows = RNG.normal(size=(10, 6)).round(3)
    lines = [",".join(map(str, row)) + f",{n % 2}" for n, row in enumerate(rows)]
    head = "@relation x\n@attribute t1 numeric\n@attribute target {0,1}\n@data\n"
    (tmp_path / "only.arff").write_text(head + "\n".join(lines))
    data = TimeSeries(str(tmp_path / "only.arff"), test_fraction=0.4).load()
    assert data.train_inputs.shape == (6, 1, 6, 1)
    assert data.test_inputs.shape == (4, 1, 6, 1)
    both = np.concatenate([data.train_inputs, data.test_inputs])[:, 0, :, 0]
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(rows.astype(np.float32), axis=0))


def test_values_are_learned_where_the_file_has_no_classes(tmp_path):
    header = HEADER.replace("@classLabel true b a", "@targetLabel true")
    values = [0.5, 1.25, -3.0, 2.0]
    write_ts(tmp_path / "Toy_TRAIN.ts", SERIES[:4], values, header)
    write_ts(tmp_path / "Toy_TEST.ts", SERIES[4:6], values[:2], header)
    data = TimeSeries(str(tmp_path)).load()
    assert data.task == "regression"
    assert data.train_targets[:, 0].tolist() == values


def test_one_of_several_sets_is_named(tmp_path):
    for name in ("One", "Two"):
        write_ts(tmp_path / f"{name}_TRAIN.ts", SERIES, LABELS)
        write_ts(tmp_path / f"{name}_TEST.ts", SERIES[:2], LABELS[:2])
    with pytest.raises(UserError, match="several sets: One, Two; name one"):
        TimeSeries(str(tmp_path)).load()
    assert TimeSeries(str(tmp_path), subset="Two").load().name == "Two"
    with pytest.raises(UserError, match=r"'Twoo'.* Did you mean 'Two'"):
        TimeSeries(str(tmp_path), subset="Twoo").load()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + "1,2,3:1,2:b", r"line 9: its channels have from 2 to 3 steps"),
        (HEADER + "1,x:1,2:b", r"line 9: 'x' is no number"),
        (HEADER + "1,2", "line 9 has no colon"),
        (HEADER + "(0,1),(1,2):(0,1),(1,2):b", "a time beside each value"),
        (HEADER + "1,?,3:1,2,3:b\n1,2:1,2:a", "series 0 .* a value is missing at step 1"),
        (HEADER + "?,?:?,?:b\n1,2:1,2:a", "series 0 .* has no values"),
        (HEADER + "1,2:1,2:b\n1,2:a", "series 1 .* has 1 channels, the first has 2"),
        (HEADER, "holds no series behind a line @data"),
        ("@problemName x\n1,2:b", "line 2 begins with '1,2:b', not with @"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, said):
    (tmp_path / "Toy_TRAIN.ts").write_text(content)
    with pytest.raises(UserError, match=said):
        TimeSeries(str(tmp_path)).load()


def test_other_files_of_that_name_are_left_alone(tmp_path):
    (tmp_path / "app_train.ts").write_text("export const answer = 42;")
    assert not TimeSeries.holds(tmp_path)
    with pytest.raises(UserError, match=r"holds no NAME_TRAIN\.ts"):
        TimeSeries(str(tmp_path)).load()
    write_ts(tmp_path / "Toy_TEST.ts", SERIES, LABELS)
    with pytest.raises(UserError, match=r"lacks Toy_TRAIN beside Toy_TEST\.ts"):
        TimeSeries(str(tmp_path)).load()


@pytest.mark.parametrize(("name", "spoken"), [("japanese_vowels", 9), ("basic_motions", 4)])
def test_real_series_come_out_of_both_readers_alike(shared, tmp_path, name, spoken):
    """From the arrays, and from files written of them in the form of the archive."""
    path = shared / "timeseries_small.npz"
    arrays = load_data(DataConfig(path=str(path), args={"subset": name, "layout": "NCL"}))
    with np.load(path) as held:
        classes = held[f"{name}_classes"].tolist()
        header = HEADER.replace("b a", " ".join(classes)).replace("dimensions 2", "dimensions x")
        for part in ("train", "test"):
            labels = [classes[number] for number in held[f"{name}_{part}_y"]]
            write_ts(
                tmp_path / f"{name}_{part.upper()}.ts", held[f"{name}_{part}_x"], labels, header
            )
    data = TimeSeries(str(tmp_path)).load()
    assert data.num_outputs == arrays.num_outputs == spoken
    for part in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
        np.testing.assert_array_equal(getattr(data, part), getattr(arrays, part))


@pytest.mark.parametrize("odd", ["1_0", "\uff11", "inf", "1e999x", "0x1", ""])
def test_only_plain_numbers_are_numbers(tmp_path, odd):
    write_ts(tmp_path / "Toy_TRAIN.ts", SERIES, LABELS)
    text = (tmp_path / "Toy_TRAIN.ts").read_text()
    first = str(SERIES[0][0, 0])
    (tmp_path / "Toy_TRAIN.ts").write_text(text.replace(first, odd, 1), encoding="utf-8")
    with pytest.raises(UserError, match=r"line 9: .* is no number"):
        TimeSeries(str(tmp_path)).load()
