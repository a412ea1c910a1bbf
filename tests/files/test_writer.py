"""One writer at a time: who comes second is told who holds the folder."""

import json
import os
import signal
import subprocess
import sys
import threading

import filelock
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files import writer
from hwnas_jax.files.writer import HOLDER, LOCK, Writer

HOLDING = """
import sys, time
from hwnas_jax.files.writer import Writer
with Writer(sys.argv[1]).alone():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder `tmp_path`."""
    words = [sys.executable, "-c", HOLDING, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_holds_it_and_the_dead_hold_nothing(tmp_path, other):
    match = "is being written by another command: -c "
    with pytest.raises(UserError, match=match) as told, Writer(tmp_path).alone():
        raise AssertionError
    assert f"(process {other.pid} on {os.uname().nodename}, since 20" in str(told.value)
    assert "delete" not in str(told.value)
    other.send_signal(signal.SIGKILL)
    other.wait()
    with Writer(tmp_path).alone() as died:
        assert f"process {other.pid} on" in died
    with Writer(tmp_path).alone() as died:
        assert died is None


def test_a_block_may_lie_in_another(tmp_path):
    own = Writer(tmp_path)
    with own.alone():
        with own.alone() as died:
            assert died is None
        assert (tmp_path / HOLDER).exists()
        with pytest.raises(UserError, match="another command"), Writer(tmp_path).alone():
            raise AssertionError
    assert not (tmp_path / HOLDER).exists()


def test_of_many_at_once_one_gets_it(tmp_path):
    got, go, done = [], threading.Barrier(4), threading.Barrier(4)

    def take():
        go.wait()
        try:
            with Writer(tmp_path).alone():
                got.append(True)
                done.wait()
        except UserError:
            got.append(False)
            done.wait()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False, False, False, True]


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (b"not JSON", "another command. Wait"),
        (b"[" * 100_000, "another command. Wait"),
        (b"[1]", "another command. Wait"),
        (b'{"command": "\\u001b[31m", "process": {}}', "?[31m (process {} on None, since None)"),
        (json.dumps({"host": "elsewhere"}).encode(), "if it runs there no longer, delete"),
    ],
)
def test_what_is_said_of_a_holder_is_only_text(tmp_path, holder, words):
    with Writer(tmp_path).alone():
        (tmp_path / HOLDER).write_bytes(holder)
        with pytest.raises(UserError) as told, Writer(tmp_path).alone():
            raise AssertionError
    assert words in str(told.value)


def test_a_file_system_without_locks_gets_a_file_in_their_place(tmp_path, monkeypatch):
    class Lacking(filelock.FileLock):
        def acquire(self, *args, **options):
            raise NotImplementedError

    monkeypatch.setattr(writer, "FileLock", Lacking)
    with Writer(tmp_path).alone():
        assert (tmp_path / LOCK).exists()
        with pytest.raises(UserError, match="another command"), Writer(tmp_path).alone():
            raise AssertionError
    assert not (tmp_path / LOCK).exists()
