"""Archives of arrays: good ones, damaged ones, and those that promise too much."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, named, numbers, read_npz, text, texts, write_npz

KNOWN = {
    "share": Array("float", ("M", "D"), 0, 1),
    "rows": Array("whole", ("N", "D"), 0),
    "names": Array("text", (2,), optional=True),
    "told": Array("float", ("M",), finite=False, optional=True),
}
GOOD = {
    "share": np.full((3, 4), 0.5, np.float32), "rows": np.zeros((5, 4), np.int16),
    "names": np.array(["a", "é"]), "told": np.array([1, np.nan, -np.inf]),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, GOOD)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_what_was_written_is_read(tmp_path, compressed):
    rare = {"big": np.arange(6, dtype=">f8").reshape(2, 3), "fortran": np.ones((2, 3), order="F"),
            "none": np.zeros((0, 3), np.uint8), "one": np.array(True)}  # fmt: skip
    path = tmp_path / "a.npz"
    write_npz(path, {**GOOD, **rare}, compressed=compressed)
    for found in (read_npz(path), read_npz(path, KNOWN, closed=False, sizes={"D": 4})):
        assert found.keys() == {*GOOD, *rare}
        for name, array in {**GOOD, **rare}.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype.newbyteorder("=")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": None}, "it lacks rows"),
        ({"row": np.zeros(3)}, "unknown array 'row'.*Did you mean 'rows'"),
        ({"share": np.zeros((3, 5), np.float32)}, r"rows must be whole\[N, D\] with D = 5, and is"),
        ({"share": np.zeros(4, np.float32)}, r"share must be float\[M, D\], and is float32\[4\]"),
        (
            {"share": np.zeros((3, 4), complex)},
            r"share.npy' is complex128\[3, 4\]: allowed are",
        ),
        ({"share": np.full((3, 4), "0.5")}, r"share must be float\[M, D\], and is <U3\[3, 4\]"),
        ({"share": np.full((3, 4), b"x")}, r"share.npy' is \|S1\[3, 4\]: allowed are real"),
        (
            {"share": np.array([[{}]], object)},
            r"is object\[1, 1\]: .*, never Python objects",
        ),
        ({"share": np.zeros(2, "i4,f4")}, "only arrays of numbers"),
        ({"share": np.full((3, 4), np.nan)}, r"share at \[0, 0\] is nan, and must be finite"),
        ({"share": np.full((3, 4), -0.5)}, r"share at \[0, 0\] is -0.5, and must be from 0 to 1"),
        ({"share": np.full((3, 4), np.inf)}, r"share at \[0, 0\] is inf, and must be from 0 to 1"),
        ({"rows": np.full((5, 4), -1)}, r"rows at \[0, 0\] is -1, and must be at least 0"),
        ({"rows": np.zeros((5, 4))}, r"rows must be whole\[N, D\] with D = 4, and is float64"),
        ({"names": np.array(["a"])}, r"names must be text\[2\], and is <U1\[1\]"),
        ({"told": np.zeros(2)}, r"told must be float\[M\] with M = 3, and is float64\[2\]"),
    ],
)
def test_what_an_array_must_be_is_told(tmp_path, changes, said):
    path = tmp_path / "a.npz"
    arrays = {name: array for name, array in {**GOOD, **changes}.items() if array is not None}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=said):
        read_npz(path, KNOWN)


def header(shape: str = "(2, 3)", kind: str = "'<f4'", more: str = "") -> bytes:
    """Returns the start of a `.npy` file."""
    said = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}{more}}}".encode()
    said += b" " * (-(len(said) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said


def archive(path, content: bytes, name: str = "a.npy", kind: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr(name, content)


DECLARED = [
    (header() + bytes(24), None),
    (header() + bytes(20), "which takes 152 bytes, and has 148"),
    (header() + bytes(28), "which takes 152 bytes, and has 156"),
    (header("(10000000000,)") + bytes(24), r"float32\[10000000000\], which takes 40000000128"),
    (header("(99999999999, 99999999999)") + bytes(24), "and has 152"),
    (header("(-2, -3)") + bytes(24), "impossible shape"),
    (header("(2.0, 3)") + bytes(24), "it is damaged"),
    (header("2, 3)") + bytes(24), "it is damaged"),
    (header("(2, 3") + bytes(24), "it is damaged"),
    (header("(" * 300) + bytes(24), "it is damaged"),
    (header("\\x00") + bytes(24), "it is damaged"),
    (header("(1,)" + " " * 20_000) + bytes(24), "it is damaged"),
    (header(kind="'float'") + bytes(24), "and has"),
    (header(kind="'<f3'") + bytes(24), "it is damaged"),
    (header(kind="'O'") + bytes(24), "only arrays of numbers"),
    (header(kind="[('a', '<f4')]") + bytes(24), "only arrays of numbers"),
    (header("(1,)", "'<U1000000000'") + bytes(24), "it is damaged"),
    (header(more=", 'x': 1") + bytes(24), "it is damaged"),
    (b"", "it is damaged"), (b"text", "it is damaged"), (b"\x93NUMPY\x09\x09", "header of version"),
    (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(40), "it is damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), DECLARED)
def test_a_header_that_lies_is_found_before_anything_is_made(tmp_path, content, said):
    path = tmp_path / "a.npz"
    archive(path, content)
    if said is None:
        np.testing.assert_array_equal(read_npz(path)["a"], np.zeros((2, 3)))
        return
    with pytest.raises(UserError, match=said):
        read_npz(path)


def patched(content: bytes, offset: int, value: int, width: str = "<H") -> bytes:
    """Returns a zip file of one member whose directory and own header say something else."""
    found = bytearray(content)
    place = found.index(b"PK\x01\x02")
    struct.pack_into(width, found, place + offset, value)
    if offset >= 6:  # both headers have the same fields, the directory's two bytes later
        struct.pack_into(width, found, offset - 2, value)
    return bytes(found)


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [(8, 1, "encrypted"), (10, 99, "compression method"), (10, 12, "Invalid data")],
)
def test_a_member_that_cannot_be_unpacked_is_told(tmp_path, offset, value, said):
    path = tmp_path / "a.npz"
    archive(path, header() + bytes(24))
    path.write_bytes(patched(path.read_bytes(), offset, value))
    with pytest.raises(UserError, match=f"it is damaged.*{said}"):
        read_npz(path)


def test_any_flipped_byte_is_told_or_harmless(path):
    content, told = path.read_bytes(), 0
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            found = read_npz(path, KNOWN)
        except UserError:
            told += 1
            continue
        for name, array in found.items():
            np.testing.assert_array_equal(array, GOOD[name])
    assert told > len(content) // 21


@pytest.mark.parametrize("kept", [0, 3, 100, 400, -1])
def test_a_file_cut_short_is_told(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="it is damaged"):
        read_npz(path, KNOWN)


def test_what_is_no_archive_of_arrays_is_told(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(UserError, match=r"one array without a name \(\.npy\)"):
        read_npz(tmp_path / "a.npy")
    for name in ("a.txt", "a", "a.npy/"):
        archive(tmp_path / "b.npz", b"x", name)
        with pytest.raises(UserError, match="is no array, or stands twice"):
            read_npz(tmp_path / "b.npz")
    with pytest.raises(UserError, match=r"it is damaged, or no \.npz file"):
        read_npz(tmp_path)


def bomb(size: int) -> bytes:
    """Returns a small archive of one array of `size` bytes that are all zero, made in pieces."""
    start = header(f"({size},)", "'|u1'")
    packer, check, packed, piece = zlib.compressobj(9, zlib.DEFLATED, -15), 0, io.BytesIO(), 2**22
    for content in (start, *[bytes(piece)] * (size // piece)):
        packed.write(packer.compress(content))
        check = zlib.crc32(content, check)
    packed.write(packer.flush())
    fields = (20, 0, 8, 0, 0, check, packed.tell(), len(start) + size, 5, 0)
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", *fields) + b"a.npy"
    middle = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, *fields, 0, 0, 0, 0, 0) + b"a.npy"
    place = len(local) + packed.tell()
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(middle), place, 0)
    return local + packed.getvalue() + middle + end


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(bomb(2**22))
    assert read_npz(path)["a"].shape == (2**22,)
    path.write_bytes(bomb(65 * 2**22))
    tracemalloc.start()
    with pytest.raises(UserError, match="its arrays take 260 MiB, and 256 MiB are the most"):
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    # A directory that says less than there is does not help: no more than it says is unpacked.
    content = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(magic) + place, 1000)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"it is damaged.*Bad CRC-32"):
        read_npz(path)


def test_parts_of_tables_are_checked():
    arrays = {"n": np.ones((2, 3)), "t": np.array(["a", "b"]), "one": np.array("x")}
    assert numbers(arrays, "n", 2).shape == (2, 3)
    assert texts(arrays, "t") == ("a", "b") and text(arrays, "one") == "x"
    for call in (lambda: numbers(arrays, "n", 1), lambda: numbers(arrays, "t", 1),
                 lambda: texts(arrays, "n"), lambda: text(arrays, "t")):  # fmt: skip
        with pytest.raises(UserError, match=r"[nt], an array|n, a list|t, a text"):
            call()
    assert named(np.array([[1, 0]]), ("a", "b")).tolist() == [["b", "a"]]
    with pytest.raises(UserError, match=r"row \[0\]: operation 2 has no name among 2"):
        named(np.array([[2]]), ("a", "b"))


def test_numbers_in_the_byte_order_of_other_machines_are_those_of_this_one(tmp_path):
    numbers = np.array([[1.5, -2.0]], ">f4")
    write_npz(tmp_path / "x.npz", {"x": numbers})
    found = read_npz(tmp_path / "x.npz", {"x": Array("float", ("N", "C"))})["x"]
    assert found.dtype == np.float32 and found.dtype.isnative
    np.testing.assert_array_equal(found, numbers)


def test_half_precision_is_compared_with_limits_that_it_cannot_hold():
    wide = Array("float", ("N",), -1e30, 1e30)
    wide.check_values("metric", np.array([0.5, 65504.0], np.float16))
    with pytest.raises(UserError, match="must be finite"):
        wide.check_values("metric", np.array([np.nan], np.float16))
