"""The search space for a data set and a task."""

from hwnas_jax.config import Config
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.build import make_space
from hwnas_jax.tasks.base import Task


def space_for(config: Config, dataset: Dataset, task: Task) -> Space:
    """Returns the search space of a config in the shape of data, with the outputs of a task."""
    return make_space(
        config.space.name, config.space.args, off=config.space.off,
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
        outputs=task.outputs(dataset.num_outputs),
    )  # fmt: skip
