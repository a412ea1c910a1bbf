"""Unpickling that runs nothing."""

import builtins
import bz2
import collections
import contextlib
import gzip
import io
import os
import pickle
import struct
import tracemalloc
import types
import zipfile
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.errors import UserError
from hwnas_jax.files import unpickle
from hwnas_jax.files.pickles import is_torch, load_npy, load_pickle, load_torch

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text(max_size=5) | st.binary(max_size=5)
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(leaves, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(values, st.integers(0, 5))
def test_plain_values_come_back(tmp_path_factory, value, protocol):
    path = tmp_path_factory.mktemp("p") / "plain.pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_pickle(path) == value


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_may_be_compressed(tmp_path, protocol, compress):
    value = {"a": [np.float64(1.5), {3, 4}], ("b", 7): np.arange(5.0)}
    content = compress(pickle.dumps(value, protocol))
    path = tmp_path / "p.pickle.pbz2"
    path.write_bytes(content)
    found = load_pickle(path)
    assert found["a"] == [1.5, {3, 4}]
    np.testing.assert_array_equal(found["b", 7], np.arange(5.0))
    for damaged in (content[:-1], content[:40], content[:4], content[:20] + b"x" + content[21:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_pickle(path)
    path.write_bytes(compress(pickle.dumps(Runs(os.system, "true"), protocol)))
    with pytest.raises(UserError, match=r"posix\.system"):
        load_pickle(path)


def test_npy_files_may_hold_plain_objects_and_nothing_else(tmp_path):
    path = tmp_path / "n.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(load_npy(path), np.arange(6.0).reshape(2, 3))
    np.save(path, {"data": np.arange(4), "label": [1, 2]}, allow_pickle=True)
    found = load_npy(path)
    assert found["label"] == [1, 2]
    np.testing.assert_array_equal(found["data"], np.arange(4))
    triple = np.empty(3, object)
    triple[:] = [7, "ACD", np.eye(2)]
    np.save(path, triple, allow_pickle=True)
    length, text, array = load_npy(path)
    assert (length, text) == (7, "ACD")
    np.testing.assert_array_equal(array, np.eye(2))
    np.save(path, np.array(Runs(os.system, "true"), object), allow_pickle=True)
    with pytest.raises(UserError, match=r"posix\.system"):
        load_npy(path)
    for damaged in (b"", b"no array", path.read_bytes()[:60]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_npy(path)


def test_pickles_of_python_2_are_read(tmp_path):
    """There the bytes of an array and a text are one kind of value, written as SHORT_BINSTRING."""

    def text(content):
        return b"U" + bytes([len(content)]) + content

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + text(b"\x00\x80\xff") + b"tb"
    )
    path = tmp_path / "two.pickle"
    path.write_bytes(
        b"\x80\x02}(" + text(b"data") + array + text(b"name") + text(b"caf\xe9") + b"u."
    )
    found = load_pickle(path)
    np.testing.assert_array_equal(found["data"], np.array([0, 128, 255], np.uint8))
    assert found["name"] == "caf\xe9"


def test_values_without_arrays_are_not_copied_and_those_with_some_are_whole(tmp_path):
    shared = [1, 2]
    value = {"plain": {"x": shared, "y": shared}, "mixed": {"x": shared, "array": np.arange(3)}}
    path = tmp_path / "p.pickle"
    path.write_bytes(pickle.dumps(value))
    found = load_pickle(path)
    assert found["plain"] == {"x": [1, 2], "y": [1, 2]}
    assert found["plain"]["x"] is found["plain"]["y"] is found["mixed"]["x"]
    np.testing.assert_array_equal(found["mixed"]["array"], np.arange(3))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_set_holds_no_names(tmp_path, protocol):
    path = tmp_path / "p.pickle"
    path.write_bytes(pickle.dumps({np.dtype("f8")}, protocol))
    with pytest.raises(UserError, match="a name where a value should be"):
        load_pickle(path)
    path.write_bytes(pickle.dumps(Runs(set, 3), protocol))
    with pytest.raises(UserError, match="damaged"):
        load_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_numpy_come_back(tmp_path, protocol):
    arrays = [
        np.arange(6, dtype=">i4").reshape(2, 3).T, np.zeros((0, 2)), np.array(["ab", "c"]),
        np.array([True, False]), np.float32(1.5), np.int64(-3), np.bool_(True), np.arange(3.0),
    ]  # fmt: skip
    path = tmp_path / "n.pickle"
    path.write_bytes(pickle.dumps(arrays, protocol))
    for before, after in zip(arrays, load_pickle(path), strict=True):
        np.testing.assert_array_equal(before, after)
    path.write_bytes(pickle.dumps(np.array([{"a": np.float64(1)}, [2]], object), protocol))
    assert load_pickle(path) == [{"a": 1.0}, [2]]


class Runs:
    """Calls `function(*args)` when a trusting reader unpickles it."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Sets:
    """Sets the state of what `function(*args)` returns."""

    def __init__(self, function, args, state):
        self.function, self.args, self.state = function, args, state

    def __reduce__(self):
        return self.function, self.args, self.state


def _touch(path):
    return f"open({str(path)!r}, 'w').close()"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda proof: Runs(os.system, f"touch {proof}"), r"posix\.system"),
        (lambda proof: Runs(eval, _touch(proof)), r"(__builtin__|builtins)\.eval"),
        (lambda proof: Runs(exec, _touch(proof)), r"(__builtin__|builtins)\.exec"),
        (lambda proof: {"a": [1, Runs(open, str(proof), "w")]}, r"\.open"),
        (lambda proof: Runs(getattr, [], "append"), r"\.getattr"),
        (lambda proof: Runs(__import__, "this"), r"\.__import__"),
        (lambda proof: Runs(pickle.loads, b"N."), r"pickle\.loads"),
        (lambda proof: Runs(np.load, str(proof)), "numpy.*load"),
        (lambda proof: Runs(collections.deque, [1]), r"collections\.deque"),
        (lambda proof: complex(1, 2), "complex"),
        (lambda proof: object, "object"),
    ],
)
def test_anything_else_is_named_and_nothing_is_run(tmp_path, protocol, build, named):
    proof, path = tmp_path / "proof", tmp_path / "bad.pickle"
    content = pickle.dumps(build(proof), protocol)
    path.write_bytes(content)
    for load in (load_pickle, load_torch):
        with pytest.raises(UserError, match=named):
            load(path)
    assert not proof.exists()


def _program(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def _name(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # What the reader hands out is called with nonsense, changed, or looked into.
        (_program(_name("numpy", "dtype"), b"}\x8c\x05stateK\x01sb"), "sets the state"),
        (_program(_name("numpy", "dtype"), b"N}\x8c\x0c__defaults__)s\x86b"), "sets the state"),
        (_program(_name("numpy", "dtype"), b")\x81"), "damaged"),
        (_program(_name("numpy", "dtype"), b"\x8c\x01O\x85R"), "a name where a value"),
        (_program(_name("numpy", "dtype"), b"\x8c\x05f8,f8\x85R"), "not plain numbers"),
        (_program(_name("numpy", "dtype"), b"\x8c\x03bad\x85R"), "damaged"),
        (_program(_name("numpy._core.multiarray", "scalar"), b"K\x01C\x01a\x86R"), "no numbers"),
        (_program(_name("numpy", "ndarray"), b"}(K\x01" + _name("numpy", "dtype") + b"u\x86R"),
         "damaged"),
        (_program(b"}", _name("numpy", "dtype"), b"K\x01s"), "a name where a value"),
        (_program(_name("_codecs", "encode"), b"\x8c\x01a\x8c\x03rot\x86R"), "'rot'"),
        (_program(_name("numpy", "dtype.__class__"), b"0N"), "numpy.dtype.__class__"),
        (_program(_name("numpy", "core.os.system"), b"0N"), "numpy.core.os.system"),
        (_program(b"\x8c\x01aQ"), "outside of itself"),
        (b"\x80\x04r\xff\xff\xff\x7f.", "damaged"),
        (_program(b"]", b"]a" * 3)[:-3], "damaged"),
        (b"", "damaged"),
        (b"\x80\x09N.", "damaged"),
    ],
)  # fmt: skip
def test_tricks_with_what_is_allowed_are_refused(tmp_path, content, said):
    path = tmp_path / "trick.pickle"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        load_pickle(path)
    path.write_bytes(pickle.dumps([np.float64(1.5), np.arange(2.0)]))
    assert load_pickle(path)[0] == 1.5


def test_nesting_cannot_fill_memory(tmp_path):
    path = tmp_path / "deep.pickle"
    value = ["x"]
    for _ in range(45):
        value = [value] * 10
    path.write_bytes(pickle.dumps(value))
    for _ in range(45):
        value = value[0]
    found = load_pickle(path)
    for _ in range(45):
        found = found[3]
    assert found == value == ["x"]
    cycle = []
    cycle.append(cycle)
    path.write_bytes(pickle.dumps(cycle))
    with pytest.raises(UserError, match="nested more than"):
        load_pickle(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_damaged_file_never_raises_anything_else(tmp_path_factory, data):
    value = {"a": [np.float64(1.5), np.arange(5.0)], "b": "text"}
    content = bytearray(pickle.dumps(value, data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("d") / "d.pickle"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(UserError):
        load_pickle(path)


class _Class:
    """Stands for a class of torch in a pickle that is written here without torch."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Pickler(pickle._Pickler):
    """Writes `_Class` as a global and `_Pid` as a persistent reference, as torch does."""

    # The table of `pickle` itself is changed by dill, which Hugging Face's library imports.
    dispatch: ClassVar[dict] = {
        kind: getattr(pickle._Pickler, f"save_{name}")
        for kind, name in {
            type(None): "none", bool: "bool", int: "long", float: "float", bytes: "bytes",
            str: "str", tuple: "tuple", list: "list", dict: "dict", set: "set", type: "type",
            types.FunctionType: "global",
        }.items()
    }  # fmt: skip

    def persistent_id(self, value):
        return value.pid if isinstance(value, _Pid) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Class):
            self.write(_name(value.module, value.name))
        elif isinstance(value, _Tensor):
            self.save(_Class("torch._utils", "_rebuild_tensor_v2"))
            self.save((value.storage, value.offset, value.size, value.stride, False, {}))
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


class _Pid:
    def __init__(self, *pid):
        self.pid = pid


class _Tensor:
    def __init__(self, storage, offset, size, stride):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


def torch_zip(path, value, storages, **changes):
    """Writes a zip as torch.save does; `storages` are arrays by key."""
    out = io.BytesIO()
    _Pickler(out, 2).dump(value)
    with zipfile.ZipFile(path, "w", changes.get("compression", zipfile.ZIP_STORED)) as archive:
        archive.writestr("archive/data.pkl", out.getvalue())
        archive.writestr("archive/byteorder", changes.get("order", "little"))
        archive.writestr("archive/version", "3\n")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())


def torch_legacy(path, value, storages):
    """Writes the older form."""
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "type_sizes": {}}):
            pickle.dump(part, file, 2)
        _Pickler(file, 2).dump(value)
        pickle.dump(list(storages), file, 2)
        for array in storages.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())


