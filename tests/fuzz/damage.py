"""Strategies that damage a good file, and some that only spell it in another way."""

import copy
import io
import json
import struct
import warnings
import zipfile
from typing import Any

import numpy as np
from hypothesis import strategies as st

_BYTES = (b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"#", b",", b";", b"-",
          b"9" * 400, b"[" * 2000, "\uff11\uff12".encode(), "\u202e".encode(),
          b"\xed\xa0\x80")  # fmt: skip
_TEXTS = ("", " ", "../x", "a\0b", "\ud800", "\u202egnp", "\uff11\uff12", "5", "nan", "x" * 5000,
          "[red]x[/red]", "\x1b[2J", "$\\frac{$", "<b>", "=1+1", "é", "a/b", ".", "..")  # fmt: skip
_NUMBERS = (0, -1, 1, 2, 5, 7.0, 0.5, -0.0, 1e300, -1e300, 1e-320, 1e18, 10**30, 2**31, 2**63,
            float("nan"), float("inf"), -float("inf"))  # fmt: skip
_RAW = {
    "@digits": "1" * 401, "@exponent": "1e999", "@deep": "[" * 70 + "]" * 70,
    "@deeper": "[" * 100_000, "@comment": "1 // one", "@single": "'a'", "@half": r'"\ud800"',
    "@zero": "007", "@hex": "0x10", "@small": "1e-9999", "@plus": "+1",
}  # fmt: skip
_ODD = (None, True, False, *_NUMBERS, *_TEXTS, *_RAW, [], {}, [[]], [None], {"a": {"b": {}}})


@st.composite
def damaged_bytes(draw: Any, content: bytes) -> bytes:
    """Flips, cuts, inserts, repeats and removes some bytes of a file."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        match draw(st.sampled_from(("flip", "set", "cut", "insert", "remove", "repeat", "none"))):
            case "flip" if found:
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if found:
                found[at] = draw(st.integers(0, 255))
            case "cut":
                del found[at:]
            case "insert":
                found[at:at] = draw(st.sampled_from(_BYTES))
            case "remove":
                del found[at : at + draw(st.integers(1, 40))]
            case "repeat":
                found[at:at] = found[at : at + draw(st.integers(1, 200))]
            case "none":
                found = found[: at if draw(st.booleans()) else 0]
    return bytes(found)


def _places(value: Any, here: tuple = ()) -> list[tuple]:
    found = [here]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            found += _places(item, (*here, key))
    return found


def changed(draw: Any, value: Any) -> Any:
    """Changes one place of plain values; the rest is as it was."""
    place = draw(st.sampled_from(_places(value)))
    if not place:
        return copy.deepcopy(draw(st.sampled_from(_ODD)))
    *parents, last = place
    holder = value
    for key in parents:
        holder = holder[key]
    odd = copy.deepcopy(draw(st.sampled_from(_ODD)))
    match draw(st.sampled_from(("odd", "remove", "rename", "twice", "more", "wrap", "swap"))):
        case "remove":
            del holder[last]
        case "rename" if isinstance(holder, dict):
            name = draw(st.sampled_from((*_TEXTS, f"{last}s", str(last)[:-1], *holder)))
            holder[name] = holder.pop(last)
        case "twice" if isinstance(holder, dict):
            holder[f"@twice:{last}"] = odd
        case "twice":
            holder.insert(last, copy.deepcopy(holder[last]))
        case "more" if isinstance(holder, dict):
            holder[draw(st.sampled_from(_TEXTS))] = odd
        case "wrap":
            holder[last] = [holder[last]]
        case "swap":
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            other = draw(st.sampled_from(list(keys)))
            holder[last], holder[other] = holder[other], holder[last]
        case _:
            holder[last] = odd
    return value


@st.composite
def damaged_json(draw: Any, value: Any) -> bytes:
    """Changes some values or keys of plain values, and writes them as JSON or nearly."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 4)))):
        found = changed(draw, found)
    text = json.dumps(found, ensure_ascii=draw(st.booleans())).replace('"@twice:', '"')
    for mark, raw in _RAW.items():
        text = text.replace(f'"{mark}"', raw)
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        content = draw(damaged_bytes(content))
    return content


