"""Runs of few-shot learning: a start is learned from many small tasks, and judged on others.

`parts` is what such a run is made of, `learning` and `judging` are its two experiments, and `run`
has the stages and the folder.
"""

from hwnas_jax.runs.few_shot.run import STAGES, FewShotRun

__all__ = ["STAGES", "FewShotRun"]
