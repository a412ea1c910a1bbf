"""The folders of the HELP repository: a torch file of architectures, and one of latencies a device.

    data/nasbench201/  str_arch2idx.pt {string: row}            latency/<device>.pt
    data/fbnet/        metainfo.pt {"arch": [{"op_idx_list"}]}   latency/<device>.pt
    data/ofa/          ofa_archs.pt {"arch": [{ks, e, d, r}]}    latency/<device>.pt

A latency file holds a list or a tensor with one number for each architecture, in milliseconds.
`hardware_embedding_index.pt` holds the rows of the architectures that describe a device.

References: Lee et al., "HELP: Hardware-Adaptive Efficient Latency Prediction for NAS via
Meta-Learning", NeurIPS 2021; github.com/HayeonLee/HELP.

Legend: `N` architectures, `D` decisions, `V` devices.
"""

from pathlib import Path

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.files.readers.build_table import encode_names, make_table, require_numbers
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.pickles import fault, kind_of, load_torch
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core import published
from hwnas_jax.spaces.fbnet import FBNet

_ARCHITECTURES = {
    "nasbench201": "str_arch2idx.pt",
    "fbnet": "metainfo.pt",
    "ofa": "ofa_archs.pt",
}
_SPLITS: dict[str, dict[str, str]] = {
    "nasbench201": {
        "train": "1080ti_1 1080ti_32 1080ti_256 silver_4114 silver_4210r samsung_a50 pixel3 "
        "essential_ph_1 samsung_s7",
        "valid": "titanx_1 titanx_32 titanx_256 gold_6240",
        "test": "titan_rtx_256 gold_6226 fpga pixel2 raspi4 eyeriss",
    },
    "fbnet": {
        "train": "1080ti_1 1080ti_32 1080ti_64 silver_4114 silver_4210r samsung_a50 pixel3 "
        "essential_ph_1 samsung_s7",
        "valid": "titanx_1 titanx_32 titanx_64 gold_6240",
        "test": "fpga raspi4 eyeriss",
    },
    "ofa": {
        "train": "2080ti_1 2080ti_32 2080ti_64 titan_xp_1 titan_xp_32 titan_xp_64 v100_1 v100_32 "
        "v100_64",
        "valid": "titan_rtx_1 titan_rtx_32",
        "test": "titan_rtx_64",
    },
}


def read_help(folder: Path, *, task: str | None = None) -> CostTable:
    """Reads the latencies of one search space.

    Args:
      folder: the repository, its `data` folder, or the folder of one search space.
      task: which space: "nasbench201", "fbnet" or "ofa". None takes the first that is there.

    Raises:
      UserError: names the file that is missing, damaged, or of another length.
    """
    found = {
        name: place
        for name, file in _ARCHITECTURES.items()
        for place in (folder, folder / name, folder / "data" / name)
        if (place / "latency").is_dir() and (place / file).is_file()
    }
    if not found:
        raise UserError(
            "there is no folder of HELP in it: such a folder has latency/<device>.pt beside "
            + " or ".join(_ARCHITECTURES.values())
        )
    task = next(iter(found)) if task is None else choose(task, found, "search space in it")
    place = found[task]
    space, architectures = _architectures(place, task)
    columns = {}
    for file in sorted((place / "latency").glob("*.pt")):
        values = _numbers(_load(file), file)
        if values.shape != (len(architectures),):
            raise UserError(
                f"{file.name}: {values.size} latencies for {len(architectures)} architectures"
            )
        columns[file.stem] = require_numbers(values, f"latency_ms of {file.stem}")
    if not columns:
        raise UserError(f"{place / 'latency'} holds no .pt file")
    index = place / "hardware_embedding_index.pt"
    splits = {
        name: tuple(device for device in devices.split() if device in columns)
        for name, devices in _SPLITS[task].items()
    }
    return make_table(
        f"HELP {task}", space, architectures, tuple(columns),
        {"latency_ms": np.stack(list(columns.values()))},
        {name: devices for name, devices in splits.items() if devices},
        _numbers(_load(index), index).astype(int) if index.is_file() else np.zeros(0, int),
    )  # fmt: skip


def _load(file):
    try:
        return load_torch(file)
    except UserError as error:
        raise UserError(f"{file.name}: {error}") from error


def _numbers(value, file):
    """Returns `float64[n]` of a list or an array of numbers."""
    try:
        if isinstance(value, dict | str | bytes):
            raise ValueError(f"got {kind_of(value)}")
        return np.asarray([float(item) for item in value])
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{file.name}: it must hold a list of numbers: {fault(error)}") from error


def _whole(values):
    """Returns an array of whole numbers; Python would round others towards zero."""
    array = np.array(values)
    if array.dtype.kind not in "iu":
        raise ValueError("they are no whole numbers")
    return array


def _architectures(place: Path, task: str) -> tuple[Choices, np.ndarray]:
    file = place / _ARCHITECTURES[task]
    value = _load(file)
    try:
        if task == "nasbench201":
            cells = published.nasbench201()
            rows = {int(row): text for text, row in value.items()}
            if sorted(rows) != list(range(len(rows))) or len(rows) != len(value):
                raise UserError("its rows are not numbered 0, 1, 2, ...")
            return cells, np.stack([cells.from_string(rows[row]) for row in range(len(rows))])
        networks = value["arch"]
        if task == "fbnet":
            blocks = _whole([network["op_idx_list"] for network in networks])
            names = np.array(tuple(FBNet.blocks))
            if ((blocks < 0) | (blocks >= len(names))).any():
                raise UserError(f"a block is none of 0..{len(names) - 1}")
            fbnet = published.fbnet()
            return fbnet, encode_names(fbnet, names[blocks])
        columns = [
            _whole([np.ravel(network[key]) for network in networks])
            for key in ("ks", "e", "d", "r")
        ]
        space = published.OnceForAll()
        return space, encode_names(space, np.concatenate(columns, axis=1).astype(str))
    except UserError as error:
        raise UserError(f"{file.name}: {error}") from error
    except (TypeError, LookupError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{file.name}: it does not hold architectures: {fault(error)}") from error