@st.composite
def respelt_json(draw: Any, value: Any) -> bytes:
    """Writes plain values as JSON in another order of keys, with other blanks and escapes."""

    def shuffled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: shuffled(part[key]) for key in draw(st.permutations(list(part)))}
        return [shuffled(item) for item in part] if isinstance(part, list) else part

    text = json.dumps(
        shuffled(value), indent=draw(st.sampled_from((None, 0, 3, "\t"))),
        separators=draw(st.sampled_from(((",", ":"), (", ", ": "), (" , ", "  :  ")))),
        ensure_ascii=draw(st.booleans()),
    )  # fmt: skip
    text = text.replace("\n", draw(st.sampled_from(("\n", "\r\n"))))
    mark, end = draw(st.sampled_from((b"", b"\xef\xbb\xbf"))), draw(st.sampled_from(("", "\n \t")))
    return mark + (text + end).encode()


def strict_json(content: bytes) -> Any:
    """Returns what Python's own parser reads; ValueError for what is no JSON, or a key twice."""

    def distinct(pairs: list) -> dict:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def none(word: str) -> Any:
        raise ValueError(f"{word} is no number")

    return json.loads(content.decode("utf-8-sig"), object_pairs_hook=distinct, parse_constant=none)


def packed(arrays: dict[str, Any], *, compressed: bool = False) -> bytes:
    """Returns a `.npz` file."""
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


_KINDS = ("f2", "f4", "f8", "c8", "i1", "u1", "i8", "u8", "?", "U3", "S3", ">f4", "M8[s]", "V4")


def odd_array(draw: Any, array: np.ndarray) -> np.ndarray:
    """Returns an array with another shape, type, or values."""
    array = np.array(array)
    match draw(st.sampled_from(("value", "value", "kind", "cut", "more", "axis", "empty", "turn"))):
        case "value" if array.size and array.dtype.kind in "fiu":
            flat = array.reshape(-1).copy()
            with np.errstate(all="ignore"):
                odd = np.array(
                    draw(
                        st.sampled_from(
                            [n for n in _NUMBERS if abs(n) < 2**62 or array.dtype.kind == "f"]
                        )
                    )
                )
                flat[draw(st.integers(0, flat.size - 1))] = odd.astype(array.dtype)
            return flat.reshape(array.shape)
        case "value" if array.dtype.kind == "U" and array.size:
            flat = array.reshape(-1).astype(object)
            flat[draw(st.integers(0, flat.size - 1))] = draw(st.sampled_from(_TEXTS))
            return flat.astype(str).reshape(array.shape)
        case "kind":
            try:
                with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
                    return array.astype(draw(st.sampled_from(_KINDS)))
            except (ValueError, TypeError, OverflowError):
                return np.full(array.shape, "x")
        case "cut" if array.ndim and array.size:
            return array[: draw(st.integers(0, len(array) - 1))]
        case "more" if array.ndim and array.size:
            return np.concatenate([array, array[-1:]])
        case "axis":
            return array[None]
        case "turn":
            return np.asfortranarray(array.T)
        case _:
            return np.zeros((0,) * max(1, array.ndim), array.dtype)


