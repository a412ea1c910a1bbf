"""Architectures judged by the weights they share."""

import dataclasses
from typing import Annotated, Any

import jax
from annotated_types import Ge

from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators.base import EVALUATORS, Bench, Evaluator
from hwnas_jax.search.evaluators.judging import judge_path, judging_rows


@EVALUATORS.add
@dataclasses.dataclass(frozen=True)
class SharedWeights(Evaluator):
    """Runs each architecture's path through a trained supernet, on the half not trained on.

    A path runs alone, one architecture after another, and every batch is normalised by its own
    statistics. Under `jax.vmap` all paths would run for each.

    References: Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform
    Sampling", ECCV 2020.
    """

    name = "supernet"
    summary = "by the weights of a trained supernet, on the half the architecture learns from"
    needs_weights = True

    batches: Annotated[int, Ge(1)] | None = None
    """batches to judge by; all that the half fills when left out"""

    def arrays(self, bench: Bench) -> dict[str, Any]:
        """Returns the examples, which of them are judged by, and the weights."""
        self.require(bench, "data", "supernet", "weights")
        rows = judging_rows(bench, self.batches)
        return {"data": bench.data, "rows": rows, "weights": bench.weights}

    def evaluate(
        self, bench: Bench, arrays: Any, architectures: jax.Array, fidelity: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:  # fmt: skip
        """Returns the task's metrics and `loss`, `float32[n]` each; uses no `key`."""
        del fidelity, key

        def one(architecture):
            gates = one_hot_gates(architecture, bench.space.num_options, sampled=True)
            return judge_path(bench, arrays["weights"], arrays["data"], arrays["rows"], gates)

        return jax.lax.map(one, architectures)
