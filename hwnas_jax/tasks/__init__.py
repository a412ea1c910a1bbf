"""What is learned."""

from hwnas_jax.tasks.base import TASKS, Task, check_task
from hwnas_jax.tasks.classification import Classification

__all__ = ["TASKS", "Classification", "Task", "check_task"]
