"""What every test runs with: eight CPU devices, kept programs, and results made once."""

import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

# Tests look at values, never at speed: without the optimiser XLA compiles almost twice as fast, and
# with the older emitter of loops twice as fast again. XLA ends at a flag that it does not know, and
# releases after 0.10 do not know that emitter's.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    + " --xla_cpu_parallel_codegen_split_count=1"
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "")
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from filelock import FileLock

from hwnas_jax.compile.programs import drop_if_many
from hwnas_jax.files.cache import cache_folder
from tests.fuzz.plugin import attack, pytest_addoption, pytest_terminal_summary  # noqa: F401

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


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes what is dear once for all workers of a test run, whichever of them asks first.

    `once(name, make)` returns the folder `name`, which `make(folder)` has filled. The others wait
    while one makes it, and read it afterwards; a test that changes it takes a copy. When `make`
    fails, its folder is removed, and the next who asks tries again.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of the whole run; each worker has a folder of its own in it

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, finished = base / "once" / name, base / "once" / f"{name}.finished"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not finished.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException:
                    shutil.rmtree(folder)
                    raise
                finished.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def finished_run(once) -> Path:
    """A small search of the digits that went through all of its stages: read it, or take a copy."""
    from hwnas_jax.cli import main
    from tests.helpers import FINISHED_RUN

    def make(folder: Path) -> None:
        assert main(["search", "--run-dir", str(folder / "run"), *FINISHED_RUN]) == 0

    return once("finished-run", make) / "run"


@pytest.fixture(autouse=True)
def compiled_programs_are_dropped():
    """Frees compiled programs between tests, before they exhaust a worker's memory maps."""
    yield
    drop_if_many(0.1)
