"""What is learned."""

from hwnas_jax.tasks.base import TASKS, Task, check_task, make_task, task_for, values
from hwnas_jax.tasks.classification import Classification
from hwnas_jax.tasks.multi_label import MultiLabel
from hwnas_jax.tasks.regression import Regression

__all__ = [
    "TASKS", "Classification", "MultiLabel", "Regression", "Task", "check_task", "make_task",
    "task_for", "values",
]  # fmt: skip
