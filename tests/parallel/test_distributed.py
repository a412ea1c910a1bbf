"""Several processes: they mean what one means, and when one dies the others stop in words."""

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
from hwnas_jax.config import ParallelConfig
from hwnas_jax.cost import MLPEnsemble, save_measurements
from hwnas_jax.errors import UserError
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.sockets import gather
from tests import measuring_worker
from tests.cost.toy import synthetic
from tests.distributed_worker import searched, settings
from tests.search.dense import SPACE

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_streamed_data_are_the_resident_data_to_the_bit(backend):
    """Four replicas of one process, over four epochs of three batches."""
    ends = [
        searched(
            settings(
                data__resident=resident, data__flip=True, parallel__devices=4,
                parallel__backend=backend,
            )
        )
        for resident in (True, False)
    ]  # fmt: skip
    for name in ("logits", "weights"):
        np.testing.assert_array_equal(*(np.asarray(getattr(end, name)) for end in ends))


def place(**flags):
    return distributed.start(ParallelConfig(initialization_timeout_s=1, **flags))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "h:1"}, "coordinator given, but not parallel.processes, parallel.process"),
        ({"processes": 2, "process": 0}, "given, but not parallel.coordinator"),
        ({"coordinator": "h:1", "processes": 2, "process": 2}, r"process = 2 must lie in \[0, 2\)"),
        ({"coordinator": "h", "processes": 2, "process": 0}, "'h' must be host:port"),
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(words, devices=2, **environment):
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **environment},
    )  # fmt: skip


def worker(folder, *, process=0, job=None, devices=2, out=None, **options):
    """Starts one process of `processes, port = job`, or a process by itself."""
    config = {}
    if job is not None:
        config = {
            "parallel__coordinator": f"127.0.0.1:{job[1]}", "parallel__processes": job[0],
            "parallel__process": process,
        }  # fmt: skip
    config.update(options.pop("config", {}))
    payload = {"folder": str(folder), "config": config, **options}
    if out is not None:
        payload["out"] = str(out)
    return launch(["-m", "tests.distributed_worker", json.dumps(payload)], devices)


def ended(process, within=300):
    stdout, stderr = process.communicate(timeout=within)
    return process.returncode, stdout + stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process of four devices ends with, uninterrupted."""
    folder = tmp_path_factory.mktemp("alone")
    code, text = ended(worker(folder, devices=4, out=folder / "end.npz"))
    assert code == 0, text
    return np.load(folder / "end.npz")


def agrees(path, alone):
    end = np.load(path)
    assert int(end["step"]) == 12
    np.testing.assert_allclose(end["logits"], alone["logits"], rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(end["weights"], alone["weights"], rtol=2e-3, atol=2e-4)
    assert np.abs(end["logits"]).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_two_processes_of_two_devices_are_one_of_four(backend, alone, tmp_path):
    job = (2, free_port())
    both = [
        worker(
            tmp_path, process=k, job=job, out=tmp_path / f"end{k}.npz",
            config={"parallel__backend": backend, "data__resident": backend != "pmap"},
        )
        for k in (0, 1)
    ]  # fmt: skip
    for k, process in enumerate(both):
        code, text = ended(process)
        assert code == 0, text
        agrees(tmp_path / f"end{k}.npz", alone)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9, 12]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_when_a_process_dies_the_other_stops_and_the_job_resumes(victim, alone, tmp_path):
    job = (2, free_port())
    both = [
        worker(tmp_path, process=k, job=job, **({"die_at": 9} if k == victim else {}))
        for k in (0, 1)
    ]
    both[victim].wait(timeout=300)
    started = time.monotonic()
    code, text = ended(both[1 - victim], within=30)
    assert time.monotonic() - started < 30
    assert both[victim].returncode == -signal.SIGKILL
    assert code == distributed.EXIT_CODE, text
    assert f"error: process {1 - victim} of 2: process {victim} was lost" in text
    names = [p.name for p in (tmp_path / "checkpoints/search").iterdir()]
    steps = sorted(int(name) for name in names if name.isdecimal())
    assert f"the checkpoint of step {steps[-1]} is safe" in text
    assert steps[-1] in {6, 9}
    # On with another number of processes.
    code, text = ended(worker(tmp_path, devices=2, out=tmp_path / "end.npz"))
    assert code == 0, text
    agrees(tmp_path / "end.npz", alone)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_process_0_measures_and_all_go_by_the_model_it_fits(resident, tmp_path):
    def started(folder, process=0, job=None, devices=2):
        if not folder.exists():
            folder.mkdir()
            save_measurements(measured, folder / "measurements.json")
            model.save(folder / "cost_model.npz", SPACE)
        config = {"data__resident": resident}
        if job is not None:
            config |= {
                "parallel__coordinator": f"127.0.0.1:{job}", "parallel__processes": 2,
                "parallel__process": process,
            }  # fmt: skip
        out = folder / f"end{process}.npz"
        payload = {"folder": str(folder), "config": config, "out": str(out)}
        return launch(["-m", "tests.measuring_worker", json.dumps(payload)], devices), out

    measured = synthetic(SPACE, SPACE.enumerate()[::3])
    model = MLPEnsemble.fit(SPACE, measured.observations(SPACE), measuring_worker.settings().cost)
    port = free_port()
    ends = []
    both = [started(tmp_path / "job", process, port) for process in (0, 1)]
    for process, out in [*both, started(tmp_path / "alone", devices=4)]:
        code, text = ended(process)
        assert code == 0, text
        ends.append(np.load(out))
    files = [tmp_path / name / "measurements_during_search.json" for name in ("job", "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(json.loads(files[0].read_text())["networks"]) == 2
    for name in ("logits", "model"):
        np.testing.assert_array_equal(ends[0][name], ends[1][name])
        np.testing.assert_allclose(ends[0][name], ends[2][name], rtol=2e-3, atol=2e-4)
