"""Several processes compute what one computes, and when one dies the others say so and stop."""

import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.commands.options import join
from hwnas_jax.commands.search import SearchOptions
from hwnas_jax.config import ParallelConfig
from hwnas_jax.cost import load_cost_model
from hwnas_jax.errors import UserError
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.secret import kept_secret, read_secret
from hwnas_jax.parallel.sockets import gather
from hwnas_jax.search import refine
from tests.parallel import measuring
from tests.parallel.toy import SPACE, alone, check_same_end, end_of, searched, settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_streamed_data_are_the_resident_data_to_the_bit(backend):
    """Four replicas of one process, over four epochs of three batches."""
    config = settings(data__resident=False, parallel__devices=4, parallel__backend=backend)
    end = end_of(searched(config))
    for name in ("params", "weights"):
        np.testing.assert_array_equal(end[name], alone()[name])


def place(**flags):
    return distributed.start(ParallelConfig(initialization_timeout_s=1, **flags))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "h:1"}, "coordinator given, but not parallel.processes, parallel.process"),
        ({"processes": 2, "process": 0}, "given, but not parallel.coordinator"),
        ({"coordinator": "h:1", "processes": 2, "process": 2}, r"process = 2 must lie in \[0, 2\)"),
        ({"coordinator": "h", "processes": 2, "process": 0}, "'h' must be host:port"),
        ({"coordinator": "", "processes": 2, "process": 0}, "'' must be host:port"),
        ({"coordinator": "", "processes": 2}, "given, but not parallel.process:"),
        ({"distributed": True}, "found no Slurm, Cloud TPU, Open MPI"),
    ],
)
def test_flags_that_name_no_job(flags, message):
    with pytest.raises(UserError, match=message):
        place(**flags)


def test_slurm_is_detected(monkeypatch):
    job = {"JOB_ID": 4096, "STEP_NODELIST": "localhost", "NTASKS": 2, "PROCID": 1, "LOCALID": 1}
    for key, value in job.items():
        monkeypatch.setenv(f"SLURM_{key}", str(value))
    with pytest.raises(UserError, match=r"localhost:61440 did not answer within 1 s"):
        place(distributed=True)


def test_a_coordinator_that_does_not_answer(capsys, tmp_path):
    words = [
        "search", f"--parallel.coordinator=127.0.0.1:{free_port()}", "--parallel.processes=2",
        "--parallel.process=1", "--parallel.initialization-timeout-s=1",
        f"--run-dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(words) == 2
    assert "did not answer within 1 s (Connection refused); start process 0 there" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_something_else_answers():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match="what answers there is no process 0"):
            place(coordinator=f"127.0.0.1:{port}", processes=2, process=1)
        with pytest.raises(UserError, match=rf"process 0 cannot listen on port {port}"):
            place(coordinator=f"127.0.0.1:{port}", processes=2, process=0)


def test_processes_that_stay_away_are_named():
    with pytest.raises(UserError, match="of 4 processes, numbers 1, 2, 3 did not come to"):
        place(coordinator=f"127.0.0.1:{free_port()}", processes=4, process=0)


def test_one_process_commands_refuse_a_job(capsys):
    assert main(["profile", "--parallel.distributed"]) == 2
    assert "hwnas profile runs in one process" in capsys.readouterr().err


def gathered(count, port=None):
    """Returns the ties of `count` processes, here in one."""
    coordinator = f"127.0.0.1:{port or free_port()}"
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda k: gather(coordinator, count, k, 10.0), range(count)))


def test_values_go_round():
    jobs = gathered(3)
    for job in jobs:
        job.watch(lambda *lost: None)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            told = list(pool.map(lambda job: job.exchange({"from": job.process}), jobs))
            assert told == [[{"from": 0}, {"from": 1}, {"from": 2}]] * 3


def test_who_leaves_is_told_from_who_is_lost():
    jobs, heard = gathered(4), queue.Queue()
    jobs[0].watch(lambda *lost: heard.put(lost))
    jobs[1].leave()
    jobs[2].leave("no memory")
    assert heard.get(timeout=5) == (2, "no memory")
    jobs[3]._links[0].close()
    assert heard.get(timeout=5) == (3, None)
    jobs[1]._links[0].close()
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.3)


