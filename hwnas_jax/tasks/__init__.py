"""What is learned."""

from hwnas_jax.tasks.autoencoding import Autoencoding
from hwnas_jax.tasks.base import (
    TASKS,
    Task,
    check_task,
    described,
    make_task,
    task_for,
    values,
)
from hwnas_jax.tasks.classification import Classification
from hwnas_jax.tasks.dense_regression import DenseRegression
from hwnas_jax.tasks.multi_label import MultiLabel
from hwnas_jax.tasks.regression import Regression
from hwnas_jax.tasks.segmentation import Segmentation
from hwnas_jax.tasks.several import Several
from hwnas_jax.tasks.space_for import space_for
from hwnas_jax.tasks.surface_normals import SurfaceNormals

__all__ = [
    "TASKS", "Autoencoding", "Classification", "DenseRegression", "MultiLabel", "Regression",
    "Segmentation", "Several", "SurfaceNormals", "Task", "check_task", "described",
    "make_task", "space_for", "task_for", "values",
]  # fmt: skip