def storage(key, kind, count, *view):
    return _Pid("storage", _Class("torch", kind), key, "cpu", count, *view)


DATA = np.arange(7, dtype="<f4")
LONGS = np.arange(4, dtype="<i8")


def _value(*view):
    floats = storage("0", "FloatStorage", 7, *view)
    longs = storage("1", "LongStorage", 4, *view)
    return {
        "matrix": _Tensor(floats, 1, (3, 2), (1, 3)),
        "list": [1.5, _Tensor(longs, 2, (2,), (1,)), _Tensor(longs, 3, (), ())],
    }


@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
def test_tensors_are_read_without_torch(tmp_path, write):
    path = tmp_path / "t.pt"
    write(path, _value(*([] if write is torch_zip else [None])), {"0": DATA, "1": LONGS})
    assert is_torch(path)
    found = load_torch(path)
    np.testing.assert_array_equal(found["matrix"], DATA[1:].reshape(2, 3).T)
    assert found["list"][0] == 1.5
    np.testing.assert_array_equal(found["list"][1], [2, 3])
    assert found["list"][2] == 3


@pytest.mark.parametrize(
    ("size", "stride"),
    [((10**8,), (0,)), ((8,), (0,)), ((4, 2), (1, 0)), ((8,), (1,)), ((2,), (7,)), ((-1,), (1,))],
)
def test_tensors_larger_than_their_storage_are_refused(tmp_path, size, stride):
    path = tmp_path / "t.pt"
    torch_zip(path, _Tensor(storage("0", "FloatStorage", 7), 0, size, stride), {"0": DATA})
    with pytest.raises(UserError, match="damaged: a tensor"):
        load_torch(path)


