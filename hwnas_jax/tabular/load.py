"""One way in for every tabular benchmark, whatever its format."""

from pathlib import Path

from hwnas_jax.cost.files.readers.locate import find_data
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import read_npz
from hwnas_jax.tabular.base import Benchmark
from hwnas_jax.tabular.nasbench201 import has_columns, read_cells
from hwnas_jax.tabular.nasbench_macro import has_seeds, read_macro
from hwnas_jax.tabular.nats_size import has_widths, read_size
from hwnas_jax.tabular.transnas_cell import has_tasks, read_tasks

_READERS = (
    (has_columns, read_cells),
    (has_tasks, read_tasks),
    (has_widths, read_size),
    (has_seeds, read_macro),
)


def load_benchmark(path: str | Path, *, data_set: str | None = None) -> Benchmark:
    """Reads a benchmark; which it is shows in the arrays of the file, not in its name.

    Args:
      path: a `.npz` file; or its name in the folder `HWNAS_DATA`, where the suffix may be left out.
      data_set: which of its data sets or tasks; the first of the file when left out.

    Raises:
      UserError: names the file and what is missing, damaged or cannot be.
    """
    found = find_data(path)
    try:
        arrays = read_npz(found)
        for fits, read in _READERS:
            if fits(arrays):
                return read(found.name, arrays, data_set)
        raise UserError(
            "it holds no accuracies: neither columns such as cifar10_test_200 (NAS-Bench-201) or "
            "class_object_test_top1 (TransNAS-Bench-101) nor test_acc (NAS-Bench-Macro, and with "
            f"widths NATS-Bench size), but {', '.join(arrays) or 'nothing'}"
        )
    except UserError as error:
        raise UserError(f"benchmark {found}: {error}") from error
