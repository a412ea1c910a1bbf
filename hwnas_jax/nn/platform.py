"""The platform that operations are traced for: it decides in which form they are written."""

import contextlib
from collections.abc import Iterator

import jax

_forced: list[str] = []


def target_platform() -> str:
    """Returns "cpu", "gpu" or "tpu": the backend in use, unless `platform` names another."""
    return _forced[-1] if _forced else jax.default_backend()


@contextlib.contextmanager
def platform(name: str) -> Iterator[None]:
    """Traces for another platform inside the block, to compile for a device that is not here."""
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()
