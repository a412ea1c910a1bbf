"""Files of pickles, and files of `torch.save`, read so that nothing in them can run."""

import bz2
import gzip
import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hwnas_jax.errors import UserError, shortened, shown
from hwnas_jax.files.npy import header_of, named_errors, read_array
from hwnas_jax.files.npz import member_names
from hwnas_jax.files.unpickle import resolve, storage_sizes, unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = pickle.dumps(_LEGACY_MAGIC, 2)


def load_pickle(path: Path) -> Any:
    """Reads a pickle file of plain values, which may be compressed by bzip2 or gzip.

    Returns:
      Dicts, lists, tuples, sets, texts, numbers, and `numpy` arrays.

    Raises:
      UserError: for a damaged file, or one that names anything else; nothing of it is called.
    """
    with path.open("rb") as file:
        start = file.read(3)
        file.seek(0)
        if start == b"BZh":
            return _unpacked(bz2.BZ2File(file), path)
        if start.startswith(b"\x1f\x8b"):
            return _unpacked(gzip.GzipFile(fileobj=file), path)
        return resolve(unpickle(file), {})


def _unpacked(content: Any, path: Path) -> Any:
    with content:
        value = unpickle(content, packed=path.stat().st_size)
        try:
            content.read(1)  # the checksum is compared only when the end is reached
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f"it is damaged: {error}") from error
    return resolve(value, {})


def load_npy(path: Path) -> Any:
    """Reads a `.npy` file; one that holds Python objects is a pickle, and read as such.

    Returns:
      An array of plain values, or what `np.save` was given: a dict, a list.

    Raises:
      UserError: as `load_pickle`.
    """
    with named_errors(path, "no .npy file"), path.open("rb") as file:
        said = header_of(file, str(path))
        if said.dtype.hasobject:
            file.seek(said.header)
            return resolve(unpickle(file), {})
    return read_array(path)


def kind_of(value: Any) -> str:
    """Returns what a value of a pickle is, for messages.

    >>> kind_of(None), kind_of({}), kind_of(1.5)
    ('nothing', 'a table', 'a number')
    """
    kinds = {
        dict: "a table", list: "a list", tuple: "a list", str: "a text", np.ndarray: "an array",
        bool: "a truth value", int: "a number", float: "a number", type(None): "nothing",
    }  # fmt: skip
    return kinds.get(type(value), "something else")


def fault(error: Exception) -> str:
    """Returns what an error of Python says of the content of a pickle.

    >>> fault(KeyError("arch"))
    "it lacks 'arch'"
    """
    if isinstance(error, KeyError):
        return f"it lacks {shown(error.args[0])}"
    if isinstance(error, ValueError):
        return shortened(error, 200)
    return "a value in it is of another kind than it should be"


def is_torch(path: Path) -> bool:
    """Returns whether a file is one of `torch.save`, in its zip or its older form."""
    with path.open("rb") as file:
        if file.read(len(_LEGACY_START)) == _LEGACY_START:
            return True
    return any(name.endswith("/data.pkl") for name in member_names(path))


def load_torch(path: Path) -> Any:
    """Reads what `torch.save` wrote, in its zip or its older form; tensors become arrays.

    Raises:
      UserError: as `load_pickle`.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            return _load_zip(path)
        file.seek(0)
        if unpickle(file) != _LEGACY_MAGIC:
            raise UserError("it is not a file of torch.save")
        unpickle(file)  # the version of the format
        system = resolve(unpickle(file), {})
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise UserError("it was written on a big-endian machine")
        value = unpickle(file, storages=True)
        keys = unpickle(file)
        if not isinstance(keys, list):
            raise UserError("it is damaged: its storages have no names")
        sizes = storage_sizes(value)
        storages = {}
        for key in keys:
            if key not in sizes:
                raise UserError(f"it is damaged: nothing uses its storage {key!r}")
            (count,) = struct.unpack("<q", _exactly(file, 8))
            kind, wanted = sizes[key]
            if count != wanted:
                raise UserError(f"it is damaged: storage {key} has {count} of {wanted} elements")
            storages[key] = np.frombuffer(_exactly(file, count * kind.itemsize), kind)
        return resolve(value, storages)


def _load_zip(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise UserError("it is not a file of torch.save: there is no data.pkl in it")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise UserError("it is not a file of torch.save: those are not compressed")
            folder = names[0].removesuffix("data.pkl")
            order = folder + "byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise UserError("it was written on a big-endian machine")
            value = unpickle(io.BytesIO(archive.read(names[0])), storages=True)
            storages = {}
            for key, (kind, count) in storage_sizes(value).items():
                content = archive.read(f"{folder}data/{key}")
                if len(content) != count * kind.itemsize:
                    raise UserError(f"it is damaged: storage {key} is not {count} elements long")
                storages[key] = np.frombuffer(content, kind)
    # zipfile raises RuntimeError for encryption and what else of the format it does not read.
    except (zipfile.BadZipFile, KeyError, OSError, RuntimeError) as error:
        raise UserError(f"it is damaged: {error}") from error
    return resolve(value, storages)


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise UserError("it is damaged: it ends in the middle of a storage")
    return content
