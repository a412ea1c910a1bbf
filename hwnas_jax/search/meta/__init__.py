"""Learning to search: a start for weights and architecture, and its adaptation to small tasks.

`base` has the contract of a meta-learner, each learner has a file of its own, `training` is the
outer step over many tasks, `objectives` makes tasks of episodes and a supernet, `choice` keeps the
strongest architecture that a budget allows, and `judging` adapts to episodes and tests them.
"""

from hwnas_jax.search.meta.base import (
    META_LEARNERS,
    Learned,
    MetaLearner,
    MetaTask,
    adapt,
    check_learner,
)
from hwnas_jax.search.meta.metanas import MetaNAS
from hwnas_jax.search.meta.tnas import TNAS

__all__ = [
    "META_LEARNERS", "TNAS", "Learned", "MetaLearner", "MetaNAS", "MetaTask", "adapt",
    "check_learner",
]  # fmt: skip
