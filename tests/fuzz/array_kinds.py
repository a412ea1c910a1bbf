"""Every kind of `.npz` file: good arrays, how it is read, and what must hold of what was read."""

import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from hwnas_jax.config import Config
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.files.readers.numbered import rows_of
from hwnas_jax.cost.files.table_file import load_table_file, save_table_file
from hwnas_jax.cost.models import COST_MODELS, roofline
from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.cost.models.model_file import read_fitted_to, read_model, read_origin
from hwnas_jax.cost.models.registry import load_cost_model
from hwnas_jax.data import DataConfig, Dataset, arrays, load_data, together
from hwnas_jax.data.stored import save_dataset
from hwnas_jax.registry import Part
from hwnas_jax.runs.compare.cell import _ARRAYS as CELL_ARRAYS
from hwnas_jax.runs.compare.cell import Cell
from hwnas_jax.runs.few_shot import FewShotRun
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.start import FILE as START
from hwnas_jax.runs.start import Start
from hwnas_jax.runs.warm_start import WarmStart, num_params
from hwnas_jax.search.judgements import Judgements
from hwnas_jax.search.meta.judging import Judged
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import load_benchmark
from hwnas_jax.tabular.make.parts import Parts
from hwnas_jax.tasks import TASKS
from hwnas_jax.train.examples import load_examples
from hwnas_jax.train.tested import load_tested
from tests.cost.test_accel_nasbench import accel_arrays
from tests.cost.test_cost_model_contract import SPACE as TOY
from tests.cost.test_cost_model_contract import fitted
from tests.cost.test_readers import CELLS, OPS, ROWS
from tests.search.dense import SPACE as DENSE
from tests.tabular import tables
from tests.tabular.test_more_tables import cell_arrays as transnas_cells
from tests.tabular.test_more_tables import size_arrays
from tests.tabular.test_own_table import made_up
from tests.tabular.test_transnas_macro import macro_arrays


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of `.npz` file.

    Attributes:
      good: returns the arrays of a good file.
      read: returns what was understood of a file, as plain values and arrays.
      modules: that read it.
      sane: raises AssertionError for what was read of which arrays, where it is not right.
      name: of the file.
    """

    good: Callable[[], dict[str, np.ndarray]]
    read: Callable[[Path], dict[str, Any]]
    modules: tuple[str, ...]
    sane: Callable[[dict[str, Any], dict[str, np.ndarray]], None] = lambda found, given: None
    name: str = "file.npz"


def written(write: Callable[[Path], Any]) -> dict[str, np.ndarray]:
    """Returns the arrays of a file that a function writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.npz"
        write(path)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)


