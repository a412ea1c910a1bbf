"""Run folders: made once, written by one command at a time, whole when the disk is full."""

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hwnas_jax.config import Config
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.files.new import make_folder
from hwnas_jax.files.writer import HOLDER
from hwnas_jax.runs.folder import RunFolder, new_folder
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.wanted import Wanted


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_starts_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = new_folder("digits")
    assert re.fullmatch(r"runs/digits-\d{8}-\d{6}", str(planned)) and not planned.exists()
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: make_folder(planned, named=False), range(16)))
    assert len(set(folders)) == 16 and planned in folders
    assert all(folder.is_dir() for folder in folders)
    assert all(re.fullmatch(rf"{planned}(-\d+)?", str(folder)) for folder in folders)


def test_a_named_folder_is_made_by_one(tmp_path):
    def made(_):
        try:
            return make_folder(tmp_path / "a" / "b", named=True)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(made, range(8)))
    assert results.count(tmp_path / "a" / "b") == 1
    assert sum("exists and is not overwritten" in str(result) for result in results) == 7


@pytest.mark.parametrize("error", [UserError("no"), OSError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("named", [False, True])
def test_what_cannot_begin_leaves_nothing(tmp_path, monkeypatch, error, named):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("a/b/c"), Config(), Silent())
    with pytest.raises(type(error)), run.beginning(named=named):
        run.describe(())
        assert (run.folder / "config.json").exists()
        raise error
    assert not list(tmp_path.iterdir())


def test_a_run_that_another_command_writes_is_left_alone(tmp_path):
    folder = make_folder(tmp_path / "run", named=True)
    first, second = Run(folder, Config(), Silent()), Run(folder, Config(), Silent())
    with first.writing():
        match = f"is being written by another command: .*process {os.getpid()} on"
        with pytest.raises(UserError, match=match):
            second.all(until="profile")
        with pytest.raises(UserError, match=match), second.stage("report"):
            raise AssertionError
        with first.stage("profile"):
            pass
    assert second.finished("profile")


def test_a_command_that_was_cut_off_is_told_of(tmp_path):
    run = RunFolder(make_folder(tmp_path / "run", named=True), Config(), Heard())
    (run.folder / HOLDER).write_text('{"command": "hwnas search", "process": 7}')
    with run.writing():
        pass
    with run.writing():
        pass
    (said,) = run.display.lines
    assert "wrote here last was cut off: hwnas search (process 7 on" in said


@pytest.mark.parametrize(
    ("wanted", "command"), [(Wanted(), "search"), (Wanted(seeds=(0, 1)), "sweep")]
)
def test_a_full_disk_is_one_message(tmp_path, wanted, command):
    run = RunFolder(make_folder(tmp_path / "run", named=True), Config(), Silent(), wanted)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.jsonl")
    end = f"make room, then continue with: hwnas {command} --resume {run.folder}"
    match = f"no room was left on the disk.*{end}"
    with pytest.raises(UserError, match=match), run.writing(), run.stage("search"):
        raise full
    with pytest.raises(OSError, match="denied"), run.writing():
        raise OSError(errno.EACCES, "denied")
    with run.writing():
        pass
