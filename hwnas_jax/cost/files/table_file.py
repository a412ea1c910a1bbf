"""A table of one's own: networks of a space, trained on one's own data, counted and measured.

The file is a `.npz` of plain arrays; nothing in it is unpickled. Legend: `N` networks, `D`
decisions, `K` options of the widest decision, `E` lengths of training, `S` seeds.

    format                 "hwnas_jax.table"
    version                1
    space                  JSON text, the `spec` of the search space
    decisions              str[D], their names
    options                str[D, K], the names of their options; empty where a decision has fewer
    architectures          int[N, D], the option of each decision by its number; each network once
    data_set               the name of the data set
    metric                 the task's primary metric ("accuracy")
    unit                   "%" for a share, which lies in [0, 1]; "" for a plain number
    higher_is_better       bool
    epochs                 int[E], the lengths of training, rising
    seeds                  int[S], one training each
    validation, test       float[E, N, S], the metric after each training, on the held-out part of
                           the training data and on the test data; NaN where a training diverged
    seconds                float[E, N, S], wall time of each training
    macs, params           float[N], counted; in a space of few bits bit_operations and size_kib
    latency_ms             float[N], NaN where it was not measured; absent where none was
    latency_iqr_ms         float[N], likewise, the spread over the timed calls
    device                 JSON text: the device of the latencies, the runtime and the batch size
    about                  JSON text: the config, versions, the time, and notes for people

`save_table_file` and `load_table_file` write and read it.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.files.readers.table_checks import check_architectures
from hwnas_jax.errors import UserError, shown
from hwnas_jax.files.json_text import parse_json
from hwnas_jax.files.npz import numbers, read_npz, text, texts, write_npz
from hwnas_jax.files.typed import check_value
from hwnas_jax.spaces.base import SPACES, Choices, Decision
from hwnas_jax.spaces.core.published import choices_from_spec

FORMAT = "hwnas_jax.table"
VERSION = 1

_COUNTED = ("macs", "params", "bit_operations", "size_kib")
_RESULTS = ("validation", "test", "seconds")


@dataclasses.dataclass(frozen=True, eq=False)
class TableFile:
    """What such a file holds; the arrays are described above.

    Attributes:
      spec: `space`.
      space: the search space; its decisions alone where its code is not here.
      architectures: `int32[N, D]`.
      data_set: as above.
      metric: as above.
      unit: as above.
      higher_is_better: as above.
      epochs: `E` lengths.
      seeds: `S` seeds.
      validation: `float32[E, N, S]`.
      test: `float32[E, N, S]`.
      seconds: `float32[E, N, S]`.
      counts: `float64[N]` by metric.
      latency_ms: `float64[N]`, or None.
      latency_iqr_ms: likewise.
      device: what `device` says, or None where nothing was measured.
      about: what `about` says.
    """

    spec: dict[str, Any]
    space: Choices
    architectures: np.ndarray
    data_set: str
    metric: str
    unit: str
    higher_is_better: bool
    epochs: tuple[int, ...]
    seeds: tuple[int, ...]
    validation: np.ndarray
    test: np.ndarray
    seconds: np.ndarray
    counts: Mapping[str, np.ndarray]
    latency_ms: np.ndarray | None = None
    latency_iqr_ms: np.ndarray | None = None
    device: dict[str, Any] | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def save_table_file(table: TableFile, path: Path) -> None:
    """Writes a table whole or not at all.

    Raises:
      UserError: when the file exists; nothing is ever overwritten.
    """
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten")
    decisions = table.space.decisions
    widest = max(len(decision.options) for decision in decisions)
    arrays: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "space": json.dumps(table.spec),
        "decisions": [decision.name for decision in decisions],
        "options": [(*d.options, *[""] * (widest - len(d.options))) for d in decisions],
        "architectures": table.architectures.astype(np.int32),
        "data_set": table.data_set,
        "metric": table.metric,
        "unit": table.unit,
        "higher_is_better": table.higher_is_better,
        "epochs": table.epochs,
        "seeds": np.array(table.seeds, np.int64),
        **{name: getattr(table, name).astype(np.float32) for name in _RESULTS},
        **table.counts,
        "about": json.dumps(table.about),
    }
    if table.latency_ms is not None:
        arrays |= {
            "latency_ms": table.latency_ms, "latency_iqr_ms": table.latency_iqr_ms,
            "device": json.dumps(table.device),
        }  # fmt: skip
    write_npz(path, arrays)


def is_table(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether the arrays of a `.npz` file say that they are such a table."""
    return "format" in arrays and str(arrays["format"]) == FORMAT


def load_table_file(path: Path) -> TableFile:
    """Reads a table; errors as of `parse_table`, which do not name the file."""
    return parse_table(read_npz(path))


