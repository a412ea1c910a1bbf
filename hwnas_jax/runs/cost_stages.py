"""The stages that make a cost model: networks are timed, and a model is fitted to their costs.

profile   -> measurements.json
fit_cost  -> cost_model.npz, cost_fit.json
"""

from pathlib import Path

import numpy as np

from hwnas_jax.cost import fit_cost, load_measurements, profile, save_measurements
from hwnas_jax.display import cost_fit_table
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.report.run_files import write_run_file
from hwnas_jax.runs.parts import RunParts


class CostStages(RunParts):
    """A run folder with the stages from a device to its cost model."""

    def profile(self) -> Path:
        """Times a sample of the space's networks on this device, and operations where they help."""
        path = self.folder / "measurements.json"
        with self.stage("profile") as report:
            measured = profile(
                self.space, self.config.profile, cost_model=self.config.cost.model,
                seed=self.config.seed, progress=report,
            )  # fmt: skip
            save_measurements(measured, path)
        times = measured.latencies_ms
        samples = [network["latency_ms"] for network in measured.networks]
        spread = np.median([sample.iqr / sample.median for sample in samples])
        done = f"{len(times)} networks {measured.source}"
        if measured.source == "measured":
            operations = len(measured.operations)
            done = f"{len(times)} networks" + f" and {operations} operations" * bool(operations)
            done += " timed"
        self.display.say(
            f"{done} at batch {measured.batch_size}: {times.min():.3g} to {times.max():.3g} ms, "
            f"median {np.median(times):.3g} ms, typical spread {spread:.1%}"
        )
        for note in measured.notes:
            self.display.say(note)
        return path

    def fit_cost(self) -> Path:
        """Fits the cost model to the measurements and judges it on held-out networks."""
        path = self.folder / "cost_model.npz"
        with self.stage("fit_cost") as report:
            measured = load_or_offer(
                self.folder / "measurements.json", lambda p: load_measurements(p, self.space)
            )
            model, fitted = fit_cost(
                self.space, measured, self.config.cost, seed=self.config.seed, progress=report
            )
            model.save(path, self.space, measured.encoded(self.space), measured.origin)
            write_run_file(self.folder, "cost_fit", fitted.to_dict())
        self.__dict__.pop("cost_model", None)
        self.display.table(*cost_fit_table(fitted.to_dict()))
        for warning in fitted.warnings:
            self.display.say(warning)
        return path