def alike(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    """Every array that was read is the one in the file."""
    for name, value in found.items():
        if value is not None:
            expected = given[name].astype(given[name].dtype.newbyteorder("="))
            np.testing.assert_array_equal(value, expected, err_msg=name, strict=True)


def alike_in_values(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    """Every array that was read has the shape and the values of the one in the file."""
    for name, value in found.items():
        with np.errstate(over="ignore"):
            expected = np.asarray(given[name]).astype(value.dtype)
        np.testing.assert_array_equal(value, expected, err_msg=name, strict=True)


@functools.cache
def _model(name: str) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "measure_machine", lambda: roofline.Machine(1e10, 1e10))
        model = fitted(name)
    return written(lambda path: model.save(path, TOY, TOY.enumerate()[::3]))


def _asked(path: Path) -> dict[str, Any]:
    model = load_cost_model(path, TOY)
    header, _ = read_model(path, TOY)
    known, some = read_fitted_to(path, TOY), TOY.enumerate()[:8]
    return {
        "predicted": predict_architectures(model, some, TOY.num_options),
        "std": std_architectures(model, some, TOY.num_options), "known": known,
        "model": header["model"], "costs": model.knows_costs, "origin": read_origin(path),
    }  # fmt: skip


def _costs(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    for name in ("predicted", "std"):
        for metric, values in found[name].items():
            assert np.isfinite(values).all(), f"{name} {metric}: {values}"
            assert name == "predicted" or (values >= 0).all(), f"{name} {metric}: {values}"
    if found["known"] is not None:
        assert (found["known"] >= 0).all() and found["known"].shape[1] == TOY.num_decisions


def _table(path: Path, task: str | None = None) -> dict[str, Any]:
    table = load_table(path, task=task)
    return {"architectures": table.architectures, "devices": table.devices, **table.values}


def _positive(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    count = len(found["architectures"])
    assert len(np.unique(found["architectures"], axis=0)) == count and found["devices"]
    for metric in ("latency_ms", "energy_mj"):
        if metric in found:
            values = found[metric]
            assert values.shape == (len(found["devices"]), count)
            assert ((values > 0) & (values < np.inf) | np.isnan(values)).all()


def _stays(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    _positive(found, given)
    np.testing.assert_array_equal(
        np.nan_to_num(found["latency_ms"]).astype(np.float32), given["latency_ms"]
    )


def _looked_up(path: Path, data_set: str | None = None) -> dict[str, Any]:
    bench = load_benchmark(path, data_set=data_set)
    return {
        "report": bench.report, "known": bench.known,
        **{f"{name} {number}": np.asarray(leaf) for name, column in bench.metrics.items()
           for number, leaf in enumerate(jax.tree.leaves(column))},
    }  # fmt: skip


def _accuracies(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    assert found["known"] > 0
    for name, values in found.items():
        if "accuracy" in name and values.dtype.kind == "f":
            known = values[~np.isnan(values)]
            assert (np.abs(known) <= 1).all(), f"{name}: {known}"


def _own(path: Path) -> dict[str, Any]:
    table = load_table_file(path)
    return {"validation": table.validation, "test": table.test, "seconds": table.seconds,
            "latency_ms": table.latency_ms, "architectures": table.architectures}  # fmt: skip


def _own_sane(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    for name in ("validation", "test", "seconds", "latency_ms"):
        if found[name] is not None:
            np.testing.assert_array_equal(found[name], given[name], err_msg=name)
            assert not np.isinf(found[name]).any()


def _dataset(path: Path, **args: Any) -> dict[str, Any]:
    data = load_data(DataConfig(path=str(path), args=args))
    return {name: getattr(data, name) for name in (
        "name", "task", "output_names", "train_inputs", "train_targets", "test_inputs",
        "test_targets", "notes")}  # fmt: skip


def whole_dataset(found: dict[str, Any], given: dict[str, np.ndarray] | None = None) -> None:
    """A data set that any stage can go on with: sizes that fit, known classes, finite numbers."""
    outputs = len(found["output_names"])
    for part in ("train", "test"):
        inputs, targets = found[f"{part}_inputs"], found[f"{part}_targets"]
        assert inputs.ndim in (3, 4) and len(inputs) == len(targets) > 0, part
        assert inputs.shape[1:] == found["train_inputs"].shape[1:] and 0 not in inputs.shape
        assert np.isfinite(inputs.astype(float)).all() and np.isfinite(targets.astype(float)).all()
        if found["task"] in ("classification", "segmentation"):
            least = 0 if found["task"] == "classification" else -1
            assert targets.min() >= least and targets.max() < outputs, part


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _several_sane(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    whole_dataset(found)
    if found["task"] == "several":
        first = 0
        for text in given["parts"]:
            part = json.loads(str(text))
            columns = slice(first, first + math.prod(part["shape"]))
            first = columns.stop
            for name in ("train_targets", "test_targets"):
                values = found[name][:, columns]
                np.testing.assert_array_equal(values.astype(part["dtype"]), values)
        assert first == found["train_targets"].shape[1]


def several_tasks() -> Dataset:
    """Returns a data set with the targets of three tasks."""
    images, sets = _images(18), {}
    for name, task, targets, names in (
        ("things", "classification", np.arange(18, dtype=np.int32) % 3, ("a", "b", "c")),
        ("masks", "segmentation", _rng().integers(-1, 2, (18, 4, 5)).astype(np.int32), ("a", "b")),
        ("values", "regression", _rng().random((18, 2)).astype(np.float32), ("x", "y")),
    ):
        sets[name] = Dataset(
            name, images[:12], targets[:12], images[12:], targets[12:], names, task
        )
    return together("all", sets)


def _images(count: int) -> np.ndarray:
    return _rng().integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


def _members(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    for row, ops in zip(found["rows"], given["ops"], strict=True):
        assert list(CELLS.to_names(row).values()) == [given["op_names"][op] for op in ops]


def _start(path: Path) -> dict[str, Any]:
    found = Start.load(path.parent, DENSE, 1)
    assert found is not None
    return found._asdict()


def _warm_start(path: Path) -> dict[str, Any]:
    found = WarmStart.load(path.parent, METHODS, [0])
    assert found is not None
    return found._asdict()


def _few_shot(path: Path) -> Any:
    """Returns what reading the files of a run of few-shot learning takes of it."""
    objectives = SimpleNamespace(supernet=METHODS.supernet)
    return SimpleNamespace(
        folder=path.parent, objectives=objectives, space=DENSE, targets=(), goes_on=""
    )


def _warm_sane(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    alike(found, given)
    assert found["seeds"].tolist() == [0]
    assert (found["weights"] is None) == (found["copied"] is None)
    for name in ("weights", "params"):
        assert found[name] is None or np.isfinite(found[name]).all()


def _part(path: Path) -> dict[str, Any]:
    return Parts(path.parent).read(path.stem, {"accuracy": (2, 3), "seconds": (2,)})


METHODS = make_methods(DENSE, TASKS.make(Part("classification")), Config())
EVEN = (DENSE.mask / DENSE.mask.sum(-1, keepdims=True)).astype(np.float32)


@functools.cache
def _weights() -> np.ndarray:
    return np.asarray(make_supernet(DENSE).init(jax.random.key(0)))[None]


def _found_sane(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    alike(found, given)
    if found["probabilities"] is not None:
        assert np.abs(found["probabilities"].sum(-1) - 1).max() < 0.02
    for name in ("probabilities", "prior", "weights", "params"):
        assert found[name] is None or np.isfinite(found[name]).all()


_JUDGED = Judgements(DENSE.enumerate()[:5], np.linspace(0, 1, 5, dtype=np.float32))


def _judged_sane(found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    if len(found["metric"]):  # none where the file names other weights or batches
        alike_in_values(found, given)


_MODELS = ("hwnas_jax.cost.models.model_file",)
_COMPACT = ("hwnas_jax.cost.files.readers.compact", "hwnas_jax.cost.files.readers.load")
_BENCH = ("hwnas_jax.tabular.load",)

KINDS: dict[str, Kind] = {
    **{f"cost model {name}": Kind(functools.partial(_model, name), _asked, _MODELS, _costs)
       for name in COST_MODELS},
    "table of cells": Kind(
        lambda: {"ops": (4 - ROWS).astype(np.uint8), "op_names": OPS,
                 "devices": np.array(["a", "b"]), "train_devices": np.array(["a"]),
                 "latency_ms": np.linspace(5, 9, 40, dtype=np.float32).reshape(2, 20),
                 "test_devices": np.array(["b"]), "ref_idx": np.array([3, 1])},
        _table, _COMPACT, _stays,
    ),
    "table of tasks": Kind(
        lambda: {"ops": (4 - ROWS).astype(np.uint8), "op_names": OPS,
                 "tasks": np.array(["cifar100", "ninapro"]), "backends": np.array(["a", "b"]),
                 "latency_ms": np.linspace(5, 9, 80, dtype=np.float32).reshape(2, 2, 20),
                 "energy_mj": np.linspace(5, 9, 40, dtype=np.float32).reshape(2, 1, 20)},
        _table, _COMPACT, _positive,
    ),
    "table of accelerators": Kind(accel_arrays, _table, _COMPACT, _positive),
    "accuracies of accelerators": Kind(accel_arrays, _looked_up, _BENCH, _accuracies),
    "accuracies of cells": Kind(
        lambda: tables.cell_arrays(30), _looked_up, _BENCH, _accuracies
    ),
    "accuracies of sizes": Kind(size_arrays, _looked_up, _BENCH, _accuracies),
    "accuracies by seed": Kind(
        lambda: written(tables.macro_table), _looked_up, _BENCH, _accuracies
    ),
    "results of tasks": Kind(transnas_cells, _looked_up, _BENCH, _accuracies),
    "results of modules": Kind(macro_arrays, _looked_up, _BENCH, _accuracies),
    "table of one's own": Kind(
        lambda: written(lambda path: save_table_file(made_up(), path)), _own,
        ("hwnas_jax.cost.files.table_file", *_BENCH), _own_sane,
    ),
    "costs of one's own table": Kind(
        lambda: written(lambda path: save_table_file(made_up(), path)), _table, _COMPACT, _positive
    ),
    "probabilities of a search": Kind(
        lambda: {"probabilities": EVEN[None], "prior": EVEN, "weights": _weights(),
                 "params": np.zeros((1, 9), np.float32)},
        lambda path: Found.load(path.parent, DENSE, 1)._asdict(), ("hwnas_jax.runs.found",),
        _found_sane, "search.npz",
    ),
    "networks of a strategy": Kind(
        lambda: {"networks": np.zeros((1, 4, 3), np.int32), "fidelity": np.zeros((1, 4), np.int32),
                 "scores": np.full((1, 4), -np.inf, np.float32),
                 "excess": np.zeros((1, 4), np.float32)},
        lambda path: Found.load(path.parent, DENSE, 1)._asdict(), ("hwnas_jax.runs.found",),
        _found_sane, "search.npz",
    ),
    "judgements of a supernet": Kind(
        lambda: written(lambda path: _JUDGED.save(path, _weights()[0], 16)),
        lambda path: Judgements.load(path, DENSE, _weights()[0], 16)._asdict(),
        ("hwnas_jax.search.judgements",), _judged_sane,
    ),
    "start of a search": Kind(
        lambda: {"networks": np.zeros((1, 2, 3), np.int32), "weights": _weights()},
        _start, ("hwnas_jax.runs.start",), alike, START,
    ),
    "start of a gradient search": Kind(
        lambda: {"seeds": np.zeros(1, np.int32), "weights": _weights(),
                 "copied": np.arange(_weights().size) % 2 == 0,
                 "params": np.zeros((1, num_params(METHODS.relaxation, METHODS.mask)), np.float32)},
        _warm_start, ("hwnas_jax.runs.warm_start",), _warm_sane, START,
    ),
    "start of few-shot learning": Kind(
        lambda: {"weights": _weights()[0], "params": np.zeros(DENSE.mask.shape, np.float32)},
        lambda path: {
            name: np.asarray(array)
            for name, array in FewShotRun.start(_few_shot(path))._asdict().items()
        },
        ("hwnas_jax.runs.few_shot.run",), alike_in_values, "start.npz",
    ),
    "episodes of few-shot learning": Kind(
        lambda: {"figures": _rng().random((1, 5, len(Judged._fields))).astype(np.float32)},
        lambda path: {"figures": np.moveaxis(FewShotRun.judged_episodes(_few_shot(path)), 1, -1)},
        ("hwnas_jax.runs.few_shot.run",), alike_in_values, "episodes.npz",
    ),
    "result of a comparison": Kind(
        lambda: {name: np.zeros([{"S": 2, "E": 3, "D": 6, "T": 2, "F": 3}[a] for a in array.shape],
                                np.int32 if array.kind == "whole" else np.float32)
                 for name, array in CELL_ARRAYS.items()},
        lambda path: Cell.load(path)._asdict(), ("hwnas_jax.runs.compare.cell",), alike,
    ),
    "part of a table": Kind(
        lambda: {"accuracy": np.ones((2, 3), np.float32), "seconds": np.ones(2)},
        _part, ("hwnas_jax.tabular.make.parts",), alike,
    ),
    "examples that were right": Kind(
        lambda: {"search-1": np.arange(9) % 2 == 0, "random-1": np.arange(9) % 3 == 0},
        lambda path: load_tested(path.parent), ("hwnas_jax.train.tested",), alike, "tested.npz",
    ),
    "rows of a table": Kind(
        lambda: {"ops": (4 - ROWS).astype(np.uint8), "op_names": OPS},
        lambda path: {"rows": rows_of(path, CELLS)},
        ("hwnas_jax.cost.files.readers.numbered",), _members,
    ),
    "examples of a network": Kind(
        lambda: {"numbers": np.arange(3), "worst": np.arange(3) > 1, "inputs": _images(3),
                 "targets": np.arange(3), "predicted": np.arange(3)[::-1].copy()},
        lambda path: dataclasses.asdict(load_examples(path.parent, "a")),
        ("hwnas_jax.train.examples",), alike, "examples_a.npz",
    ),
    "data of classes": Kind(
        lambda: {"x_train": _images(18), "y_train": np.arange(18) % 3, "x_test": _images(6),
                 "y_test": np.arange(6) % 3, "class_names": np.array(["a", "b", "c"])},
        _dataset, ("hwnas_jax.data.own.array_files",), whole_dataset,
    ),
    "data of values": Kind(
        lambda: {"inputs": _rng().normal(size=(18, 4, 5, 3)).astype(np.float32),
                 "targets": _rng().normal(size=(18, 2))},
        _dataset, ("hwnas_jax.data.own.array_files",), whole_dataset,
    ),
    "data of several tasks": Kind(
        lambda: written(lambda path: save_dataset(several_tasks(), path)),
        _dataset, ("hwnas_jax.data.stored",), _several_sane,
    ),
    "dense data": Kind(
        lambda: {"x_train": _images(18), "x_test": _images(6),
                 "y_train": _rng().integers(0, 3, (18, 4, 5)),
                 "y_test": _rng().integers(0, 3, (6, 4, 5))},
        _dataset, ("hwnas_jax.data.own.array_files",), whole_dataset,
    ),
    "dense values": Kind(
        lambda: {"inputs": _images(18), "targets": _rng().random((18, 4, 5, 2))},
        _dataset, ("hwnas_jax.data.own.array_files",), whole_dataset,
    ),
    "sequences": Kind(
        lambda: {"inputs": _rng().random((18, 7, 2)), "targets": np.arange(18) % 3},
        functools.partial(_dataset, layout="NLC"), ("hwnas_jax.data.own.array_files",),
        whole_dataset,
    ),
    "data of a run": Kind(
        lambda: written(lambda path: save_dataset(arrays(_images(18), np.arange(18) % 3), path)),
        _dataset, ("hwnas_jax.data.stored",), whole_dataset,
    ),
}  # fmt: skip
