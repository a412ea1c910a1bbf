"""Every module that reads what others may have written is attacked by a test of this folder."""

import ast

from tests.fuzz.array_kinds import KINDS as ARRAYS
from tests.fuzz.json_kinds import KINDS as JSON
from tests.test_rooms import MODULES

READING = {
    "read_json", "read_typed", "read_npz", "parse_json", "read_bytes", "load_pickle", "load_torch",
    "unpickle", "load_npy", "loadmat", "rows_of", "read_ts", "read_arff",
    "read_idx", "read_pictures", "parse_sheet", "read_arrays", "read_array",
    "declared_arrays", "declared_array", "declared", "member_names", "loads", "load_from_disk",
    "ZipFile", "BZ2File", "reader", "read_run_file", "load_dataset",
}  # fmt: skip
"""Functions that turn bytes or texts into values, by the last part of their name."""

ELSEWHERE = {
    "commands.cost_predict": "test_commands.py",
    "commands.fewshot": "its file, in test_json.py",
    "report.few_shot_page": "its file, in test_json.py",
    "cost.files.readers.csv": "test_sheets.py",
    "cost.files.plain_text": "test_sheets.py",
    "cost.files.sheet": "test_sheets.py",
    "cost.files.readers.help": "test_pickles.py",
    "cost.files.readers.hwnasbench": "test_pickles.py",
    "files.pickles": "test_pickles.py",
    "files.unpickle": "test_pickles.py",
    "tabular.trials": "test_pickles.py",
    "tabular.load": "test_arrays.py and test_pickles.py",
    "data.idx": "test_own_data.py",
    **{
        f"data.nasbench360.{name}": "test_published_data.py"
        for name in (
            "cifar100",
            "cosmic",
            "darcy",
            "deepsea",
            "ecg",
            "ninapro",
            "psicov",
            "satellite",
            "spherical",
        )
    },
    "data.series.archive_part": "test_series.py",
    "data.series.arff_file": "test_series.py",
    "data.series.time_series": "test_series.py",
    "data.series.ts_file": "test_series.py",
    "data.own.idx_file": "test_own_data.py",
    "data.own.image_table": "test_own_data.py",
    "data.own.picture_source": "test_own_data.py",
    "data.own.hugging_face": "test_own_data.py",
    "files.json_files": "all of test_json.py",
    "files.json_text": "all of test_json.py",
    "files.npy": "all of test_arrays.py",
    "files.npz": "all of test_arrays.py",
    "files.typed": "all of test_json.py",
    "report.read": "the log, in test_json.py",
    "runs.elsewhere": "device.json, in test_run_folders.py",
    "runs.folder": "stages.json, in test_run_folders.py",
    "runs.loop": "the log, in test_saved.py",
    "runs.shares": "shares.json, in test_json.py",
}
"""Modules without a kind of their own, and where they are attacked."""

OWN_WORDS = {
    "parallel.sockets": "messages of processes that know the secret of the job",
    "parallel.distributed": "the options of this process, as another one would see them",
    "data.unreal.remade": "the options of a data set, as this process wrote them",
    "compile.programs": "the memory maps of this process",
    "cost.simulate.compiler": "the description of a space that this process wrote",
}
"""Modules that read only what this program has just written."""


def called(tree: ast.Module) -> set[str]:
    """Returns the functions that a module calls, by the last part of their name."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", "")) for function in calls}


def test_every_module_that_reads_is_attacked():
    reading = {name for name, tree in MODULES.items() if called(tree) & READING}
    named = {kind.module for kind in JSON.values()}
    named.update(module for kind in ARRAYS.values() for module in kind.modules)
    covered = {name.removeprefix("hwnas_jax.") for name in named}
    assert sorted(reading - covered - ELSEWHERE.keys() - OWN_WORDS.keys()) == []
    assert sorted(ELSEWHERE.keys() - MODULES.keys()) == []
