"""Unpickling that runs nothing: plain containers, numbers, texts, NumPy arrays, torch tensors.

A pickle is a program that may name any function and call it. Here every name is looked up in a
short table of functions that only store numbers. Any other name is refused before anything is
called, and the pickle cannot change the functions of the table. torch is not needed: a tensor is a
storage of numbers with a size and strides.
"""

import collections
import functools
import math
import operator
import pickle
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.files.watched import (
    MOST_TUPLES,
    SAFE_TUPLES,
    TooManyTuples,
    Watched,
    on_large_stack,
)

_DEEPEST = 50
_SHARED, _LEAST = 4, 2**26
"""Tensors may take as many times what their storages do, or as many bytes."""

_ELEMENT = 100
"""About how many bytes an element of a table or a set takes beside its value."""

_PLAIN = {type(None), bool, int, float, str, bytes}
_TORCH_TYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip


class _Fixed:
    """A value that a pickle may hold and pass on, but neither read nor change."""

    __slots__ = ()

    def __setstate__(self, state):
        raise UserError(f"it sets the state of {type(self).__name__.lower()}, which is refused")


class _Call(_Fixed):
    """A function that the pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name, value):
        raise UserError("it changes a function, which is refused")

    def __call__(self, *args):
        try:
            return self._function(*args)
        except (TypeError, ValueError, struct.error, OverflowError) as error:
            raise UserError(f"it is damaged: {error}") from error


class _Type(_Fixed):
    """The element type of an array or a storage."""

    __slots__ = ("dtype", "torch")

    def __init__(self, dtype: np.dtype, torch: bool = False):
        self.dtype, self.torch = dtype, torch

    def __setstate__(self, state):
        # NumPy gives the byte order only here: (version, order, and six fields about records).
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise UserError("it is damaged: an element type has an unknown state")
        if any(part is not None for part in state[2:5]):
            raise UserError("an element type has fields, which is not a number")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class _Storage(_Fixed):
    """Numbers that tensors share. The file holds them behind the pickle."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, key: str, dtype: np.dtype, count: int):
        self.key, self.dtype, self.count = key, dtype, count


class _Tensor(_Fixed):
    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: _Storage, offset: int, size: tuple, stride: tuple):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


class _Array(_Fixed):
    __slots__ = ("made", "value")

    def __init__(self, made: Callable[[int], None], value: Any = None):
        self.made, self.value = made, value

    def __setstate__(self, state):
        _, shape, kind, fortran, content = state
        if kind.dtype.kind == "O":
            # A list of plain values, or one value. `resolve` visits them later.
            if not isinstance(content, list) or shape not in ((), (len(content),)):
                raise UserError("it is damaged: an array of objects must be one list")
            if shape == () and len(content) != 1:
                raise UserError("it is damaged: an array of one object holds another number")
            self.value = content if shape else content[0]
        else:
            self.value = _numbers(self.made, content, kind, shape, "F" if fortran else "C")


def _numbers(made, content, kind, shape, order):
    if isinstance(content, str):  # the bytes of Python 2
        made(len(content))
        content = content.encode("latin1")
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, _Type):
        raise UserError("it is damaged: an array has no numbers")
    if kind.dtype.kind == "O":
        raise UserError("an array of objects is not plain numbers")
    flat = np.frombuffer(content, kind.dtype)
    shape = tuple(shape)
    if any(size < 0 for size in shape) or math.prod(shape) != len(flat):
        raise UserError(f"it is damaged: {len(flat)} numbers for an array of shape {shape}")
    return flat.reshape(shape, order=order)


def _dtype(name, align=False, copy=False):
    del align, copy
    kind = np.dtype(str(name))
    if kind.kind not in "biufUSO" or kind.names is not None:
        raise UserError(f"an array of {name!r} is not plain numbers")
    return _Type(kind)


def _scalar(made, kind, content=b""):
    value = _numbers(made, content, kind, (1,), "C")[0].item()
    made(4 * len(value) if isinstance(value, str | bytes) else 0)
    return value


