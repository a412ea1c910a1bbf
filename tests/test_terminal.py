"""The terminal: what it shows while libraries are imported, in ASCII, and when it is stopped."""

import builtins
import io
import os
import signal
import sys
import threading
import time

import pytest
from rich.console import Console

from hwnas_jax.display import Terminal
from hwnas_jax.parallel import progress
from hwnas_jax.parallel.progress import StopRequest


def terminal(text):
    return Terminal(Console(file=text, force_terminal=True, width=120, highlight=False))


def test_bars_are_drawn_on_although_a_library_has_changed_the_import(monkeypatch):
    """TFDS puts a hook in its place while it is imported, which knows no relative imports."""
    failed, ordinary = [], builtins.__import__
    monkeypatch.setattr(threading, "excepthook", failed.append)

    def hook(name, globals=None, locals=None, fromlist=(), level=0):
        if level:
            raise ValueError("Relative import statements not supported")
        return ordinary(name, globals, locals, fromlist, level)

    text = io.StringIO()
    with terminal(text).stage("profile") as report:
        report(1, 3, "compiling")
        builtins.__import__ = hook
        try:
            time.sleep(0.3)
        finally:
            builtins.__import__ = ordinary
        drawn = len(text.getvalue())
        deadline = time.monotonic() + 5
        while len(text.getvalue()) == drawn and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(text.getvalue()) > drawn
    assert not failed


def test_an_ascii_terminal_gets_other_characters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    shown = Terminal()
    shown.say("1.28 \u00b1 0.03 \u00b5s \u2192 \u4e2d")
    shown.table("a \u00b1 b", ("x",), [("\u2013",)])
    with shown.stage("profile") as report:
        report(1, 1, "3 \u00b1 4")
    sys.stdout.flush()
    text = raw.getvalue().decode("ascii")
    for part in ("1.28 +- 0.03 us -> ?", "a +- b", "3 +- 4"):
        assert part in text


@pytest.mark.parametrize("name", ["profile", "search"])
def test_a_stage_that_saves_nothing_ends_soon(name, monkeypatch, capfd):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)
    ended, codes = threading.Event(), []

    def leave(code):
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", leave)
    shown = terminal(io.StringIO())
    shown.goes_on = "; continue with: hwnas search --resume RUN"
    with StopRequest.listening(), shown.stage(name):
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.wait(5 if name == "profile" else 0.3) == (name == "profile")
    said = capfd.readouterr().err
    if name == "search":  # it saves its state, however long that takes
        assert (codes, said) == ([], "")
        return
    assert codes == [130]
    assert "stopped during profile; continue with: hwnas search --resume RUN" in said
