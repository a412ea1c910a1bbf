"""One way in for every tabular benchmark, whatever its format."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas_jax.cost.files.readers.accel_nasbench import has_networks
from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.errors import UserError, listed
from hwnas_jax.files.npz import read_npz
from hwnas_jax.files.pickles import is_torch, kind_of, load_pickle, load_torch
from hwnas_jax.tabular import nasbench201, transnas_cell
from hwnas_jax.tabular.accel_nasbench import read_imagenet
from hwnas_jax.tabular.base import Benchmark
from hwnas_jax.tabular.builtin import BUILT_IN, built_in_table
from hwnas_jax.tabular.nasbench_macro import has_seeds, read_macro
from hwnas_jax.tabular.nats_size import has_widths, read_size
from hwnas_jax.tabular.own_table import is_table, read_table
from hwnas_jax.tabular.transnas_epochs import has_epochs, read_epochs
from hwnas_jax.tabular.transnas_macro import has_modules, read_modules
from hwnas_jax.tabular.transnas_tasks import has_tasks
from hwnas_jax.tabular.trials import has_trials, read_trials, read_trials_folder

_COMPACT = (
    (is_table, read_table),
    (nasbench201.has_columns, nasbench201.read_cells),
    (has_modules, read_modules),
    (has_tasks, transnas_cell.read_cells),
    (has_networks, read_imagenet),
    (has_widths, read_size),
    (has_seeds, read_macro),
)
_ORIGINAL = (
    (has_trials, read_trials),
    (has_epochs, read_epochs),
)
_PICKLED = (b"\x80", b"BZh")


def load_benchmark(path: str | Path, *, data_set: str | None = None) -> Benchmark:
    """Reads a benchmark; which it is shows in what the file holds, not in its name.

    It may be a compact `.npz` file, one of `hwnas table`, or what the authors publish: a file of
    torch.save, a pickle, or a folder of pickles. No pickle can run anything. What the authors
    publish takes minutes to read and is kept: asking again in the same process is free.

    Args:
      path: the file or folder; or its name in the folder `HWNAS_DATA`, where the suffix may be left
        out; or "built_in" for a small table that is made on this machine, once, in a few minutes.
      data_set: which of its data sets or tasks; the first of the file when left out.

    Raises:
      UserError: names the file and what is missing, damaged or cannot be.
    """
    found = built_in_table() if str(path) == BUILT_IN else find_data(path)
    try:
        if found.is_dir() or _is_pickled(found):
            about = found.stat()
            return _original(found.resolve(), data_set, about.st_mtime_ns, about.st_size)
        arrays = read_npz(found)
        for fits, read in _COMPACT:
            if fits(arrays):
                return read(found.name, arrays, data_set)
        raise UserError(
            "it holds no accuracies: neither columns such as cifar10_test_200 (NAS-Bench-201) or "
            "class_object_test_top1 (TransNAS-Bench-101) nor test_acc (NAS-Bench-Macro, and with "
            "widths NATS-Bench size) nor architecture and top1 (Accel-NASBench), but "
            f"{', '.join(arrays) or 'nothing'}"
        )
    except UserError as error:
        raise UserError(f"benchmark {found}: {error}") from error
    except OSError as error:
        raise UserError(f"benchmark {found} cannot be read: {error.strerror}") from error


def _is_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(3)
    return start.startswith(_PICKLED) or is_torch(path)


@functools.lru_cache(maxsize=4)
def _original(path: Path, data_set: str | None, *version: int) -> Benchmark:
    """Returns the benchmark of what its authors publish.

    Args:
      path: a file or a folder.
      data_set: as in `load_benchmark`.
      version: when it was written, and its size: a file that changes is read again.
    """
    del version
    if path.is_dir():
        return read_trials_folder(path, data_set)
    content: Any = load_torch(path) if is_torch(path) else load_pickle(path)
    for fits, read in _ORIGINAL:
        if fits(content):
            return read(path.name, content, data_set)
    held = listed([*map(str, content)]) if isinstance(content, Mapping) else kind_of(content)
    raise UserError(
        "it is neither NAS-Bench-201 nor NATS-Bench (meta_archs, arch2infos) nor "
        f"TransNAS-Bench-101 (data), but holds {held or 'nothing'}"
    )
