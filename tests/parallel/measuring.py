"""A search that measures: a device that exists only on paper, and what was profiled on it."""

import jax
import numpy as np

from hwnas_jax.cost import GaussianProcess, Measured, Sample, save_measurements
from hwnas_jax.parallel import distributed
from hwnas_jax.search import refine
from tests.cost.toy import law_ms, synthetic
from tests.parallel.toy import SPACE

OPTIONS = {
    "target__measurements": 2, "target__measure_every": 3, "search__warmup_steps": 3,
}  # fmt: skip


def measure(space, architectures, measurements, config, **options):
    """Takes the place of `measure_networks`: the device has become twice as slow."""
    del measurements, config, options
    assert distributed.is_first(), "only process 0 measures"
    samples = [Sample(2 * law_ms(space, row), 0.01, 3) for row in architectures]
    return Measured(samples, samples, 1.0)


def write_profile(folder) -> None:
    """Leaves in a run folder what a profile and a fit leave there."""
    folder.mkdir()
    measurements = synthetic(SPACE, SPACE.enumerate()[::3])
    save_measurements(measurements, folder / "measurements.json")
    fitted = GaussianProcess.fit(SPACE, measurements.observations(SPACE))
    fitted.save(folder / "cost_model.npz", SPACE)


def leaves_of(model) -> np.ndarray:
    """Returns all arrays of a cost model in one row."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(model)])


def install() -> None:
    """Puts `measure` in the place of the real one, in a process of its own."""
    refine.measure_networks = measure
