"""`.npz` and `.npy` files: names, damage, and sizes that are refused before anything is read."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, arrays, load_data
from hwnas_jax.data.own.array_files import ArrayFiles
from hwnas_jax.data.stored import save_dataset
from hwnas_jax.errors import UserError
from hwnas_jax.files.npy import declared_arrays

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 6), dtype=np.uint8)
LABELS = np.arange(20) % 2
TEST = RNG.integers(0, 256, (8, 4, 6), dtype=np.uint8)


def load(path, **options):
    return ArrayFiles(str(path), **options).load()


def saved(folder, **named):
    np.savez(folder / "set.npz", **named)
    return folder / "set.npz"


NAMES = [
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("trainx", "trainy", "testx", "testy"),
    ("inputs", "targets", "test_inputs", "test_targets"),
    ("Train-Data", "Train-Label", "Test-Data", "Test-Label"),
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("form", ["npz", "npy"])
def test_names_say_what_arrays_are(tmp_path, names, form):
    named = dict(zip(names, (IMAGES, LABELS, TEST, LABELS[:8]), strict=True))
    path = tmp_path
    if form == "npz":
        path = saved(tmp_path, **named)
    else:
        for name, array in named.items():
            np.save(tmp_path / f"{name}.npy", array)
    data = load_data(DataConfig(path=str(path)))
    np.testing.assert_array_equal(data.train_inputs[..., 0], IMAGES)
    np.testing.assert_array_equal(data.test_inputs[..., 0], TEST)
    assert data.train_targets.tolist() == LABELS.tolist()
    assert data.notes == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": IMAGES}, r"name must be text\[\], and is uint8"),
        ({"output_names": np.arange(2)}, r"output_names must be text\[O\]"),
        ({"train_targets": np.full(16, 2, np.int32)}, "train_targets must be numbers of its 2 cl"),
        ({"test_targets": np.full(4, -1, np.int32)}, "test_targets must be numbers of its 2 cl"),
    ],
)
def test_the_kept_data_of_a_run_are_checked(tmp_path, changes, said):
    save_dataset(arrays(IMAGES, LABELS), tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz") as file:
        kept = dict(file)
    assert kept["train_targets"].shape == (16,) and load(tmp_path / "data.npz").num_outputs == 2
    path = saved(tmp_path, **kept | changes)
    with pytest.raises(UserError, match=rf"set\.npz: {said}"):
        load(path)


def test_one_value_is_no_array_of_examples(tmp_path):
    with pytest.raises(UserError, match="train inputs are one value, and must be an array"):
        load(saved(tmp_path, x=np.float32(1), y=LABELS))


def test_names_of_classes_and_arrays_that_mean_nothing(tmp_path):
    path = saved(tmp_path, x=IMAGES, y=LABELS, class_names=["no", "yes"], who=np.arange(3))
    data = load(path)
    assert data.output_names == ("no", "yes")
    assert "not read, since their names say nothing: who" in data.notes


def test_one_of_several_sets(tmp_path):
    named = {"a_x": IMAGES, "a_y": LABELS, "b_x": TEST, "b_y": LABELS[:8], "b_classes": ["u", "v"]}
    path = saved(tmp_path, **named)
    with pytest.raises(UserError, match="holds several sets: a, b; name one with"):
        load(path)
    assert load(path, subset="b").output_names == ("u", "v")
    assert load(path, subset="a").output_names == ("0", "1")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"arr_0": IMAGES}, r"holds arr_0 uint8\[20, 4, 6\]; understood are names such as train_i"),
        ({"x": IMAGES}, r"has no train targets; it holds x uint8"),
        ({"x": IMAGES, "images": IMAGES, "y": LABELS}, "both x and images are inputs of the train"),
        ({"x_test": IMAGES, "y_test": LABELS}, "there is no train part, only test"),
        (
            {"x": IMAGES, "y": LABELS, "names": np.eye(2)},
            "names of classes must be a list of texts",
        ),
        ({"x": IMAGES, "y": np.array([{}] * 20)}, "y is object.*never Python objects"),
        ({}, "holds nothing"),
    ],
)
def test_files_that_say_too_little_are_refused(tmp_path, named, message):
    with pytest.raises(UserError, match=message):
        load(saved(tmp_path, **named))


class Harmful:
    def __reduce__(self):
        return (open, ("harm", "w"))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", np.array([Harmful()] * 20), allow_pickle=True)
    with pytest.raises(UserError, match="never Python objects"):
        load(tmp_path)
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match=r"y\.npy is damaged, or no \.npy file"):
        load(tmp_path)
    assert not (tmp_path / "harm").exists()


def header(shape, kind="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def zipped(folder, **content):
    with zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, some in content.items():
            archive.writestr(f"{name}.npy", some)
    return folder / "set.npz"


def test_a_small_file_that_unpacks_to_much_is_refused_before_it_is_read(tmp_path):
    """Zeros pack a thousand times; the arrays are looked at by their headers."""
    images = header((5000, 100, 100)) + bytes(50_000_000)
    path = zipped(tmp_path, x=images, y=header((5000,)) + bytes(5000))
    assert path.stat().st_size < 100_000
    del images
    tracemalloc.start()
    with pytest.raises(UserError, match=r"takes 0\.0466 GiB .*more than 0\.01 GiB, what"):
        load(path, memory_gib=0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_half_of_the_free_memory_is_the_limit(tmp_path, monkeypatch):
    path = saved(tmp_path, x=IMAGES, y=LABELS)
    size = sum(array.nbytes for array in declared_arrays(path).values())
    for free, fits in ((2 * size, True), (2 * size - 2, False), (None, True)):
        monkeypatch.setattr("hwnas_jax.data.own.source.available_bytes", lambda free=free: free)
        if fits:
            load(path)
        else:
            with pytest.raises(UserError, match="half of the memory that is free"):
                load(path)
            load(path, memory_gib=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": header((20, 4, 6)) + bytes(10), "y": header((20,)) + bytes(20)}, "damaged"),
        ({"x": header((-2, 4)), "y": header((2,))}, "impossible shape"),
        ({"x": b"\x93NUMPY\x09\x00" + bytes(50), "y": header((2,))}, "damaged|version"),
        ({"x": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + bytes(99)}, "damaged"),
        ({"x": b"no array", "y": header((2,))}, "damaged"),
    ],
)
def test_damaged_arrays_are_named(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"set\.npz.*({message})"):
        load(zipped(tmp_path, **content))


def test_damaged_files_are_named(tmp_path):
    path = saved(tmp_path, x=IMAGES, y=LABELS)
    whole = path.read_bytes()
    for damaged in (b"", whole[:200], whole[:-30], b"PK" + whole[50:], bytes(300)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"set\.npz is damaged, or no \.npz file"):
            load(path)
    flipped = bytearray(whole)
    flipped[200] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(UserError, match=r"set\.npz is damaged"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"its entry readme\.txt is no array"):
        load(path)
    (tmp_path / "x.bin").write_bytes(b"1")
    with pytest.raises(UserError, match=r"x\.bin is not a \.npz file, or a folder of \.npy files"):
        load(tmp_path / "x.bin")


@pytest.mark.parametrize("task", ["multi_label", "mine"])
def test_a_saved_data_set_is_read_back_bit_for_bit(tmp_path, task):
    data = arrays(RNG.standard_normal((9, 3, 40, 7)), np.arange(9) % 2, layout="NHWC", name="süß")
    if task == "mine":  # targets that no file of arrays alone would be understood by
        masks = RNG.integers(0, 9, (9, 3, 40)).astype(np.int16)
        parts = vars(data) | {"task": task}
        parts |= {"train_targets": masks[: len(data.train_targets)], "test_targets": masks[7:]}
        data = type(data)(**{key: parts[key] for key in data.__dataclass_fields__})
    save_dataset(data, tmp_path / "data.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]
    again = load_data(DataConfig(path=str(tmp_path / "data.npz")))
    for key in data.__dataclass_fields__:
        one, other = getattr(data, key), getattr(again, key)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def test_real_sets(shared):
    data = load(shared / "pneumoniamnist.npz")
    assert data.train_inputs.shape == (4708 + 524, 28, 28, 1)
    assert data.test_inputs.shape == (624, 28, 28, 1)
    series = load(shared / "timeseries_small.npz", subset="basic_motions", layout="NCL")
    assert series.input_shape == (1, 100, 6)
    assert series.output_names == ("Badminton", "Running", "Standing", "Walking")


def test_a_header_that_names_something_is_told(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"(20,", b"(q0,"))
    with pytest.raises(UserError, match=r"x\.npy is damaged, or no \.npy file: .* a name"):
        load(tmp_path)


def test_bytes_behind_an_array_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:128] + b"\0" + whole[128:])
    with pytest.raises(UserError, match=r"x.npy is damaged: 1 bytes stand behind its array uint8"):
        load_data(DataConfig(path=str(tmp_path)))