def parse_table(arrays: Mapping[str, np.ndarray]) -> TableFile:
    """Returns the table that arrays hold, when every part of it can be used.

    Raises:
      UserError: names what is missing, of an unknown version, or cannot be.
    """
    if not is_table(arrays):
        raise UserError(f"it is no table of one's own: its format is not {FORMAT!r}")
    version = arrays.get("version")
    if version is None or version.shape != () or version != VERSION:
        raise UserError(f"the table has version {version}; known is {VERSION}")
    spec, space = _space(arrays)
    architectures = _whole(arrays, "architectures", 2)
    if not len(architectures):
        raise UserError("the table is empty")
    check_architectures(space, architectures)
    epochs, seeds = (_whole(arrays, name, 1) for name in ("epochs", "seeds"))
    if not len(epochs) or (epochs < 1).any() or (np.diff(epochs) <= 0).any() or not len(seeds):
        raise UserError(
            "epochs must be positive lengths of training that rise, with at least one seed; got "
            f"{epochs.tolist()} and seeds {seeds.tolist()}"
        )
    unit, higher = text(arrays, "unit"), arrays.get("higher_is_better")
    if unit not in ("", "%") or higher is None or higher.dtype != bool or higher.shape != ():
        raise UserError(f"unit must be '%' or '', got {shown(unit)}, and higher_is_better one bool")
    shape, count = (len(epochs), len(architectures), len(seeds)), len(architectures)
    results: dict[str, Any] = {
        name: _checked(arrays, name, shape, nan=name != "seconds") for name in _RESULTS
    }
    for name in ("validation", "test"):
        known = results[name][~np.isnan(results[name])]
        if unit == "%" and len(known) and not (known.min() >= 0 and known.max() <= 1):
            raise UserError(
                f"{name} must hold shares from 0 to 1, got {known.min():g} to {known.max():g}"
            )
    if results["seconds"].min() < 0:
        raise UserError(f"seconds must not be negative, got {results['seconds'].min():g}")
    names = [name for name in _COUNTED if name in arrays]
    counts = {name: _checked(arrays, name, (count,)) for name in names}
    if not {"macs", "params"} <= counts.keys() or min(map(np.min, counts.values())) < 0:
        raise UserError("macs and params must be there, and no count may be negative")
    return TableFile(
        spec, space, architectures.astype(np.int32), text(arrays, "data_set"),
        text(arrays, "metric"), unit, bool(higher), tuple(epochs.tolist()), tuple(seeds.tolist()),
        counts=counts, about=_json(arrays, "about"), **results, **_latencies(arrays, count),
    )  # fmt: skip


def _space(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], Choices]:
    """Returns the description of the space, and the space itself or its decisions alone."""
    spec, names = _json(arrays, "space"), texts(arrays, "decisions")
    options = arrays.get("options")
    if options is None or options.ndim != 2 or options.dtype.kind != "U":
        raise UserError("options, a table of texts, is missing")
    if len(options) != len(names):
        raise UserError(f"there are {len(names)} decisions, but options of {len(options)}")
    rows = (tuple(str(option) for option in row if option) for row in options)
    decisions = tuple(Decision(name, row) for name, row in zip(names, rows, strict=True))
    name = spec.get("name")
    if not isinstance(name, str) or not decisions or not all(d.options for d in decisions):
        raise UserError("the space has no name, or a decision of it has no options")
    if not SPACES.is_known(name):
        return spec, Choices(name, decisions)
    space = choices_from_spec(spec)
    if space.decisions != decisions:
        raise UserError(f"decisions and options are not those of the space {name} that it names")
    return spec, space


def _latencies(arrays: Mapping[str, np.ndarray], count: int) -> dict[str, Any]:
    """Returns what was measured, by the attributes of `TableFile`."""
    if "latency_ms" not in arrays:
        return {}
    found = {
        name: _checked(arrays, name, (count,), nan=True)
        for name in ("latency_ms", "latency_iqr_ms")
    }
    known = found["latency_ms"][~np.isnan(found["latency_ms"])]
    if not len(known) or known.min() <= 0:
        raise UserError("latency_ms must hold positive times")
    return {**found, "device": _json(arrays, "device")}


def _json(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    try:
        return check_value(dict[str, Any], parse_json(text(arrays, name)), name)
    except UserError as error:
        raise UserError(f"{name} is damaged: {error}") from error


def _whole(arrays: Mapping[str, np.ndarray], name: str, rank: int) -> np.ndarray:
    array = numbers(arrays, name, rank)
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{name} must be whole numbers, got {array.dtype}")
    return array


def _checked(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], *, nan: bool = False
) -> np.ndarray:
    """Returns an array of one shape whose values are finite, or NaN where that is allowed."""
    array = numbers(arrays, name, len(shape))
    if array.shape != shape:
        raise UserError(f"{name} must have shape {list(shape)}, got {list(array.shape)}")
    wrong = np.argwhere(np.isinf(array) | (np.isnan(array) & (not nan)))
    if len(wrong):
        raise UserError(f"{name} at {wrong[0].tolist()} is {array[tuple(wrong[0])]}")
    return array


def measured_metrics(table: TableFile) -> dict[str, np.ndarray]:
    """Returns what the networks of a table cost, `float64[N]` by metric; NaN where unknown."""
    latency = {} if table.latency_ms is None else {"latency_ms": table.latency_ms}
    found = {**latency, **table.counts}
    return {name: np.asarray(found[name], float) for name in METRICS if name in found}
