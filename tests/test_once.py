"""The fixture that makes dear results once."""

from concurrent.futures import ThreadPoolExecutor

import pytest


def test_many_who_ask_get_what_one_made(once):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "result").write_text("42")

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: once("test_once-number", make), range(16)))
    assert len(made) == 1
    assert {folder.joinpath("result").read_text() for folder in folders} == {"42"}


def test_what_failed_is_tried_again(once):
    def fail(folder):
        (folder / "half").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        once("test_once-failing", fail)
    folder = once("test_once-failing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
