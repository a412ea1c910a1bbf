"""A full disk is recognised in whatever error a library makes of it."""

import errno

import pytest

from hwnas_jax.files.disk import is_full, no_room


def chained(first, then):
    try:
        try:
            raise first
        except type(first) as error:
            raise then from error
    except type(then) as error:
        return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device [28]"), True),
        (chained(OSError(errno.ENOSPC, "x"), RuntimeError("saving failed")), True),
        (chained(KeyError("x"), RuntimeError("saving failed")), False),
    ],
)
def test_it_is_recognised(error, full):
    assert is_full(error) is full


def test_it_is_said_with_what_is_free(tmp_path):
    assert f"no room was left on the disk of {tmp_path} (" in no_room(tmp_path)
    assert "KiB are free now" in no_room(tmp_path)
    assert "unknown" in no_room(tmp_path / "gone")
