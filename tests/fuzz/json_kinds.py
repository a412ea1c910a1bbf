"""Every kind of JSON file: a good one, and how it is read."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.config import Config, load_config, override
from hwnas_jax.cost.files.measurement_file import load_measurements
from hwnas_jax.cost.files.observations import METRICS
from hwnas_jax.cost.simulate import accelerator, compiler
from hwnas_jax.data.tfds_source import prepared_names
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.files.writer import HOLDER, LOCK, Writer
from hwnas_jax.report.few_shot_files import PAIRS, Classes, Costs, FewShotFile, Group
from hwnas_jax.report.few_shot_page import cost_rows, rows_of, verdict
from hwnas_jax.report.read import read_run
from hwnas_jax.report.run_files import FILES, read_run_file
from hwnas_jax.runs.compare.settings import Comparison
from hwnas_jax.runs.folder import RunFolder
from hwnas_jax.runs.resumed import FILE as CHANGES
from hwnas_jax.runs.resumed import take_config
from hwnas_jax.runs.sources.settings import SourceComparison, Study
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.search.refine import read_rows
from hwnas_jax.spaces.core.architecture_files import load_architecture
from hwnas_jax.tabular.make.parts import Parts
from tests.report import run_folders
from tests.tabular.test_own_table import CELLS as SPACE

ROWS = np.unique(SPACE.canonical(SPACE.random(np.random.default_rng(0), 40)), axis=0)[:8]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of JSON file.

    Attributes:
      good: what a good file holds.
      read: returns what was understood of a file in a folder, as plain values.
      name: of the file.
      module: that reads it.
      sane: raises AssertionError for values that the file may not say.
    """

    good: Any
    read: Callable[[Path], Any]
    module: str
    name: str = "file.json"
    sane: Callable[[Any], None] = lambda found: None