def test_silence_is_a_loss(monkeypatch):
    monkeypatch.setattr("hwnas_jax.parallel.sockets.BEAT_S", 0.05)
    jobs, heard = gathered(2), queue.Queue()
    jobs[0].watch(lambda *lost: heard.put(lost))  # process 1 never says a word
    assert heard.get(timeout=5) == (1, None)


def test_disagreement_about_the_job_is_named():
    port = free_port()
    coordinator = f"127.0.0.1:{port}"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gather, coordinator, 2, 0, 10.0)
        with pytest.raises(UserError, match=r"processes = 2, this one with 3"):
            gather(coordinator, 3, 1, 5.0)
        gather(coordinator, 2, 1, 5.0)
        first.result(timeout=5)


def hello(port, line):
    """Returns what process 0 answers to a stranger; empty when it hangs up."""
    deadline = time.monotonic() + 5
    while True:
        try:
            link = socket.create_connection(("127.0.0.1", port), timeout=5)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with link, link.makefile("rwb") as file:
        file.write(line + b"\n")
        file.flush()
        told = file.readline()
        if b"question" not in told:
            return told
        file.write(json.dumps({"answer": "0" * 64, "question": "q"}).encode() + b"\n")
        file.flush()
        return file.readline()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b'{"process": 1, "processes": 2}', b""),
        (b'{"process": true, "processes": 2}', b""),
        (b'{"process": 1.0, "processes": 2}', b""),
        (b"[" * 50_000, b""),
        (b"GET / HTTP/1.1", b""),
        (b'{"process": -5, "processes": 2}', b"must lie in [0, 2)"),
        (b'{"process": 99, "processes": 2}', b"must lie in [0, 2)"),
    ],
)
def test_a_stranger_takes_no_place(line, answer, tmp_path):
    port = free_port()
    coordinator = f"127.0.0.1:{port}"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gather, coordinator, 2, 0, 10.0, tmp_path)
        said = hello(port, line)
        assert answer in said if answer else said == b""
        assert not first.done()
        assert gather(coordinator, 2, 1, 10.0).process == 1
        assert first.result(timeout=5).processes == 2
    assert not list(tmp_path.iterdir())  # the secret is gone


def test_a_process_that_cannot_read_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("hwnas_jax.parallel.secret._PATIENCE_S", 0.1)
    coordinator = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gather, coordinator, 2, 0, 1.0, tmp_path)
        while not (files := list(tmp_path.iterdir())):
            time.sleep(0.01)
        assert files[0].stat().st_mode & 0o077 == 0
        files[0].unlink()
        with pytest.raises(UserError, match=r"cannot read .*hwnas-job-.*a file system they share"):
            gather(coordinator, 2, 1, 5.0)
        with pytest.raises(UserError, match="number 1 did not come"):
            first.result(timeout=5)


def test_a_coordinator_that_names_another_file_is_none():
    with pytest.raises(UserError, match="names no file of a job"):
        read_secret("/etc/passwd")


def test_an_impostor_cannot_play_process_0(tmp_path):
    """It knows where a file of a job lies, but not what is in it."""
    with kept_secret(tmp_path) as secret, socket.create_server(("127.0.0.1", 0)) as impostor:

        def play():
            link = impostor.accept()[0]
            with link, link.makefile("rwb") as file:
                file.readline()
                file.write(json.dumps({"file": str(secret.path), "question": "q"}).encode())
                file.write(b"\n")
                file.flush()
                file.readline()
                file.write(b'{"refused": null, "answer": "' + b"0" * 64 + b'"}\n')

        with ThreadPoolExecutor(1) as pool:
            pool.submit(play)
            port = impostor.getsockname()[1]
            with pytest.raises(UserError, match="what answers there is no process 0"):
                gather(f"127.0.0.1:{port}", 2, 1, 0.5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"until": "search"}, "--until is 'report' here and 'search' in process 0"),
        ({"run_dir": Path("b")}, "--run-dir is 'a' here and 'b' in process 0"),
        ({"config": settings(search__steps=13)}, "search.steps is 12 here and 13 in process 0"),
        ({}, None),
    ],
)
def test_processes_need_the_same_options(changes, named, monkeypatch, tmp_path):
    own = SearchOptions(run_dir=Path("a"), config=settings())
    first, told = dataclasses.replace(own, **changes), []
    monkeypatch.setattr(distributed, "exchange", lambda value: (told.append(value), [told[0]])[1])
    folder = tmp_path / "runs" / "new"
    met = []
    monkeypatch.setattr(distributed, "start", lambda config, above: met.append(above))
    join(first, folder)
    assert met == [tmp_path]  # the nearest folder that exists
    if named is None:
        join(own, folder)
        return
    with pytest.raises(UserError, match=f"need the same options: {named}"):
        join(own, folder)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Worker:
    """A process of a search in `folder`; with `job = processes, port` it is one of several.

    Other options are those of `tests.parallel.worker`, and keys of the config.
    """

    def __init__(self, folder, process, job, *, die_at=None, stop_at=None, **config):
        self.out = folder.parent / f"end{process}.npz"
        config |= {
            "parallel__coordinator": f"127.0.0.1:{job[1]}", "parallel__processes": job[0],
            "parallel__process": process,
        }  # fmt: skip
        options = {"folder": str(folder), "out": str(self.out), "config": config}
        options |= {"die_at": die_at, "stop_at": stop_at}
        flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.parallel.worker", json.dumps(options)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip

    def ended(self, within=300):
        """Waits for its end; returns its exit code and what it said."""
        stdout, stderr = self.process.communicate(timeout=within)
        return self.process.returncode, stdout + stderr


