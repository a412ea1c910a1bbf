"""Programs are compiled ahead of their first call, and refused when they do not fit."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.compile import ahead
from hwnas_jax.config import ParallelConfig, RetrainConfig, SearchConfig
from hwnas_jax.errors import UserError
from hwnas_jax.nn.platform import platform
from hwnas_jax.parallel.replicas import AXIS, Replicas, mean_over_replicas


class Compilations:
    """Counts what JAX compiles while it is entered."""

    def __enter__(self):
        self.names = []
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *error):
        jax.monitoring.unregister_event_duration_listener(self._heard)

    def _heard(self, name, seconds, **more):
        if name == "/jax/core/compile/backend_compile_duration":
            self.names.append(name)


def group(backend, count=4):
    return Replicas.from_config(ParallelConfig(devices=count, backend=backend))


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_nothing_compiles_when_the_program_is_called(backend):
    replicas = group(backend)

    def steps(state, data):
        return state + mean_over_replicas(data.sum(), AXIS), data[:1] * state

    state, data = replicas.place(jnp.float32(0.0)), replicas.share(np.ones(3, np.float32))
    dispatch = replicas.compile(steps)
    ahead.compiler_options()  # compiles something itself at its first call
    with Compilations() as compiled:
        program = ahead.compile_ahead(dispatch, state, data, "counting", "")
        assert len(compiled.names) == 1
        for _ in range(3):
            state, info = program.call(state, data)
        jax.block_until_ready((state, info))
    assert len(compiled.names) == 1
    assert float(replicas.read(state)) == 9.0
    assert "s: " in program.summary
    assert "per device of which" in program.summary


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_figures_are_those_of_one_device(backend):
    """4 devices; each holds 1000 + 50 floats in, gives 1000 back in place, and 10 more."""
    replicas = group(backend)
    dispatch = replicas.compile(lambda state, data: (state + data[0], data[:10] * state[0]))
    state, data = jnp.ones(1000), np.ones(50, np.float32)
    shapes = replicas.shapes(state, data)
    program = ahead.compile_ahead(dispatch, *shapes, "adding", "less")
    assert program.argument_bytes == 4 * 1050
    assert 4 * 1010 <= program.output_bytes <= 4 * 1010 + 64
    assert program.alias_bytes == 4000
    assert 40 <= program.new_bytes < 40 + 4 * 1050
    assert program.flops >= 1010
    placed, shared = replicas.place(state), replicas.share(data)
    assert shapes[0].shape == placed.shape
    result, _ = program.call(placed, shared)
    np.testing.assert_array_equal(replicas.read(result), 2.0)
    with pytest.raises(TypeError):
        program.call(replicas.place(jnp.ones(999)), shared)


def test_a_step_that_does_not_fit_is_refused(monkeypatch):
    """Two devices with 2 MiB each; the step keeps 8 MB at once."""

    def step(state, data):
        big = jnp.sort(jnp.outer(jnp.arange(2000.0) + state, data), axis=0)
        return state + 1, (jnp.cos(big) @ data).sum()

    replicas = group("pmap", 2)
    shapes = replicas.shapes(jnp.float32(0), np.ones(1000, np.float32))
    helps = ahead.memory_help("search", SearchConfig())
    program = ahead.compile_ahead(replicas.compile(step), *shapes, "sorting", helps)
    program.check_fits(replicas.devices, "sorting", helps)
    monkeypatch.setattr(ahead, "available_bytes", lambda: 4 * 2**20)
    with pytest.raises(
        UserError, match=r"sorting does not fit: a step needs \d+ MiB per device"
    ) as error:
        program.check_fits(replicas.devices, "sorting", helps)
    assert "2 MiB are free" in str(error.value)
    assert "a smaller search.batch_size" in str(error.value)


def test_the_compilers_own_refusal_is_told():
    def lower(*shapes):
        def compile(compiler_options=None):
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 54.77G of 15.75G "
                "hbm.\n\nLargest program allocations"
            )

        return SimpleNamespace(compile=compile)

    with pytest.raises(UserError) as error:
        ahead.compile_ahead(SimpleNamespace(lower=lower), 0, 0, "searching", "a smaller batch")
    assert str(error.value) == (
        "searching does not fit, says the compiler: Ran out of memory in memory space hbm. Used "
        "54.77G of 15.75G hbm. What helps: a smaller batch"
    )


def test_other_errors_of_the_compiler_stay():
    def lower(*shapes):
        def compile(compiler_options=None):
            raise jax.errors.JaxRuntimeError("INTERNAL: broken")

        return SimpleNamespace(compile=compile)

    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        ahead.compile_ahead(SimpleNamespace(lower=lower), 0, 0, "searching", "")


def test_options_that_the_compiler_does_not_know_or_the_user_gives_stay_out(monkeypatch):
    for known in ("xla_cpu_opt_preset", "xla_cpu_experimental_ynn_fusion_type"):
        assert known in ahead.compiler_options()
    monkeypatch.setitem(ahead._CPU_OPTIONS, "xla_of_another_year", 1)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_opt_preset=FAST_RUNTIME --xla_dump_to=x")
    options = ahead.compiler_options()
    assert set(options) == set(ahead._CPU_OPTIONS) - {"xla_of_another_year", "xla_cpu_opt_preset"}
    jax.jit(lambda x: x + 1, compiler_options=options).lower(1.0).compile()
    with platform("tpu"):
        assert ahead.compiler_options() == {}


def test_small_loops_keep_their_barriers():
    @jax.checkpoint
    def body(carry, x):
        return jnp.sin(carry) * x, None

    def last(carry, xs):
        return jax.lax.scan(body, carry, xs)[0].sum()

    gradient = jax.jit(jax.grad(last), compiler_options=ahead.compiler_options())
    x, xs = jnp.full(4, 0.5), jnp.ones((3, 4))
    np.testing.assert_allclose(gradient(x, xs), jax.grad(last)(x, xs), rtol=1e-6)


def device(process=0, **account):
    return SimpleNamespace(process_index=process, memory_stats=lambda: account or None)


def test_free_memory_is_that_of_the_fullest_own_device():
    devices = [
        device(bytes_limit=1000, bytes_in_use=100), device(bytes_limit=1000, bytes_in_use=300),
        device(1, bytes_limit=1000, bytes_in_use=900),
    ]  # fmt: skip
    assert ahead.free_bytes(devices) == 700


def test_devices_without_an_account_share_the_machine(monkeypatch, tmp_path):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:  900 kB\nMemAvailable:    600 kB\nBuffers: 1 kB\n")
    assert ahead.available_bytes(table) == 600 * 1024
    assert ahead.available_bytes(tmp_path / "none") > 2**20
    monkeypatch.setattr(ahead, "available_bytes", lambda: 600 * 1024)
    assert ahead.free_bytes([device(), device(), device()]) == 200 * 1024


def test_help_names_options_there_are():
    assert ahead.memory_help("retrain", RetrainConfig()).startswith("a smaller retrain.batch_size")
    assert "more devices" not in ahead.memory_help("search", SearchConfig())
    assert "more devices" in ahead.memory_help("search", SearchConfig(), platform="tpu")
