"""A training that begins with small inputs: averages over squares of pixels, finer and finer.

The resolution is a branch of the compiled step. Only the branch of the stage runs, so that a step
on images of half the size takes about a quarter of the time.

References: Elsken, Metzen and Hutter, "Neural Architecture Search: A Survey", JMLR 2019 (lower
fidelities); Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021
(progressive learning, of whose two parts this is the one on image sizes).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.config import RetrainConfig
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Which resolution a step of a training has.

    Attributes:
      factors: by how much height and width are divided, one factor a stage; the last is one.
      ends: the step before which each stage but the last ends.
    """

    factors: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, settings: RetrainConfig, total: int) -> "Curriculum":
        """Returns the curriculum of a training of `total` steps.

        The share of the steps that is given to small inputs is divided evenly among them.
        """
        count = len(settings.curriculum)
        shares = [settings.curriculum_share * (n + 1) / count for n in range(count)]
        return cls((*settings.curriculum, 1), tuple(round(share * total) for share in shares))

    def run(
        self, step: jax.Array, compute: Callable[[Callable[[jax.Array], jax.Array]], Any]
    ) -> Any:
        """Returns what `compute` returns for the inputs of a step's stage.

        Args:
          step: `int32[]`, how many steps were taken before.
          compute: is given the function that makes inputs `[B, H, W, C]` small; what it returns
            has the same shapes at every resolution.
        """

        def branch(factor):
            return lambda: compute(lambda inputs: pooled(inputs, factor))

        if not self.ends:
            return branch(1)()
        stage = (step >= jnp.array(self.ends)).sum()
        return jax.lax.switch(stage, [branch(factor) for factor in self.factors])


def pooled(inputs: jax.Array, factor: int) -> jax.Array:
    """Returns means over squares of pixels, `[B, H / factor, W / factor, C]`.

    Sequences are one pixel high, and are pooled along their length alone.
    """
    if factor == 1:
        return inputs
    batch, height, width, channels = inputs.shape
    rows = 1 if height == 1 else factor
    cut = inputs.reshape(batch, height // rows, rows, width // factor, factor, channels)
    return cut.mean((2, 4))


def check_curriculum(
    build: Callable[[nnx.Rngs], nnx.Module], settings: RetrainConfig, input_shape: Sequence[int]
) -> None:
    """Refuses small inputs that a network cannot read.

    Args:
      build: makes the network.
      settings: `curriculum` has the factors.
      input_shape: of one example, `(H, W, C)`.

    Raises:
      UserError: for a factor that does not divide the inputs, and where the network's output would
        have another shape, as that of a network that puts out something for every position.
    """
    if not settings.curriculum:
        return
    sides = [side for side in input_shape[:2] if side > 1]
    for factor in settings.curriculum:
        if any(side % factor for side in sides):
            fits = [n for n in range(2, min(sides) + 1) if not any(side % n for side in sides)]
            raise UserError(
                f"retrain.curriculum: {factor} does not divide inputs of "
                f"{'x'.join(map(str, sides))}; allowed are {', '.join(map(str, fits)) or 'none'}"
            )
    module = abstract(build)
    module.eval()
    graph, state = nnx.split(module)
    whole = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)

    def outputs(factor):
        def run(state, inputs):
            return nnx.merge(graph, state)(pooled(inputs, factor))

        return jax.eval_shape(run, state, whole)

    wanted = outputs(1)
    for factor in settings.curriculum:
        try:
            found = outputs(factor)
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(
                f"retrain.curriculum: this network cannot read inputs {factor} times smaller; "
                "leave the factor out"
            ) from error
        if found.shape != wanted.shape:
            raise UserError(
                f"retrain.curriculum: on inputs {factor} times smaller this network puts out "
                f"{list(found.shape[1:])} instead of {list(wanted.shape[1:])}; a curriculum is for "
                "networks whose outputs do not depend on the size of the inputs"
            )