def continued(folder, devices):
    """What one process ends with that continues the search in `folder`."""
    return end_of(searched(settings(parallel__devices=devices), folder=folder))


@pytest.mark.slow
def test_two_processes_of_two_devices_are_one_of_four(tmp_path, monkeypatch):
    """Process 0 measures during the search, and both go by the model that it fits."""
    config = settings(parallel__devices=4, **measuring.OPTIONS)
    folders = [tmp_path / "job", tmp_path / "alone"]
    for folder in folders:
        measuring.write_profile(folder)
    job = (2, free_port())
    both = [Worker(folders[0], process, job, **measuring.OPTIONS) for process in (0, 1)]
    monkeypatch.setattr(refine, "measure_networks", measuring.measure)
    model = load_cost_model(folders[1] / "cost_model.npz", SPACE)
    expected = searched(config, model, folder=folders[1])
    ends = []
    for worker in both:
        code, text = worker.ended()
        assert code == 0, text
        ends.append(np.load(worker.out))
        check_same_end(ends[-1], end_of(expected))
    files = [folder / "measurements_during_search.json" for folder in folders]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(json.loads(files[0].read_text())["networks"]) == 2
    np.testing.assert_array_equal(ends[0]["model"], ends[1]["model"])
    np.testing.assert_allclose(
        ends[0]["model"], measuring.leaves_of(expected.cost_model), rtol=2e-3, atol=2e-4
    )
    lines = (folders[0] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6, 9, 12]


@pytest.mark.slow
def test_a_stop_of_one_process_stops_all_and_one_process_continues(tmp_path):
    folder, job = tmp_path / "run", (2, free_port())
    config = {"parallel__backend": "shard_map", "data__resident": True}
    both = [
        Worker(folder, process, job, stop_at=6 if process else None, **config)
        for process in (0, 1)
    ]  # fmt: skip
    for process, worker in enumerate(both):
        code, text = worker.ended()
        assert code == 128 + signal.SIGTERM, text
        assert f"process {process} of 2: stopped search on stripes at step 9 of 12" in text
    check_same_end(continued(folder, devices=4), alone())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_when_a_process_dies_the_other_stops_and_one_process_continues(victim, tmp_path):
    folder, job = tmp_path / "run", (2, free_port())
    both = [
        Worker(folder, process, job, die_at=9 if process == victim else None)
        for process in (0, 1)
    ]  # fmt: skip
    assert both[victim].ended()[0] == -signal.SIGKILL
    started = time.monotonic()
    code, text = both[1 - victim].ended(within=30)
    assert time.monotonic() - started < 30
    assert code == distributed.EXIT_CODE, text
    assert f"error: process {1 - victim} of 2: process {victim} was lost" in text
    names = [path.name for path in (folder / "checkpoints/search").iterdir()]
    newest = max(int(name) for name in names if name.isdecimal())
    assert f"the checkpoint of step {newest} is safe" in text
    assert newest in {6, 9}
    check_same_end(continued(folder, devices=2), alone())
