"""The run that commands are given, made once."""

import pytest

from tests.fuzz.made_run import make


@pytest.fixture(scope="session")
def made(once):
    """The folder of `tests.fuzz.made_run`; not to be changed."""
    return once("fuzz-made-run", make)


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """An empty folder to write to, which is the one that commands run in."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place
