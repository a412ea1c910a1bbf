"""From data on the device to a batch: splits, sampling, augmentation, normalisation.

Legend: `B` batch, `N` examples, `E` epochs, `H, W` image height and width, `C` channels.

The splits run once, in numpy. Everything else is pure and traced into the compiled step.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import DataConfig
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.errors import UserError


def split_halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Deals the indices `0..count-1` at random into two halves of `int32`, each in order.

    Together they hold every index once; their sizes differ by at most one.

    Raises:
      UserError: when `count` is below two.
    """
    if count < 2:
        raise UserError(f"two halves need at least 2 examples, got {count}")
    order = np.random.default_rng(seed).permutation(count).astype(np.int32)
    middle = (count + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def holdout(targets: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Holds out a share of the examples at random; of classes, the same share of each.

    Targets `int[N]` are classes: every class gives its share to within one example, and none is
    held out whole. Any other targets are drawn from without regard to their values.

    Args:
      targets: `[N, ...]`.
      fraction: share held out, between 0 and 1.
      seed: of the shuffle.

    Returns:
      `(kept, held_out)`, both `int32` indices in order.

    Raises:
      UserError: when `fraction` is out of range, or holds nothing out of so few examples.
    """
    if not 0 < fraction < 1:
        raise UserError(f"fraction held out must lie strictly between 0 and 1, got {fraction}")
    classes, taken = _strata(targets, fraction)
    if taken.sum() == 0:
        of_classes = f" of {len(taken)} classes" if len(taken) > 1 else ""
        raise UserError(
            f"holding out {fraction} of {len(targets)} examples{of_classes} leaves nothing held out"
        )
    rng = np.random.default_rng(seed)
    held = np.zeros(len(targets), bool)
    for index, number in enumerate(taken):
        held[rng.permutation(np.flatnonzero(classes == index))[:number]] = True
    return np.flatnonzero(~held).astype(np.int32), np.flatnonzero(held).astype(np.int32)


def divided(
    inputs: np.ndarray, targets: np.ndarray, fraction: float, seed: int, **about: Any
) -> Dataset:
    """Returns the data set of examples of which a share is held out for the test.

    Args:
      inputs: `[N, ...]`.
      targets: `[N, ...]`.
      fraction: as of `holdout`, and so is the seed.
      seed: likewise.
      **about: further attributes of the data set.
    """
    train, test = holdout(targets, fraction, seed)
    return Dataset(
        train_inputs=inputs[train], train_targets=targets[train],
        test_inputs=inputs[test], test_targets=targets[test], **about,
    )  # fmt: skip


def _strata(targets: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stratum of every example, and how many are held out of each stratum."""
    if targets.ndim > 1 or not np.issubdtype(targets.dtype, np.integer):
        count = len(targets)
        return np.zeros(count, int), np.array([min(round(fraction * count), count - 1)])
    _, classes, counts = np.unique(targets, return_inverse=True, return_counts=True)
    shares = fraction * counts
    taken = np.floor(shares).astype(np.int64)
    # Largest remainders first, so that the total comes out at round(fraction * N).
    may_grow = taken + 1 < counts
    order = np.argsort(-(shares - taken), kind="stable")
    missing = round(fraction * len(targets)) - int(taken.sum())
    taken[order[may_grow[order]][: max(missing, 0)]] += 1
    return classes, taken


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Batches without replacement within an epoch, addressed by the global step.

    The order of an epoch depends on the key and the epoch's number alone, so that a run that
    resumes at a step draws the same batches as a run that was never interrupted. The examples that
    are left at the end of an epoch, too few for a batch, are dropped.

    Attributes:
      size: `N`, examples sampled from.
      batch_size: `B`.
      steps_per_dispatch: consecutive steps that one call of `orders` must serve.

    Raises:
      UserError: when one of them is not positive, or an epoch has not even one batch.
    """

    size: int
    batch_size: int
    steps_per_dispatch: int

    def __post_init__(self):
        if self.batch_size < 1 or self.steps_per_dispatch < 1:
            raise UserError(
                f"batch_size and steps_per_dispatch must be positive, got {self.batch_size} "
                f"and {self.steps_per_dispatch}"
            )
        if self.size < self.batch_size:
            raise UserError(
                f"batch_size = {self.batch_size} is more than the {self.size} examples to draw from"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.size // self.batch_size

    @property
    def num_orders(self) -> int:
        """`E`, the most epochs that `steps_per_dispatch` consecutive steps can touch."""
        return (self.steps_per_epoch + self.steps_per_dispatch - 2) // self.steps_per_epoch + 1

    def orders(self, key: jax.Array, first_step: jax.Array | int) -> jax.Array:
        """Returns the orders `int32[E, N]` of the epochs from that of `first_step` on."""
        chex.assert_rank(first_step, 0)
        epochs = first_step // self.steps_per_epoch + jnp.arange(self.num_orders)

        def order(epoch):
            return jax.random.permutation(jax.random.fold_in(key, epoch), self.size)

        return jax.vmap(order)(epochs).astype(jnp.int32)

    def indices(
        self, orders: jax.Array, first_step: jax.Array | int, step: jax.Array | int
    ) -> jax.Array:
        """Returns the examples `int32[B]` of `step`.

        Args:
          orders: `int32[E, N]`, from `orders(key, first_step)`.
          first_step: the step that `orders` was called with.
          step: in `first_step..first_step + steps_per_dispatch - 1`.
        """
        chex.assert_shape(orders, (self.num_orders, self.size))
        epoch = step // self.steps_per_epoch - first_step // self.steps_per_epoch
        start = step % self.steps_per_epoch * self.batch_size
        return jax.lax.dynamic_slice(orders, (epoch, start), (1, self.batch_size))[0]

    def batches(self, key: jax.Array, first_step: jax.Array | int) -> jax.Array:
        """Returns the examples `int32[steps_per_dispatch, B]` of the steps from `first_step` on."""
        orders = self.orders(key, first_step)
        steps = first_step + jnp.arange(self.steps_per_dispatch)
        return jax.vmap(lambda step: self.indices(orders, first_step, step))(steps)


def normalise(inputs: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Returns the inputs as `float32[B, ...]` whose channels have mean zero and deviation one.

    Args:
      inputs: `uint8[B, H, W, C]` or `float32[B, H, W, C]`.
      mean: `float32[C]` of the training inputs, as `Dataset.mean`; of `uint8` after scaling to
        0..1.
      std: `float32[C]`, likewise.
    """
    chex.assert_rank(inputs, 4)
    chex.assert_shape([mean, std], (inputs.shape[-1],))
    scale = 1.0
    if inputs.dtype != jnp.float32:
        chex.assert_type(inputs, jnp.uint8)
        inputs, scale = inputs.astype(jnp.float32), 255.0
    # A difference, then a product: the other order would be rounded once in some compiled programs
    # and twice in others, so that their bits would differ.
    return (inputs - scale * mean) * (1.0 / (scale * std))


class Augmentation(NamedTuple):
    """How images are changed at random when networks learn from them.

    Attributes:
      shift: largest shift in pixels, up, down, left and right; zero for none.
      flip: whether to mirror left and right, with probability a half.
    """

    shift: int = 0
    flip: bool = False


def augmentation(dataset: Dataset, config: DataConfig) -> Augmentation:
    """Returns what a config asks for, or where it leaves that to the data, what suits them.

    Images whose targets say nothing of where things are shift by one pixel.

    Raises:
      UserError: when targets would not move with the pixels that they belong to.
    """
    if dataset.movable:
        return Augmentation(1 if config.shift is None else config.shift, config.flip)
    if dataset.is_sequence and dataset.train_targets.ndim <= 2:
        return Augmentation(config.shift or 0, config.flip)
    if config.shift or config.flip:
        raise UserError(
            f"data.shift = {config.shift} and data.flip = {config.flip} move the pixels of images, "
            f"but the targets of {dataset.name} would not move with them: leave data.shift out, "
            "and set data.flip = False"
        )
    return Augmentation()


def augment(keys: jax.Array, inputs: jax.Array, how: Augmentation) -> jax.Array:
    """Shifts and mirrors every image at random; zeros are shifted in.

    Args:
      keys: `[B]` keys, one for each image, so that a batch that is divided among replicas is
        augmented as it would be on one device.
      inputs: `[B, H, W, C]`. An image one pixel high is shifted to the left and right only.
      how: what is allowed.
    """
    chex.assert_axis_dimension(keys, 0, inputs.shape[0])
    (shift, flip), size = how, inputs.shape[1:]
    if shift == 0 and not flip:
        return inputs

    def one(key, image):
        shift_key, flip_key = jax.random.split(key)
        if shift:
            margins = [0 if length == 1 else shift for length in size[:2]]
            offset = jax.random.randint(shift_key, (2,), 0, 2 * jnp.array(margins) + 1)
            padded = jnp.pad(image, (*((margin, margin) for margin in margins), (0, 0)))
            image = jax.lax.dynamic_slice(padded, (offset[0], offset[1], 0), size)
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        return image

    return jax.vmap(one)(keys, inputs)