def _encode(made, text, encoding="latin1"):
    if encoding != "latin1":
        named = f"as {encoding!r}" if isinstance(encoding, str) else "in an unknown way"
        raise UserError(f"it encodes text {named}, which is refused")
    made(len(text))
    return text.encode("latin1")


def _empty_array(made, kind, shape, content):
    del kind, shape, content
    return _Array(made)


def _from_buffer(made, content, kind, shape, order):
    return _Array(made, _numbers(made, content, kind, shape, order))


def _rebuild_tensor(storage, offset, size, stride, *_):
    if not isinstance(storage, _Storage):
        raise UserError("it is damaged: a tensor has no storage")
    size, stride = tuple(size), tuple(stride)
    if any(not isinstance(number, int) or number < 0 for number in (offset, *size, *stride)):
        raise UserError("it is damaged: a tensor has a negative size")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # A stride of zero lets few numbers stand for many; a file that is saved has no use for it.
    if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
        raise UserError(
            f"it is damaged: a tensor of size {size} and strides {stride} does not fit its storage "
            f"of {storage.count} numbers"
        )
    return _Tensor(storage, offset, size, stride)


def _no_bytes():
    return b""


def _ordered(made, pairs=()):
    copy = dict(pairs)
    made(_ELEMENT * len(copy))
    return copy


def _set(made, items=()):
    copy = set(items)
    made(_ELEMENT * len(copy))
    return copy


_NUMPY: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
}
_COPYING: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _empty_array,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("collections", "OrderedDict"): _ordered,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "scalar", _scalar),
            ("multiarray", "_reconstruct", _empty_array),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
"""Functions that copy what they are given. The first argument is told how many bytes that takes."""

_TORCH: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Watched, storages: bool):
        # Python 2 wrote texts and the bytes of arrays alike; latin1 keeps both.
        super().__init__(file, encoding="latin1")
        self.made, self.storages = file.made, storages

    def find_class(self, module: str, name: str) -> Any:
        if self.storages and module == "torch" and name in _TORCH_TYPES:
            return _Type(np.dtype(_TORCH_TYPES[name]).newbyteorder("<"), torch=True)
        if (module, name) in _COPYING:
            return _Call(functools.partial(_COPYING[module, name], self.made))
        known = _NUMPY | (_TORCH if self.storages else {})
        if (module, name) not in known:
            raise UserError(
                f"it names {module}.{name}, which is neither a plain container nor a number: "
                "refused, and nothing of it was run"
            )
        return _Call(known[module, name])

    def persistent_load(self, pid: Any) -> Any:
        if not self.storages or not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise UserError("it refers to something outside of itself: refused")
        tag, kind, key, _, count, *view = pid
        fine = tag == "storage" and isinstance(kind, _Type) and kind.torch
        if not fine or not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise UserError("it is damaged: a storage is not described")
        if view and view[0] is not None:
            raise UserError("a storage is a part of another, which is not read here")
        return _Storage(key, kind.dtype, count)


def unpickle(file: Any, storages: bool = False, packed: int | None = None) -> Any:
    """Returns what a pickle holds, with placeholders for arrays and tensors.

    Args:
      file: open for reading, at the start of the pickle.
      storages: whether it may refer to the storages of a file of torch.
      packed: size of the file, where it is unpacked while it is read.

    Raises:
      UserError: for a damaged pickle, one that names anything else, of which nothing is called, or
        one that would take far more memory than its size.
    """
    start = file.tell()
    try:
        return _load(file, SAFE_TUPLES, storages, packed)
    except TooManyTuples:
        file.seek(start)
    try:
        return on_large_stack(lambda: _load(file, MOST_TUPLES, storages, packed))
    except TooManyTuples:
        raise UserError(f"it has more than {MOST_TUPLES:,} tuples: refused") from None


