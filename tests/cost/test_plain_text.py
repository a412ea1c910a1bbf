"""Measurements as plain text."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.cost.files.measurement_file import load_measurements, save_measurements
from hwnas_jax.cost.files.measurements import Measurements, Sample
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Decision
from hwnas_jax.spaces.nasbench201 import NasBench201
from tests.cost.toy import ToySpace, synthetic

CELLS = NasBench201(input_shape=(32, 32, 3), num_outputs=10)
THREE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
CUT = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
HEADER = f"# space: {json.dumps(CELLS.spec)}\n# device: Pixel 8\n# batch_size: 2\n"

positive = st.floats(1e-6, 1e6, allow_nan=False)
samples = st.builds(
    Sample, positive, st.floats(0, 1e6, allow_nan=False, exclude_max=True), st.integers(1, 10**6)
)
words = st.text("abcXYZ019 _-.,\"'", min_size=1, max_size=8).map(str.strip).filter(bool)


@st.composite
def measured(draw):
    names = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    decisions = tuple(
        Decision(name, tuple(draw(st.lists(words, min_size=1, max_size=3, unique=True))))
        for name in names
    )
    space = Choices("drawn", decisions)
    metrics = draw(
        st.lists(
            st.sampled_from(["latency_ms", "energy_mj", "cycles", "peak_memory_mib"]),
            min_size=1, unique=True,
        )
    )  # fmt: skip
    rows = draw(st.permutations(list(space.enumerate())))[: draw(st.integers(1, 5))]
    whole = st.fixed_dictionaries({metric: samples for metric in metrics})
    operations = draw(st.dictionaries(words, whole, max_size=3))
    return space, Measurements(
        device={"kind": draw(words)}, software={"tflite": draw(words)},
        batch_size=draw(st.integers(1, 64)), space=space.spec, operations=operations,
        architectures=tuple(space.to_names(row) for row in rows),
        networks=tuple(draw(whole) for _ in rows),
        source=draw(st.sampled_from(["measured", "simulated", "published"])),
        runtime=draw(words),
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(measured(), st.sampled_from(["m.csv", "m.json"]))
def test_what_is_saved_comes_back_to_the_last_digit(tmp_path_factory, drawn, name):
    space, measurements = drawn
    path = tmp_path_factory.mktemp("m") / name
    save_measurements(measurements, path)
    assert load_measurements(path) == measurements
    assert load_measurements(path, space) == measurements


def test_a_toy_file_with_operations_comes_back(tmp_path):
    space = ToySpace()
    measurements = synthetic(space, space.enumerate()[:7], noise=0.1)
    save_measurements(measurements, tmp_path / "m.csv")
    assert load_measurements(tmp_path / "m.csv", space) == measurements


def _read(tmp_path, text, **options):
    path = tmp_path / "phone.csv"
    path.write_text(text)
    return load_measurements(path, **options)


def test_a_file_as_a_person_writes_it(tmp_path):
    found = _read(
        tmp_path,
        HEADER + "# runtime: tflite\n\n"
        "architecture, latency_ms, latency_iqr_ms, repeats, energy_mj\n"
        f"{THREE}, 12.5, 0.25, 50, 8\n\n{SKIP}, 3.5, , , 2.5\n",
    )
    assert found.device == {"kind": "Pixel 8"}
    assert (found.runtime, found.source, found.batch_size) == ("tflite", "measured", 2)
    assert found.networks[0] == {
        "latency_ms": Sample(12.5, 0.25, 50), "energy_mj": Sample(8.0, 0.0, 50),
    }  # fmt: skip
    assert found.networks[1]["latency_ms"] == Sample(3.5, 0.0, 1)
    np.testing.assert_array_equal(
        found.encoded(CELLS), [CELLS.from_string(THREE), CELLS.from_string(SKIP)]
    )


def test_decisions_may_have_a_column_each_and_the_rest_be_given(tmp_path):
    text = "block0,block1,block2,block3,last,latency_ms\nskip,wide,skip,narrow,wide,1.5\n"
    found = _read(tmp_path, text, space=ToySpace(), device="board", batch_size=4)
    assert found.device == {"kind": "board"} and found.batch_size == 4
    assert list(found.architectures[0].values()) == ["skip", "wide", "skip", "narrow", "wide"]


ROW = f"{THREE},12.5\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("architecture,latency_ms\n" + ROW, "of which space.*# space:"),
        (HEADER.replace("# device: Pixel 8\n", "") + "architecture,latency_ms\n" + ROW,
         "of which device.*# device: NAME"),
        (HEADER.replace("# batch_size", "# batchsize"), "no table"),
        (HEADER.replace("# batch_size", "# batchsize") + "architecture,latency_ms\n" + ROW,
         "'# batchsize:'; did you mean 'batch_size'"),
        (HEADER + "# version: 7\narchitecture,latency_ms\n" + ROW, "version 7; known is 2"),
        (HEADER + "architecture,latency_ms\n", "no row"),
        (HEADER + "architecture,latency_h\n" + ROW, "'latency_h' has a unit.*convert.*latency_ms"),
        (HEADER + "architecture,latency\n" + ROW, "'latency' has a unit.*milliseconds"),
        (HEADER + "architecture,Energy_Wh\n" + ROW, "'Energy_Wh' has a unit.*energy_mj"),
        (HEADER + "architecture,speed\n" + ROW, "no column is a metric"),
        (HEADER + "architecture,latency_ms,latency_ms\n" + f"{THREE},1,2\n", "line 4.*distinct"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP}", "line 6: 1 cells.*2 columns"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP}\n", "line 6: latency_ms.*empty"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},1,2\n", "line 6: 3 cells.*2 col"),
        (HEADER + "architecture,latency_us,latency_s\n" + f"{SKIP},1,2\n", "both give latency_ms"),
        (HEADER + "# batch size: 3\narchitecture,latency_ms\n" + ROW, "line 4.*'# batch_size:'"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},0\n", "line 6: latency_ms.*posi"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},-3\n", "line 6: latency_ms.*-3"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},nan\n", "line 6: latency_ms.*nan"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},\n", "line 6: latency_ms.*empty"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},١٢\n", "line 6: latency_ms.*numb"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},1_0\n", "line 6: latency_ms.*1_0"),
        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},1e999\n", "line 6.*finite"),
        (HEADER + "architecture,latency_ms\n" + ROW + f'{SKIP},"1,234"\n', "some numbers.*comma"),
        (HEADER + "architecture,latency_ms\n" + f'{SKIP},"1,234"\n', "no separator of thousands"),
        (HEADER + "architecture,device,latency_ms\n" + f"{SKIP},a,5\n{THREE},b,5\n",
         "several devices, a, b"),
        (HEADER + "architecture;latency_ms\n[0,0,0,0,0,7];5\n", "line 5: 3<-2 .*0 to 4, got 7"),
        (HEADER + "architecture;latency_ms\n[0,0];5\n", "line 5: 2 numbers.*6 decisions"),

        (HEADER + "architecture,latency_ms\n" + ROW + f"{SKIP},fast\n", "line 6.*'fast'"),
        (HEADER + "architecture,latency_ms,repeats\n" + f"{SKIP},3,2.5\n", "line 5: repeats.*2.5"),
        (HEADER + "architecture,latency_ms\n" + ROW + ROW.replace("12.5", "13"),
         "line 6 is the same architecture as line 5.*13.*12.5"),
        (HEADER + "architecture,latency_ms\n" + ROW.replace("3x3~0|none", "3x4~0|none"),
         "line 5: .*Did you mean 'nor_conv_3x3'"),
        (HEADER + "# rows: 2\narchitecture,latency_ms\n" + ROW, "cut short.*2 whole rows"),
        (HEADER + "# rows: 1\narchitecture,latency_ms\n" + ROW[:-2], "cut short"),
        (HEADER.replace("[32,", "[32") + "architecture,latency_ms\n" + ROW, "'# space:' is damag"),
        (HEADER.replace("Pixel 8", "{3}") + "architecture,latency_ms\n" + ROW, "'# device:' is da"),
        (HEADER.replace("2\n", "two\n") + "architecture,latency_ms\n" + ROW, "batch_size.*'two'"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_its_line(tmp_path, text, reason):
    with pytest.raises(UserError, match=rf"(?s)phone\.csv: .*{reason}"):
        _read(tmp_path, text)


def test_a_file_of_another_space_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"phone\.csv.*belong to the space.*nasbench201.*toy"):
        _read(tmp_path, HEADER + "architecture,latency_ms\n" + ROW, space=ToySpace())


def test_a_file_cut_anywhere_is_refused_and_never_read_in_part(tmp_path):
    space = ToySpace()
    measurements = synthetic(space, space.enumerate()[:5], noise=0.1)
    for name in ("m.csv", "m.json"):
        path = tmp_path / name
        save_measurements(measurements, path)
        whole = path.read_text()
        for size in range(0, len(whole) - (1 if name == "m.csv" else 2), 7):
            path.write_text(whole[:size])
            with pytest.raises(UserError, match=rf"m\.{name[2:]}"):
                load_measurements(path, space)


def _cells(latencies_ms, device=None, batch_size=1, operations=None):
    rows = np.random.default_rng(0).permutation(CELLS.enumerate())[: len(latencies_ms)]
    return Measurements(
        device={"platform": "cpu", "kind": "cpu", "cpu_count": 4} if device is None else device,
        software={}, batch_size=batch_size, space=CELLS.spec, operations=operations or {},
        architectures=tuple(CELLS.to_names(row) for row in rows),
        networks=tuple({"latency_ms": Sample(float(ms))} for ms in latencies_ms),
    )  # fmt: skip


def _reload(tmp_path, measurements):
    save_measurements(measurements, tmp_path / "m.json")
    return load_measurements(tmp_path / "m.json")


def test_units_that_cannot_be_right_are_refused(tmp_path):
    fine = np.full(12, 12.0)
    assert _reload(tmp_path, _cells(fine)).latencies_ms.tolist() == fine.tolist()
    with pytest.raises(UserError, match=r"m\.json: latency_ms is 0\.012.*Are these seconds\?"):
        _reload(tmp_path, _cells(fine / 1e3))
    with pytest.raises(UserError, match=r"Are these seconds\?"):  # of any device: above 1e15 a s
        _reload(tmp_path, _cells(fine / 1e6, device={"kind": "chip"}))
    with pytest.raises(UserError, match=r"Are these microseconds or nanoseconds\?"):
        _reload(tmp_path, _cells(fine * 1e3))
    with pytest.raises(UserError, match=r"Are these microseconds or nanoseconds\?"):
        _reload(tmp_path, _cells(fine * 1e6, device={"kind": "chip"}))
    mixed = fine.copy()
    mixed[7] *= 1e3
    with pytest.raises(UserError, match=r"networks\[7\]: latency_ms 12000 is .* times slower"):
        _reload(tmp_path, _cells(mixed))


def test_networks_and_operations_must_be_in_one_unit(tmp_path):
    parts = {name: {"latency_ms": Sample(0.05)} for name in CELLS.operations()[0]}
    chip = {"kind": "chip"}
    assert _reload(tmp_path, _cells(np.full(5, 2.0), chip, operations=parts))
    with pytest.raises(UserError, match="times as long as their operations together"):
        _reload(tmp_path, _cells(np.full(5, 2000.0), chip, operations=parts))


def test_a_cell_without_a_path_may_take_next_to_nothing(tmp_path):
    text = HEADER + f"architecture,latency_ms\n{CUT},1e-6\n" + ROW + f"{SKIP},5\n"
    assert _read(tmp_path, text).latencies_ms.tolist() == [1e-6, 12.5, 5.0]


def test_metrics_other_than_latency_need_no_latency(tmp_path):
    found = _read(tmp_path, HEADER + f"architecture,energy_mj\n{SKIP},5\n")
    assert found.metrics == ("energy_mj",)
    assert found.observations(CELLS).values["energy_mj"].tolist() == [5.0]
    assert dataclasses.replace(found, networks=(), architectures=()).metrics == ()
