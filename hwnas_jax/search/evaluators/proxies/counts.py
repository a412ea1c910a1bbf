"""How large a network is: what every other score has to beat."""

from typing import Any

import jax
import jax.numpy as jnp

from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.errors import UserError
from hwnas_jax.search.evaluators.base import Bench
from hwnas_jax.search.evaluators.proxies.base import Proxy, Trial
from hwnas_jax.spaces.base import Space


class _Count(Proxy):
    needs = ()

    def arrays(self, bench: Bench, batch_size: int) -> Any:
        """Returns the counts of the space's operations.

        Raises:
          UserError: for a space without networks, such as that of a table.
        """
        del batch_size
        if not isinstance(bench.space, Space):
            raise UserError(f"{self.name} counts operations, and {bench.space.name} has none")
        return jax.tree.map(jnp.asarray, AnalyticModel.count(bench.space))

    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns the count, `float32[]`."""
        del bench
        return arrays.predict(trial.gates.weight)[self.name].astype(jnp.float32)


class Params(_Count):
    """The trainable parameters.

    References: Spearman's correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201 is .72
    according to Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "params"


class Macs(_Count):
    """The multiply-accumulates for one example.

    References: Spearman's correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201 is .69
    according to Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "macs"
