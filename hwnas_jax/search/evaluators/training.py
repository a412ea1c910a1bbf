"""Architectures judged by training each for a while."""

import dataclasses
from typing import Annotated, Any

import jax
from annotated_types import Ge, Gt

from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators.base import EVALUATORS, Bench, Data, Evaluator
from hwnas_jax.search.evaluators.judging import judge_path, judging_rows
from hwnas_jax.search.evaluators.path_training import PathTraining


@EVALUATORS.add
@dataclasses.dataclass(frozen=True)
class ShortTraining(Evaluator):
    """Trains each architecture from scratch on one half of the data and judges it by the other.

    Each has a weight vector of its own, and one program serves all of them. On cells of
    NAS-Bench-201 within one window of latency, networks after one epoch of their own ranked with a
    Kendall's tau of .69, shared weights with one of .27 to .40.

    Initial weights and the order of batches come from the key of the call, the same for all of its
    architectures, so that they are compared on equal terms.
    """

    name = "training"
    summary = "by training each from scratch for some epochs, all in one compiled program"

    epochs: Annotated[int, Ge(1)] = 1
    """passes over the half that weights learn from"""
    learning_rate: Annotated[float, Gt(0)] = 0.1
    """of SGD with Nesterov momentum at the start; it falls along a cosine"""
    learning_rate_end: Annotated[float, Ge(0)] = 0.0
    """at the last step"""
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    """of all weights"""
    clip_norm: Annotated[float, Gt(0)] = 5.0
    """largest norm of a gradient; longer ones are shortened to it"""
    batches: Annotated[int, Ge(1)] | None = None
    """batches to judge by; all that the half fills when left out"""

    def arrays(self, bench: Bench) -> dict[str, Any]:
        """Returns the examples, and which of them are judged by."""
        self.require(bench, "data", "supernet")
        assert bench.data is not None
        self._steps(bench, bench.data)
        return {"data": bench.data, "rows": judging_rows(bench, self.batches)}

    def evaluate(
        self, bench: Bench, arrays: Any, architectures: jax.Array, fidelity: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:  # fmt: skip
        """Returns the task's metrics and `loss` after training, `float32[n]` each."""
        del fidelity
        training = self._training(bench)
        total = self._steps(bench, arrays["data"])

        def one(architecture):
            gates = one_hot_gates(architecture, bench.space.num_options, sampled=True)
            state, _ = training.steps(
                training.init(key), arrays["data"], gates, key, first=0, length=total, total=total
            )
            return judge_path(bench, state.weights, arrays["data"], arrays["rows"], gates)

        return jax.lax.map(one, architectures)

    def _training(self, bench: Bench) -> PathTraining:
        return PathTraining(
            bench, learning_rate=self.learning_rate, learning_rate_end=self.learning_rate_end,
            weight_decay=self.weight_decay, clip_norm=self.clip_norm,
        )  # fmt: skip

    def _steps(self, bench: Bench, data: Data) -> int:
        """Returns the steps of the whole training; raises UserError for too large a batch."""
        per_epoch = self._training(bench).sampler(len(data.weight_half), 1).steps_per_epoch
        return self.epochs * per_epoch
