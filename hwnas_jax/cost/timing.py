"""Timing callables so that drift of the machine hits all of them alike."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from hwnas_jax.cost.records import Sample

_STRETCH_S = 1e-3
_MOST_INNER_CALLS = 1000


def sample_interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warmup: int,
    seed: int,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Times every callable once per round, each round in a fresh random order.

    A machine that slows down or speeds up meanwhile does so for all callables alike, which keeps
    their comparison fair. Each timing follows one untimed call of the same function, and repeats
    the call until about a millisecond has passed.

    Args:
      calls: callables by name; what they return is waited for with `jax.block_until_ready`.
      rounds: how often each is timed.
      warmup: untimed calls of each before the first round.
      seed: of the orders.
      on_round: called with `(rounds done, rounds)` between rounds.

    Returns:
      Per name `float64[rounds]`, milliseconds per call in each round.
    """
    if rounds < 1 or warmup < 0:
        raise ValueError(f"rounds must be positive, warmup not negative: {rounds}, {warmup}")
    names = list(calls)
    inner = {}
    for name in names:
        for _ in range(warmup):
            jax.block_until_ready(calls[name]())
        quickest = min(_stretch_s(calls[name], 1) for _ in range(3))
        inner[name] = min(_MOST_INNER_CALLS, math.ceil(_STRETCH_S / max(quickest, 1e-9)))
    rng = np.random.default_rng(seed)
    samples_ms = {name: np.zeros(rounds) for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for i in rng.permutation(len(names)):
                call, repeats = calls[names[i]], inner[names[i]]
                jax.block_until_ready(call())
                samples_ms[names[i]][turn] = 1e3 * _stretch_s(call, repeats) / repeats
            if on_round is not None:
                on_round(turn + 1, rounds)
    finally:
        if collecting:
            gc.enable()
    return samples_ms


def time_interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warmup: int,
    seed: int,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, Sample]:
    """Returns per name the median and interquartile range of `sample_interleaved`."""
    samples = sample_interleaved(calls, rounds=rounds, warmup=warmup, seed=seed, on_round=on_round)
    return {name: summarise(samples_ms) for name, samples_ms in samples.items()}


def _stretch_s(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return time.perf_counter() - start


def summarise(samples_ms: np.ndarray) -> Sample:
    """Returns the median and interquartile range of `samples_ms` (`float64[rounds]`)."""
    low, median, high = np.percentile(samples_ms, [25, 50, 75])
    return Sample(float(median), float(high - low), len(samples_ms))
