"""A signal ends work that saves nothing, although a library computes and does not look up."""

import os
import signal
import threading

import pytest

from hwnas_jax.errors import Interrupted
from hwnas_jax.parallel import progress
from hwnas_jax.parallel.progress import StopRequest


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_end_comes_from_outside(signum):
    ended, given = threading.Event(), []

    def end(number):
        given.append(number)
        ended.set()

    with StopRequest.listening(), StopRequest.hurried(end):
        os.kill(os.getpid(), signum)
        assert ended.wait(5)
        with pytest.raises(Interrupted):
            StopRequest.check("stopped")
    assert given == [signum]


def test_a_block_that_ends_in_time_is_left_alone():
    given = []
    with StopRequest.listening():
        with StopRequest.hurried(given.append):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not threading.Event().wait(0.2)
    assert given == []


def test_work_that_saves_is_waited_for():
    with StopRequest.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert not threading.Event().wait(0.2)
        assert StopRequest.signum == signal.SIGTERM
    assert StopRequest.signum is None


def test_the_inner_block_says_how_to_end():
    ended, given = threading.Event(), []
    outer = StopRequest.hurried(lambda number: given.append("outer"))
    inner = StopRequest.hurried(lambda number: (given.append("inner"), ended.set()))
    with StopRequest.listening(), outer, inner:
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.wait(5)
    assert given == ["inner"]
