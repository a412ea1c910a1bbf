"""Architectures judged before any training."""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from hwnas_jax.data.pipeline import normalise
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators.base import EVALUATORS, Bench, Evaluator, Score
from hwnas_jax.search.evaluators.judging import deal
from hwnas_jax.search.evaluators.proxies import PROXIES, Trial


@EVALUATORS.add
@dataclasses.dataclass(frozen=True)
class ZeroCost(Evaluator):
    """Scores each architecture with weights just drawn, in the time of a few steps of training.

    One program serves every architecture: the sampled path of the supernet, with the path as an
    input. Weights come from the key of the call, and all architectures of a call are given the
    same. Which scores there are, and where they are from, is told in
    `hwnas_jax.search.evaluators.proxies`.

    References: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021;
    Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "zero_cost"
    summary = "before any training, by a proxy: naswot, synflow, grad_norm, snip, zen, params, macs"

    proxy: Literal["naswot", "synflow", "grad_norm", "snip", "zen", "params", "macs"] = "naswot"
    """the score"""
    batches: Annotated[int, Ge(1)] = 1
    """how often weights and a batch are drawn anew; the score is the mean"""
    batch_size: Annotated[int, Ge(2)] | None = None
    """examples of a batch; those of the search when left out"""

    def score(self, bench: Bench) -> Score:
        """Returns the proxy, of which more is better."""
        del bench
        return Score(self.proxy, higher_is_better=True)

    def arrays(self, bench: Bench) -> dict[str, Any]:
        """Returns the examples, which of them are looked at, and what the proxy reads itself."""
        proxy = PROXIES[self.proxy]
        self.require(bench, *proxy.needs)
        size = self.batch_size or bench.batch_size
        rows: np.ndarray | None = None
        if "data" in proxy.needs:
            assert bench.data is not None
            rows = deal(np.asarray(bench.data.weight_half), size, bench.seed, self.batches)
            size = rows.shape[1]
        return {
            "own": proxy.arrays(bench, size), "rows": rows,
            "data": None if rows is None else bench.data,
        }  # fmt: skip

    def evaluate(
        self, bench: Bench, arrays: Any, architectures: jax.Array, fidelity: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:  # fmt: skip
        """Returns the proxy's score under its name, `float32[n]`."""
        del fidelity
        proxy, data, rows = PROXIES[self.proxy], arrays["data"], arrays["rows"]
        count = self.batches if rows is None else len(rows)

        def drawn(given):
            (init_key, own_key), rows = given
            fixed: dict[str, jax.Array] = {}
            if "supernet" in proxy.needs:
                assert bench.supernet is not None
                fixed["weights"] = bench.supernet.init(init_key)
            if rows is not None:
                inputs = jnp.asarray(data.inputs)[rows]
                fixed["inputs"] = normalise(inputs, data.mean, data.std)
                fixed["targets"] = jnp.asarray(data.targets)[rows]

            def one(architecture):
                gates = one_hot_gates(architecture, bench.space.num_options, sampled=True)
                return proxy.score(bench, arrays["own"], Trial(gates, own_key, **fixed))

            return jax.lax.map(one, architectures)

        keys = jax.random.split(key, (count, 2))
        return {self.proxy: jax.lax.map(drawn, (keys, rows)).mean(axis=0)}