def plain(value: Any) -> Any:
    """Returns dataclasses as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(value)))


def versioned(name: str, version: int = 1, **content: Any) -> dict[str, Any]:
    return {"format": f"hwnas_jax.{name}", "version": version, **content}


def said(kind: Kind, given: Any) -> Any:
    """Returns what a file says without its format and version, which no reader returns."""
    if isinstance(given, dict) and isinstance(kind.good, dict) and "format" in kind.good:
        given = {key: value for key, value in given.items() if key not in ("format", "version")}
        off = given["space"].get("off") if isinstance(given.get("space"), dict) else None
        if isinstance(off, dict):  # an option may be switched off twice
            once = {place: list(dict.fromkeys(options)) for place, options in off.items()}
            given["space"] = {**given["space"], "off": once}
        if given.get("string", "") is None:  # as good as left out
            del given["string"]
    return given


def _measurements(path: Path) -> Any:
    found = load_measurements(path)
    rows = zip(found.architectures, found.networks, strict=True)
    return {
        **{name: getattr(found, name) for name in (
            "created", "source", "runtime", "device", "software", "batch_size", "space",
            "held_out", "conditions")},
        "units": METRICS,
        "operations": [{"name": name, "metrics": {key: dataclasses.asdict(one)
                        for key, one in own.items()}} for name, own in found.operations.items()],
        "networks": [{"architecture": dict(names), "metrics": {
            key: dataclasses.asdict(one) for key, one in own.items()}} for names, own in rows],
    }  # fmt: skip


def _costs_are_costs(found: Any) -> None:
    assert found["batch_size"] >= 1 and 0 <= found["held_out"] <= len(found["networks"])
    names = [tuple(network["architecture"].items()) for network in found["networks"]]
    assert len(set(names)) == len(names), "an architecture stands twice"
    for network in found["networks"]:
        SPACE.from_names(network["architecture"])
        for one in network["metrics"].values():
            assert one["median"] > 0 and one["iqr"] >= 0 and one["repeats"] >= 1


def _sample(median: float) -> dict[str, Any]:
    return {"latency_ms": {"median": median, "iqr": 0.01, "repeats": 5}}


MEASUREMENTS = versioned(
    "measurements", 2, created="2026-01-01T00:00:00+00:00", source="measured", runtime="jax",
    device={"platform": "cpu", "kind": "Phone", "count": 1, "cpu_count": 2},
    software={"jax": "0.10"}, units={"latency_ms": "milliseconds per call"},
    batch_size=1, space=SPACE.spec, held_out=2, conditions={"notes": ["warm"], "load": 0.5},
    operations=[{"name": name, "metrics": _sample(0.1)} for name in [*SPACE.operations()[0]][:2]],
    networks=[{"architecture": SPACE.to_names(row), "metrics": _sample(1.5 + 0.25 * number)}
              for number, row in enumerate(ROWS)],
)  # fmt: skip


def _architecture(path: Path) -> Any:
    space, found = load_architecture(path)
    return {"space": space.spec, "architecture": space.to_names(found),
            "string": space.to_string(found)}  # fmt: skip


def _comparison(path: Path) -> Any:
    settings = Comparison.load(path.parent)
    assert isinstance(settings.methods, tuple)
    content = read_json(path, "comparison")
    return {"settings": plain(settings), "tables": content["tables"],
            "versions": content["versions"]}  # fmt: skip


def _few_shot() -> FewShotFile:
    rng = np.random.default_rng(0)
    values = {name: rng.random(4) for pair in PAIRS for name in pair}
    costs = Costs(5.0, 10.0, 4.5, 5.5, 1, 0.5)
    return FewShotFile(
        Classes(["a", "b"], ["c"], ["d", "e"]),
        "accuracy",
        "%",
        True,
        0.5,
        "macs",
        4,
        "test",
        [Group.of(values), Group.of(values, costs)],
    )


def _few_shot_read(path: Path) -> Any:
    """What is read is put into tables and words, too."""
    found = FewShotFile.load(path.parent)
    if found.groups:
        rows_of(found)
        cost_rows(found)
        verdict(found)
    return plain(found)


def _changes(path: Path) -> Any:
    """What stands in the file is kept, and the new change is added."""
    folder = path.parent
    (folder / "config.json").unlink(missing_ok=True)
    run = RunFolder(folder, Config(), Silent())
    take_config(run, override(Config(), retrain__epochs=7), ("retrain.epochs",))
    *earlier, last = json.loads(path.read_bytes())
    assert (last["key"], last["after"]) == ("retrain.epochs", 7)
    return earlier


def _table_plan(path: Path) -> Any:
    """A folder goes on exactly where its plan is the same."""
    good = KINDS["plan of a table"].good["plan"]
    Parts(path.parent).begin(good)
    return {"plan": good}


def _holder(path: Path) -> Any:
    """Whatever stands there, the second is told that there is a first."""
    folder = path.parent
    content = path.read_bytes()
    with Writer(folder).alone():
        path.write_bytes(content)
        try:
            with Writer(folder).alone():
                raise AssertionError("two writers")
        except UserError as error:
            assert "is being written by another command" in str(error)
            told = str(error)
    (folder / LOCK).unlink(missing_ok=True)
    raise UserError(told)


def _tfds(path: Path) -> Any:
    path.with_name("features.json").write_text("{}")
    return {"name": (prepared_names(path.parent) or [None])[0]}


def _run_file(stem: str) -> Callable[[Path], Any]:
    return lambda path: read_run_file(path.parent, stem)


def _log(path: Path) -> Any:
    return [row for rows in read_run(path.parent).log.values() for row in rows]


def _in_range(found: Any) -> None:
    for network in found.get("networks", []):
        for name in ("measured", "predicted_std", "params", "macs"):
            assert network.get(name) is None or network[name] >= 0, name
        assert not set(network.get("label", "")) & set("/\\\0 "), network["label"]
    for target in found.get("targets") or []:
        assert 0 < (target["value"] if isinstance(target, dict) else target) <= 1e18
    for stage in found.values():
        if isinstance(stage, dict) and "seconds" in stage:
            assert stage["seconds"] >= 0


def _made_run(stems: tuple[str, ...]) -> dict[str, Any]:
    """Returns the files of a run as `tests.report.run_folders` writes them."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = run_folders.write_search(Path(folder))
        return {stem: run_folders.read(made, f"{stem}.json") for stem in stems}


_OF_A_RUN = {
    **_made_run(("config", "versions", "space", "searches", "measurements", "cost_fit", "targets",
                 "architecture", "networks", "stages")),
    "device": {"device": "Phone", "runtime": "tflite", "batch_size": 1, "reason": "it is not here"},
    "measurements_during_search": {
        "networks": [{"measured": 1.5, "predicted": 1.25, "step": 4, "std": 0.1}]
    },
    "shares": {"began": {"search": {"devices": 1, "parts": 1}}},
}  # fmt: skip

