"""Episodes: small tasks of a few classes and a few examples of each, drawn from a large data set.

An N-way K-shot episode has `N` classes. Its support holds `K` examples of each, from which a
network learns, and its query holds `Q` others of each, by which the network is judged. The classes
of a data set are split, so that no class that is tested on was seen before. All images of a class
can be drawn, those of the test part as well, since classes are held out and not examples.

Legend: `C` classes, `n` examples, `m` examples of the largest class, `N` classes of an episode (the
way), `K` support and `Q` query examples of each of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.errors import UserError, listed


class Episode(NamedTuple):
    """One small task; its classes are numbered 0 to `N` - 1 in an order drawn by chance.

    Attributes:
      support_inputs: `float32[N * K, ...]`, normalised.
      support_targets: `int32[N * K]`.
      query_inputs: `float32[N * Q, ...]`.
      query_targets: `int32[N * Q]`.
    """

    support_inputs: jax.Array
    support_targets: jax.Array
    query_inputs: jax.Array
    query_targets: jax.Array


class Pool(NamedTuple):
    """The examples that episodes are drawn from, as they lie on the device.

    Attributes:
      inputs: `[n, ...]`, as the data set holds them.
      rows: `int32[C, m]`, the examples of each class; what is beyond its count means nothing.
      counts: `int32[C]`, how many examples each class has.
      mean: `float32[channels]` of the classes that are trained on, as `Dataset.mean`.
      std: `float32[channels]`, likewise.
    """

    inputs: jax.Array
    rows: jax.Array
    counts: jax.Array
    mean: jax.Array
    std: jax.Array


@dataclasses.dataclass(frozen=True)
class EpisodeShape:
    """How large an episode is.

    Attributes:
      way: `N`, classes.
      shots: `K`, support examples of each class.
      queries: `Q`, query examples of each class.
    """

    way: int
    shots: int
    queries: int

    @property
    def each(self) -> int:
        """Examples of a class that an episode needs, support and query together."""
        return self.shots + self.queries


class ClassSplit(NamedTuple):
    """The numbers of the classes of each part, in order."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split_classes(
    count: int, way: int, seed: int, sizes: Sequence[int] | None = None
) -> ClassSplit:
    """Deals classes at random into those to train on, to choose options by, and to test on.

    Args:
      count: how many classes there are.
      way: classes of an episode; every part that is not empty has at least so many.
      seed: of the deal.
      sizes: classes of the train, validation and test part. When left out, a fifth of the classes
        but at least `way` are tested on, as many are for validation where `2 * way` are left, and
        the others are trained on.

    Raises:
      UserError: when there are too few classes; says how many there are and what fits.
    """
    if count < 2 * way:
        raise UserError(
            f"{way}-way episodes need {2 * way} classes, {way} to train on and {way} others to "
            f"test on; there are {count}, which allow at most {max(count // 2, 0)}-way episodes"
        )
    if sizes is None:
        test = max(way, count // 5)
        validation = test if count - 2 * test >= 2 * way else 0
        sizes = (count - validation - test, validation, test)
    if len(sizes) != 3 or min(sizes) < 0 or sum(sizes) > count:
        raise UserError(
            f"few_shot.classes = {list(sizes)} must be three numbers of classes, for train, "
            f"validation and test, of the {count} that there are"
        )
    for part, size in zip(("train", "validation", "test"), sizes, strict=True):
        if size < way and not (part == "validation" and size == 0):
            allowed = ", or none at all" if part == "validation" else ""
            raise UserError(
                f"few_shot.classes = {list(sizes)} leaves {size} {part} classes; {way}-way "
                f"episodes need at least {way}{allowed}"
            )
    order = np.random.default_rng(seed).permutation(count).tolist()
    ends = np.cumsum(sizes)
    first, second, third = (
        tuple(sorted(order[end - size : end])) for size, end in zip(sizes, ends, strict=True)
    )
    return ClassSplit(first, second, third)


def check_examples(
    dataset: Dataset, classes: Sequence[int], shape: EpisodeShape, part: str
) -> None:
    """Refuses classes with too few images for an episode.

    Args:
      dataset: whose targets are numbers of classes.
      classes: the numbers of those that are drawn from.
      shape: of the episodes.
      part: names them in the message ("train").

    Raises:
      UserError: names the classes and how many images each has.
    """
    targets = np.concatenate([dataset.train_targets, dataset.test_targets])
    counts = np.bincount(targets, minlength=dataset.num_outputs)
    few = [number for number in classes if counts[number] < shape.each]
    if few:
        said = listed([f"{dataset.output_names[number]} ({counts[number]})" for number in few])
        raise UserError(
            f"{dataset.name}: an episode takes {shape.each} images of a class, {shape.shots} to "
            f"learn from and {shape.queries} to be judged by; fewer have the {part} classes {said}"
        )


def make_pool(dataset: Dataset, classes: Sequence[int], moments: Dataset | None = None) -> Pool:
    """Returns the examples of some classes, on the host.

    Args:
      dataset: the data; the examples of both of its parts are taken.
      classes: `C` numbers of classes.
      moments: whose mean and standard deviation inputs are normalised by; those of the pool's own
        examples when left out.
    """
    targets = np.concatenate([dataset.train_targets, dataset.test_targets])
    kept = np.flatnonzero(np.isin(targets, classes))
    parts, border = [], len(dataset.train_targets)
    for inputs, first in ((dataset.train_inputs, 0), (dataset.test_inputs, border)):
        own = kept[(kept >= first) & (kept < first + len(inputs))] - first
        parts.append(inputs[own])
    inputs = np.concatenate(parts)
    by_class = [np.flatnonzero(targets[kept] == number) for number in classes]
    counts = np.array([len(rows) for rows in by_class], np.int32)
    rows = np.zeros((len(classes), max(1, counts.max(initial=0))), np.int32)
    for row, found in zip(rows, by_class, strict=True):
        row[: len(found)] = found
    if moments is None:
        moments = dataclasses.replace(
            dataset, train_inputs=inputs, train_targets=targets[kept].astype(np.int32)
        )
    pool: tuple = (inputs, rows, counts, moments.mean, moments.std)
    return Pool(*pool)


def episode_rows(
    key: jax.Array, rows: jax.Array, counts: jax.Array, shape: EpisodeShape
) -> jax.Array:
    """Draws classes, and examples of each, without replacement; every choice is equally likely.

    Args:
      key: random key.
      rows: `int32[C, m]`, as in `Pool`.
      counts: `int32[C]`.
      shape: of the episode.

    Returns:
      `int32[N, K + Q]`, numbers of examples.
    """
    chex.assert_rank([rows, counts], [2, 1])
    class_key, example_key = jax.random.split(key)
    chosen = jax.random.permutation(class_key, len(rows))[: shape.way]
    order = jax.random.uniform(example_key, (shape.way, rows.shape[1]))
    exists = jnp.arange(rows.shape[1]) < jnp.take(counts, chosen)[:, None]
    _, places = jax.lax.top_k(jnp.where(exists, order, -1.0), shape.each)
    return jnp.take_along_axis(jnp.take(rows, chosen, axis=0), places, axis=1)


def draw_episode(key: jax.Array, pool: Pool, shape: EpisodeShape) -> Episode:
    """Returns an episode; the same key draws the same.

    Args:
      key: random key.
      pool: what is drawn from; every class has at least `shape.each` examples.
      shape: of the episode.
    """
    found = episode_rows(key, pool.rows, pool.counts, shape)
    classes = jnp.arange(shape.way, dtype=jnp.int32)

    def part(rows):
        inputs = normalise(jnp.take(pool.inputs, rows.reshape(-1), axis=0), pool.mean, pool.std)
        return inputs, jnp.repeat(classes, rows.shape[1])

    support, query = part(found[:, : shape.shots]), part(found[:, shape.shots :])
    return Episode(*support, *query)