def _load(file, tuples, storages, packed):
    try:
        return _Unpickler(Watched(file, tuples, packed), storages).load()
    except (UserError, TooManyTuples):
        raise
    except (pickle.UnpicklingError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"it is damaged: {error or type(error).__name__}") from error
    except Exception as error:  # what comes of instructions that do not go together
        raise UserError(
            f"it is damaged: its instructions do not go together ({type(error).__name__})"
        ) from error


def storage_sizes(value: Any) -> dict[str, tuple[np.dtype, int]]:
    """Returns the element type and number of elements of every storage in `value`.

    Raises:
      UserError: when a storage is described in two ways, or the tensors, each of which is copied,
        take far more memory than the storages that they share.
    """
    found: dict[str, tuple[np.dtype, int]] = {}
    tensors: dict[int, _Tensor] = {}
    seen: set[int] = set()
    todo = collections.deque([value])
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list | tuple):
            if id(item) not in seen:
                seen.add(id(item))
                todo.extend(item.values() if isinstance(item, dict) else item)
        elif isinstance(item, _Tensor):
            tensors[id(item)] = item
            storage = item.storage
            known = found.setdefault(storage.key, (storage.dtype, storage.count))
            if known != (storage.dtype, storage.count):
                raise UserError(f"it is damaged: storage {storage.key} is described in two ways")
    wanted = sum(math.prod(one.size) * one.storage.dtype.itemsize for one in tensors.values())
    held = sum(kind.itemsize * count for kind, count in found.values())
    if wanted > max(_SHARED * held, _LEAST):
        raise UserError(
            f"its tensors are parts of {held / 2**20:,.1f} MiB and would take "
            f"{wanted / 2**20:,.0f}: refused"
        )
    return found


def resolve(
    value: Any, storages: Mapping[str, np.ndarray], seen: dict[int, Any] | None = None,
    depth: int = 0,
) -> Any:  # fmt: skip
    """Returns `value` with every placeholder replaced by its array.

    Args:
      value: what `unpickle` returned.
      storages: the numbers of each storage, by its key.
      seen: what was replaced before, by identity.
      depth: how deep the value lies.

    Raises:
      UserError: for what is nested too deep, and for a name where a value should be.
    """
    if depth > _DEEPEST:
        raise UserError(f"it is nested more than {_DEEPEST} deep")
    seen = {} if seen is None else seen
    if isinstance(value, _Tensor):
        if id(value) not in seen:
            flat = storages[value.storage.key]
            bytes_apart = [step * flat.itemsize for step in value.stride]
            view = np.lib.stride_tricks.as_strided(flat[value.offset :], value.size, bytes_apart)
            seen[id(value)] = view.copy()
        return seen[id(value)]
    if isinstance(value, _Array):
        return resolve(value.value, storages, seen, depth + 1)
    hashed = value if isinstance(value, dict | set | frozenset) else ()
    if isinstance(value, _Fixed) or not _all_plain(hashed):
        raise UserError("it holds a name where a value should be")
    if not isinstance(value, dict | list | tuple):
        return value
    # The same list may be used in many places. It is copied at most once: with a copy for each
    # place, a small file could fill the memory. What holds no placeholder stays as it is: the
    # largest published files need all of the memory that there is.
    if id(value) not in seen:
        before = list(value.values()) if isinstance(value, dict) else value
        plain = _PLAIN.issuperset(map(type, before))
        items = before if plain else [resolve(i, storages, seen, depth + 1) for i in before]
        if plain or all(map(operator.is_, items, before)):
            seen[id(value)] = value
        elif isinstance(value, dict):
            seen[id(value)] = dict(zip(value, items, strict=True))
        else:
            seen[id(value)] = type(value)(items)
    return seen[id(value)]


def _all_plain(keys, depth=0):
    if _PLAIN.issuperset(map(type, keys)):
        return True
    if depth > _DEEPEST:
        raise UserError(f"it is nested more than {_DEEPEST} deep")
    return all(
        _all_plain(key, depth + 1) if isinstance(key, tuple | frozenset) else type(key) in _PLAIN
        for key in keys
    )
