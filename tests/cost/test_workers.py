import math
import os

import pytest

from hwnas_jax.cost.simulate.workers import run_jobs
from hwnas_jax.errors import UserError


def test_without_jobs_nothing_starts():
    seen = []
    run_jobs(
        math.sqrt, {}, lambda key, value: 1 / 0, done=3, what="roots",
        progress=lambda *state: seen.append(state),
    )  # fmt: skip
    assert seen == [(3, 3, "roots")]


def test_there_must_be_workers():
    with pytest.raises(UserError, match="workers must be positive, got 0"):
        run_jobs(math.sqrt, {1: (1.0,)}, lambda key, value: None, workers=0)


@pytest.mark.slow
def test_results_are_kept_by_key_and_counted():
    found, seen = {}, []
    jobs = {number: (float(number**2),) for number in range(5)}
    run_jobs(
        math.sqrt, jobs, found.__setitem__, workers=1, done=2, what="roots",
        progress=lambda *state: seen.append(state),
    )  # fmt: skip
    assert found == {number: float(number) for number in range(5)}
    assert seen[0] == (2, 7, "roots")
    assert seen[-1] == (7, 7, "roots")


@pytest.mark.slow
def test_a_process_that_dies_is_said_and_a_mistake_passes():
    with pytest.raises(UserError, match=r"a process died.*0 of 1 are kept"):
        run_jobs(os._exit, {"only": (3,)}, lambda key, value: None, workers=1)
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        run_jobs(math.sqrt, {"only": (-1.0,)}, lambda key, value: None, workers=1)