RUN_FILES = {
    f"run file {stem}": Kind(
        _OF_A_RUN[stem], _run_file(stem), "hwnas_jax.report.run_files", f"{stem}.json", _in_range
    )
    for stem in _OF_A_RUN
}

KINDS: dict[str, Kind] = {
    **RUN_FILES,
    "config": Kind(
        versioned("config", 2, config=plain(override(Config(), seed=3))),
        lambda path: {"config": plain(load_config(str(path)))}, "hwnas_jax.config.load",
    ),
    "measurements": Kind(
        MEASUREMENTS, _measurements, "hwnas_jax.cost.files.measurement_file", sane=_costs_are_costs
    ),
    "architecture": Kind(
        versioned("architecture", space=SPACE.spec, architecture=SPACE.to_names(ROWS[1]),
                  string=SPACE.to_string(ROWS[1])),
        _architecture, "hwnas_jax.spaces.core.architecture_files",
    ),
    "searches": Kind(
        versioned("searches", targets=[1.5, 2.0], percentiles=[], seeds=[0, 1], retrain=True),
        lambda path: plain(Wanted.load(path.parent)), "hwnas_jax.runs.wanted", "searches.json",
    ),
    "comparison": Kind(
        versioned("comparison", settings=plain(Comparison(cases=("phone<=1",))), tables="abc",
                  versions={"jax": "0.10"}),
        _comparison, "hwnas_jax.runs.compare.settings", "study.json",
    ),
    "comparison of sources": Kind(
        versioned("sources", settings=plain(SourceComparison()), config=plain(Config()),
                  versions={"jax": "0.10"}),
        lambda path: plain(Study.load(path.parent)), "hwnas_jax.runs.sources.settings",
        "sources.json",
    ),
    "few-shot results": Kind(
        versioned("few_shot", **plain(_few_shot())), _few_shot_read,
        "hwnas_jax.report.few_shot_files", "few_shot.json",
    ),
    "changes": Kind(
        [{"key": "retrain.epochs", "before": 3, "after": 5, "when": "2026-01-01T00:00:00+00:00"}],
        _changes, "hwnas_jax.runs.resumed", CHANGES,
    ),
    "measured during a search": Kind(
        versioned(
            "measurements_during_search", space=SPACE.spec,
            networks=[{"step": 4, "string": SPACE.to_string(ROWS[1]), "predicted": 1.5, "std": 0.1,
                       "architecture": SPACE.to_names(ROWS[1]), "measured": 1.25, "repeats": 5,
                       "measured_iqr": 0.1, "measured_now": 1.2, "drift": 1.01}],
        ),
        lambda path: {"space": SPACE.spec, "networks": read_rows(path, SPACE)},
        "hwnas_jax.search.refine",
    ),
    "plan of a table": Kind(
        versioned("table_plan", plan={"space": SPACE.spec, "seeds": [0, 1], "sample": None}),
        _table_plan, "hwnas_jax.tabular.make.parts", "plan.json",
    ),
    "kept estimate": Kind(
        {"cycles": 1000, "latency_ms": 1.5, "peak_memory_mib": 2.0, "flops": 3000.0},
        lambda path: plain(compiler._read(path)), "hwnas_jax.cost.simulate.compiler",
    ),
    "simulated layer": Kind(
        {"cycles": 1000.0, "energy_pj": 12.5, "layer": "conv"},
        lambda path: dict(zip(("cycles", "energy_pj"), accelerator._read(path), strict=True)),
        "hwnas_jax.cost.simulate.accelerator",
    ),
    "holder of a lock": Kind(
        {"host": "here", "process": 5, "command": "hwnas search", "since": "2026-01-01"},
        _holder, "hwnas_jax.files.writer", HOLDER,
    ),
    "description of a data set": Kind(
        {"name": "tiny", "version": "1.0.0", "splits": []}, _tfds, "hwnas_jax.data.tfds_source",
        "dataset_info.json",
    ),
}  # fmt: skip

assert FILES.keys() == _OF_A_RUN.keys(), "every file of a run has a good one here"
