"""What can be refused before a run begins.

Each check is that of the stage it belongs to, called before minutes of profiling are spent.
"""

from hwnas_jax.config import Config, validate
from hwnas_jax.cost import COST_MODELS
from hwnas_jax.cost.models.fit import split_sizes
from hwnas_jax.errors import choose
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.relax import RELAXATIONS
from hwnas_jax.runs.loop import steps_per_dispatch
from hwnas_jax.search.refine import rounds


def check_config(config: Config) -> None:
    """Refuses an experiment that a later stage would refuse.

    Raises:
      UserError: for a value out of range, a name that is not there, too few devices, a batch that
        does not divide by them, too few networks to fit a cost model to, or a search too short
        to measure in.
    """
    validate(config)
    choose(config.cost.model, COST_MODELS, "cost model")
    choose(config.search.relaxation, RELAXATIONS, "relaxation")
    replicas = Replicas.from_config(config.parallel)
    replicas.check_batch(config.search.batch_size, "search.batch_size", config.search.accumulate)
    replicas.check_batch(config.retrain.batch_size, "retrain.batch_size", config.retrain.accumulate)
    split_sizes(config.profile.networks, config.cost)
    length = steps_per_dispatch(config.search.steps, config.search.steps_per_dispatch)
    rounds(config.search, config.target, range(0, config.search.steps, length))
