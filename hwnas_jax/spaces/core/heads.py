"""The heads of a space's networks among its operations and in its graphs.

The parts of a head read one value each, so that every part is an operation of the space.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from flax import nnx

from hwnas_jax.nn.decoder import DecoderPlan, Shape
from hwnas_jax.nn.heads import HeadsPlan, VectorHead
from hwnas_jax.nn.normalisation import Norm, network_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.resize import Resize
from hwnas_jax.spaces.base import Space, Step
from hwnas_jax.spaces.core.tabulate import OperationTable


def plan_heads(space: Space, stages: Sequence[Shape], width: int, vector: VectorHead) -> HeadsPlan:
    """Returns the heads of a space's networks.

    Args:
      space: its outputs and the shape of its inputs are read.
      stages: shape `(H, W, C)` of the output of each stage, the finest first.
      width: channels of the decoders.
      vector: builds a head for a vector, which reads the last stage.
    """
    height, across, features = space.input_shape
    outputs = space.outputs or (Output(space.num_outputs),)
    return HeadsPlan(outputs, (height, across, features), tuple(stages), width, vector)


def halving_stages(input_shape: Sequence[int], widths: Sequence[int]) -> list[Shape]:
    """Returns the shapes of stages each of which halves the image of the one before.

    Args:
      input_shape: `(H, W, C)`; the first stage keeps height and width.
      widths: channels of each stage.

    >>> halving_stages((7, 1, 3), (2, 4))
    [(7, 1, 2), (4, 1, 4)]
    """
    height, width = input_shape[:2]
    stages = []
    for channels in widths:
        stages.append((height, width, channels))
        height, width = -(-height // 2), -(-width // 2)
    return stages


@dataclasses.dataclass(frozen=True)
class _Part:
    """An operation of a head: its name without the shape, the shape of its input, its builder."""

    label: str
    shape: Shape
    build: Callable[[nnx.Rngs], nnx.Module]

    @property
    def name(self) -> str:
        return f"{self.label} {'x'.join(map(str, self.shape))}"


def stand_heads(
    table: OperationTable, plan: HeadsPlan, when: tuple[tuple[int, int], ...] = ()
) -> None:
    """Adds the places of all heads to a table of operations.

    Args:
      table: of the space.
      plan: of the heads.
      when: the `Place.when` of all of them.
    """
    for part in (*_of_last(plan), *_of_others(plan)):
        table.stands(part.label, part.shape, part.build, when)


def stand_begun(table: OperationTable, plan: HeadsPlan, when: tuple[tuple[int, int], ...]) -> None:
    """Adds the places of the parts that read the last stage alone, as `stand_heads` does."""
    for part in _of_last(plan):
        table.stands(part.label, part.shape, part.build, when)


def stand_finished(table: OperationTable, plan: HeadsPlan) -> None:
    """Adds the places of the parts that `stand_begun` leaves out."""
    for part in _of_others(plan):
        table.stands(part.label, part.shape, part.build)


def head_steps(plan: HeadsPlan, count: int, stages: Sequence[int]) -> list[Step]:
    """Returns the steps of all heads at the end of a network's graph.

    Args:
      plan: of the heads.
      count: how many steps stand before them.
      stages: the number of the value that is the output of each stage.
    """
    steps: list[Step] = []

    def run(part: _Part | None, value: int) -> int:
        """Adds a step and returns the number of its value."""
        if part is None:
            return value
        steps.append(Step("operation", (value,), part.name))
        return count + len(steps)

    made = []
    for output in plan.outputs:
        if not output.dense:
            made.append(run(_vector(plan, output), stages[-1]))
            continue
        own, total = plan.decoder(output), None
        for stage in reversed(range(len(stages))):
            value = run(_lateral(own, stage), stages[stage])
            if total is not None:
                steps.append(Step("sum", (value, total)))
                value = count + len(steps)
            total = run(_resize(own, stage), value)
        assert total is not None
        made.append(run(_end(own), total))
    if len(made) > 1:
        steps.append(Step("join", tuple(made)))
    return steps


def _of_last(plan: HeadsPlan) -> Iterator[_Part]:
    """Yields the parts that compute with nothing but the output of the last stage."""
    for output in plan.outputs:
        if not output.dense:
            yield _vector(plan, output)
            continue
        own, last = plan.decoder(output), len(plan.stages) - 1
        yield _lateral(own, last)
        yield from _present(_resize(own, last))


def _of_others(plan: HeadsPlan) -> Iterator[_Part]:
    for output in plan.outputs:
        if output.dense:
            own = plan.decoder(output)
            for stage in range(len(plan.stages) - 1):
                yield _lateral(own, stage)
                yield from _present(_resize(own, stage))
            yield _end(own)


def _present(part: _Part | None) -> tuple[_Part, ...]:
    return () if part is None else (part,)


def _vector(plan: HeadsPlan, output: Output) -> _Part:
    label = "head" if len(plan.outputs) == 1 else f"head of {output.channels}"
    norm = network_norm()
    return _Part(label, plan.stages[-1], lambda rngs: plan.vector_head(output, norm, rngs))


def _lateral(own: DecoderPlan, stage: int) -> _Part:
    return _Part(
        f"lateral to {own.width}", own.stages[stage], lambda rngs: own.lateral(stage, rngs)
    )


def _resize(own: DecoderPlan, stage: int) -> _Part | None:
    part = own.resize(stage)
    if part is None:
        return None
    height, width = part.height, part.width
    return _Part(
        f"resize to {height}x{width}", own.sum_shape(stage), lambda rngs: Resize(height, width)
    )


def _end(own: DecoderPlan) -> _Part:
    height, width = own.size
    norm: Norm = network_norm()
    label = f"decoder of {own.outputs} for {height}x{width}"
    return _Part(label, own.sum_shape(0), lambda rngs: own.end(norm, rngs))
