"""Eight CPU devices for every test; programs compiled quickly and kept between test runs."""

import os
from pathlib import Path

# Tests look at values, never at speed: without the optimiser XLA compiles almost twice as fast.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from hwnas_jax.compile.programs import drop_if_many
from hwnas_jax.files.cache import cache_folder

jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real tables beside the project; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HWNAS_DATA", beside))
    if not folder.is_dir():
        pytest.skip("needs the real tables: set HWNAS_DATA to their folder")
    return folder


@pytest.fixture(autouse=True)
def compiled_programs_are_dropped():
    """Frees compiled programs between tests, before they exhaust a worker's memory maps."""
    yield
    drop_if_many(0.1)