def refused(path, content):
    """Returns the message for a pickle, for which little memory is taken."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as told:
            (load_torch if is_torch(path) else load_pickle)(path)
        assert tracemalloc.get_traced_memory()[1] < 400 * 2**20
    finally:
        tracemalloc.stop()
    return str(told.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\x0f.", b"Np1000000000\n.", b"Np-1\n.",
        b"\x80\x04\x95\x07\0\0\0\0\0\0\0Nr\xff\xff\xff\x0f.",
    ],
)  # fmt: skip
def test_a_number_that_asks_for_memory_is_refused(tmp_path, content):
    assert "keeps a value at the number" in refused(tmp_path / "p", content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04" + b"]0" * 1_100_000 + b"N.",
        b"\x80\x04\x8e" + struct.pack("<q", 2**26) + bytes(2**26) + b".",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("compress", "size"), [(bz2.compress, 2**12), (gzip.compress, 2**17)])
def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, content, compress, size):
    packed = compress(content)
    assert len(packed) < size
    assert "unpacks to far more than its size" in refused(tmp_path / "p", packed)


def test_copies_are_bounded(tmp_path):
    text = pickle.dumps("a" * 2**20, 2)[2:-1]
    copies = _program(
        b"(", text, b"q\x00", _name("_codecs", "encode"), b"q\x01",
        b"h\x01h\x00\x8c\x06latin1\x86R" * 80, b"l",
    )  # fmt: skip
    assert "makes far more of its values" in refused(tmp_path / "p", copies)
    pairs = _program(
        b"(", pickle.dumps([(n, n) for n in range(2000)], 2)[2:-1], b"q\xfa",
        _name("collections", "OrderedDict"), b"q\xfb", b"h\xfbh\xfa\x85R" * 400, b"l",
    )  # fmt: skip
    assert "makes far more of its values" in refused(tmp_path / "p", pairs)


def test_copies_of_bytes_of_python_2_and_of_long_texts_are_bounded(tmp_path):
    text = b"T" + struct.pack("<i", 2**20) + b"a" * 2**20 + b"q\xfa0"
    kind = _name("numpy", "dtype") + b"(X\x08\0\0\0S1048576\x89\x88tRq\xfb0"
    scalar = _name("numpy.core.multiarray", "scalar") + b"q\xfc0"
    long = _program(text, kind, scalar, b"(", b"h\xfch\xfbh\xfa\x86R" * 80, b"l")
    assert "makes far more of its values" in refused(tmp_path / "p", long)
    kind = _name("numpy", "dtype") + b"(X\x02\0\0\0u1\x89\x88tRq\xfb0"
    make = _name("numpy.core.multiarray", "_reconstruct") + b"q\xfc0"
    one = b"h\xfcNNN\x87R(K\x01J\0\0\x10\0\x85h\xfb\x89h\xfatb"
    many = _program(text, kind, make, b"(", one * 80, b"l")
    assert "makes far more of its values" in refused(tmp_path / "p", many)
    (tmp_path / "p").write_bytes(_program(text, kind, make, one))
    np.testing.assert_array_equal(load_pickle(tmp_path / "p"), np.full(2**20, ord("a"), np.uint8))


def test_tensors_that_share_a_storage_take_no_more_than_a_few_times_its_size(tmp_path):
    numbers = np.zeros(2**18, "<f4")
    own = storage("0", "FloatStorage", 2**18)
    one = _Tensor(own, 0, (2**18,), (1,))
    torch_zip(tmp_path / "t.pt", [one, {"again": one}], {"0": numbers})
    found = load_torch(tmp_path / "t.pt")
    np.testing.assert_array_equal(found[0], numbers)
    torch_zip(tmp_path / "t.pt", [_Tensor(own, 0, (2**18,), (1,)) for _ in range(70)],
              {"0": numbers})  # fmt: skip
    said = refused(tmp_path / "t.pt", (tmp_path / "t.pt").read_bytes())
    assert said == "its tensors are parts of 1.0 MiB and would take 70: refused"


@pytest.mark.parametrize(
    ("depth", "said"),
    [(900, "nested more than 50"), (200_000, "nested more than 50"), (300_001, "300,000 tuples")],
)
def test_keys_are_nested_no_deeper_than_values(tmp_path, monkeypatch, depth, said):
    """A million in each other overflow the stack of a trusting reader, which ends the program."""
    monkeypatch.setattr(unpickle, "MOST_TUPLES", 300_000)
    content = _program(b"}N" + b"\x85" * depth + b"Ns")
    assert said in refused(tmp_path / "p", content)


def test_many_tuples_side_by_side_are_read(tmp_path):
    value = {(n, str(n)): (n,) for n in range(60_000)}
    (tmp_path / "p").write_bytes(pickle.dumps(value))
    assert load_pickle(tmp_path / "p") == value


def test_files_of_torch_itself_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    value = {
        "a": torch.arange(6.0).reshape(2, 3).T, "l": [0.5, torch.tensor(3)], "e": torch.zeros(0),
        "h": torch.arange(3, dtype=torch.int16)[1:], "b": torch.tensor([True, False]),
        "d": torch.linspace(0, 1, 5, dtype=torch.float64)[::2],
    }  # fmt: skip
    for new in (True, False):
        torch.save(value, tmp_path / "t.pt", _use_new_zipfile_serialization=new)
        found = load_torch(tmp_path / "t.pt")
        assert found["l"][0] == 0.5 and found["l"][1] == 3
        for key in "aehbd":
            np.testing.assert_array_equal(found[key], value[key].numpy())
    torch.save([1.0, 2.0], tmp_path / "list.pt")
    assert load_torch(tmp_path / "list.pt") == [1.0, 2.0]
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"names torch\.nn\.modules\.linear\.Linear"):
        load_torch(tmp_path / "module.pt")


@pytest.mark.parametrize(
    ("value", "storages", "said"),
    [
        ([_Tensor(storage("0", "FloatStorage", 7), 1, (7,), (1,))], {"0": DATA}, "does not fit"),
        ([_Tensor(storage("0", "FloatStorage", 7), -1, (2,), (1,))], {"0": DATA}, "negative"),
        ([_Tensor(storage("0", "FloatStorage", 7), 0, (10**6, 10**6), (0, 0))], {"0": DATA},
         "does not fit"),
        ([_Tensor(storage("0", "FloatStorage", 9), 0, (2,), (1,))], {"0": DATA}, "9 elements"),
        ([_Tensor(storage("0", "FloatStorage", 7), 0, (2,), (1,))], {}, "data/0"),
        ([_Tensor(storage("0", "QInt8Storage", 7), 0, (2,), (1,))], {"0": DATA}, "QInt8Storage"),
        ([_Tensor([1.0], 0, (1,), (1,))], {}, "no storage"),
        ([_Class("torch", "FloatStorage")], {}, "a name where a value"),
        ([_Class("torch", "load")], {}, r"torch\.load"),
        ([_Class("posix", "system")], {}, r"posix\.system"),
    ],
)  # fmt: skip
def test_bad_tensors_are_refused(tmp_path, value, storages, said):
    torch_zip(tmp_path / "t.pt", value, storages)
    with pytest.raises(UserError, match=said):
        load_torch(tmp_path / "t.pt")


def test_other_zips_and_cut_files_are_refused(tmp_path):
    path = tmp_path / "t.pt"
    torch_zip(path, _value(), {"0": DATA, "1": LONGS}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="not compressed"):
        load_torch(path)
    torch_zip(path, _value(), {"0": DATA, "1": LONGS}, order="big")
    with pytest.raises(UserError, match="big-endian"):
        load_torch(path)
    np.savez(tmp_path / "a.npz", a=DATA)
    assert not is_torch(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"no data\.pkl"):
        load_torch(tmp_path / "a.npz")
    for write, view in ((torch_zip, ()), (torch_legacy, (None,))):
        write(path, _value(*view), {"0": DATA, "1": LONGS})
        whole = path.read_bytes()
        for size in range(0, len(whole), 11):
            path.write_bytes(whole[:size])
            with pytest.raises(UserError):
                load_torch(path)


@pytest.mark.parametrize(
    ("offset", "value", "said"), [(6, 100, "version 10.0"), (8, 1, "encrypted")]
)
def test_zips_that_zipfile_does_not_read_are_refused(tmp_path, offset, value, said):
    path = tmp_path / "t.pt"
    torch_zip(path, _value(), {"0": DATA, "1": LONGS})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + offset] = value
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"damaged.*{said}"):
        load_torch(path)


def test_this_file_knows_what_a_trusting_reader_would_do(tmp_path):
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Runs(builtins.eval, _touch(proof))))
    assert proof.exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"{'descr'", b"{{{{{{{{", "damaged, or no"), (b"(2,)", b"(2,(", "damaged, or no"),
        (b"NUMPY\x01", b"NUMPY\x09", "of version"), (b"'shape'", b"'shame'", "damaged, or no"),
    ],
)  # fmt: skip
def test_a_damaged_header_of_objects_is_refused(tmp_path, old, new, said):
    np.save(tmp_path / "n.npy", np.array([None, "a"], object), allow_pickle=True)
    content = (tmp_path / "n.npy").read_bytes()
    assert content.count(old) == 1
    (tmp_path / "n.npy").write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=said):
        load_npy(tmp_path / "n.npy")