@st.composite
def damaged_arrays(draw: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """Changes, removes, renames or adds arrays."""
    found = dict(arrays)
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        name = draw(st.sampled_from(list(found) or ["a"]))
        match draw(st.sampled_from(("odd", "odd", "odd", "remove", "rename", "swap", "more"))):
            case "remove":
                found.pop(name, None)
            case "rename" if name in found:
                found[draw(st.sampled_from((f"{name}s", "x", "device", "é")))] = found.pop(name)
            case "swap" if name in found:
                other = draw(st.sampled_from(list(found)))
                found[name], found[other] = found[other], found[name]
            case "more":
                found["extra"] = np.zeros(draw(st.sampled_from((0, 3))))
            case _ if name in found:
                found[name] = odd_array(draw, found[name])
    return found


@st.composite
def damaged_zip(draw: Any, content: bytes) -> bytes:
    """Damages what a zip file says of its members: method, flags, sizes, checksum, names."""
    found = bytearray(content)
    places = [at for at in range(len(found) - 46) if found[at : at + 4] == b"PK\x01\x02"]
    if not places or draw(st.integers(0, 3)) == 0:
        return draw(damaged_bytes(content))
    at = draw(st.sampled_from(places))
    (local,) = struct.unpack_from("<I", found, at + 42)
    # A field of the directory, and the same one in the member's own header.
    offset, width, values = draw(
        st.sampled_from(
            (
                (8, "<H", (1, 8, 64, 0x2000)), (10, "<H", (99, 12, 14, 1, 8, 0, 93)),
                (16, "<I", (0, 1)), (20, "<I", (0, 1, 2**31, 2**32 - 1)),
                (24, "<I", (0, 1, 10**9, 2**32 - 1)), (28, "<H", (0, 1, 60000)),
                (42, "<I", (0, 1, 2**31)), (6, "<H", (100,)), (30, "<H", (1, 9, 65535)),
            )
        )
    )  # fmt: skip
    value = draw(st.sampled_from(values))
    struct.pack_into(width, found, at + offset, value)
    both = offset in (6, 8, 10, 16, 20, 24) and draw(st.booleans())
    if both and local + 30 <= len(found):
        struct.pack_into(width, found, local + offset - 2, value)
    return bytes(found)


@st.composite
def damaged_npz(draw: Any, arrays: dict[str, Any]) -> bytes:
    """Damages arrays, their headers, or the zip file around them."""
    compressed = draw(st.booleans())
    match draw(st.sampled_from(("arrays", "arrays", "arrays", "zip", "header", "single"))):
        case "arrays":
            return packed(draw(damaged_arrays(arrays)), compressed=compressed)
        case "zip":
            return draw(damaged_zip(packed(arrays, compressed=compressed)))
        case "single":
            out = io.BytesIO()
            np.save(out, next(iter(arrays.values())))
            return out.getvalue()
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    chosen = draw(st.sampled_from(list(arrays)))
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, array in arrays.items():
            single = io.BytesIO()
            np.save(single, array)
            content = single.getvalue()
            if name == chosen:
                content = draw(damaged_header(content))
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


@st.composite
def damaged_header(draw: Any, content: bytes) -> bytes:
    """Lets the header of a `.npy` file declare something else than what follows."""
    (length,) = struct.unpack_from("<H", content, 8)
    said, rest = content[10 : 10 + length].decode("latin1").rstrip(), content[10 + length :]
    shape = said.partition("'shape': ")[2].partition(")")[0] + ")"
    old, new = draw(
        st.sampled_from(
            (
                (shape, "(10000000000,)"), (shape, "(-1,)"), (shape, "(2, 0, 3)"), (shape, "()"),
                (shape, "(1" + "0" * 30 + ",)"), (shape, "(True,)"), (shape, "(1.5,)"),
                (shape, "1"), ("'descr': '", "'descr': '|O"), ("'descr': '", "'descr': '<V"),
                ("'fortran_order': False", "'fortran_order': True"), ("{", "{" * 90),
                ("'shape'", "'shapes'"), ("'descr'", "'x': 1, 'descr'"), ("}", "}; import os"),
            )
        )
    )  # fmt: skip
    said = said.replace(old, new, 1)
    head = said.encode("latin1", "replace")[:60000] + b"\n"
    return content[:8] + struct.pack("<H", len(head)) + head + rest
