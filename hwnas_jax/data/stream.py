"""Training data that stays on the host: each process gathers the batches of its own replicas.

The batches are those that sampling on the device would draw, gathered one dispatch ahead in a
background thread.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.dataset import Dataset

Plan = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
"""`(key, first_step) -> {part: int32[k, B]}`, the whole batches of `k` steps; traced."""


class Spreads(Protocol):
    """Hands arrays to the replicas of this process."""

    @property
    def count(self) -> int:
        """Number of replicas in all."""

    @property
    def own(self) -> tuple[int, ...]:
        """Numbers of the replicas of this process."""

    def spread(self, data: Any) -> Any:
        """Gives each of them its entry along the first axis."""


class Stream:
    """What a run reads dispatch by dispatch, in place of data resident on the devices.

    Each dispatch gets, with a leading axis of replicas, `{"batches": {part: (images uint8[k, b,
    H, W, C], labels int32[k, b])}, "mean": float32[C], "std": float32[C]}`, where `b` is a
    replica's share of the batch.

    Args:
      dataset: its training images and labels.
      plan: which entries of `rows` the batches hold.
      rows: `int32[N]` for every part: the examples it draws from.
      replicas: the devices.
    """

    def __init__(
        self, dataset: Dataset, plan: Plan, rows: dict[str, np.ndarray], replicas: Spreads
    ):
        self._dataset, self._rows, self._replicas = dataset, rows, replicas
        self._plan = jax.jit(plan)

    def load(self, key: jax.Array, first_step: int) -> Any:
        """Returns what the dispatch that starts at `first_step` reads, on the devices."""
        # A plan made on an accelerator would queue behind the dispatch that is running there.
        with jax.default_device(_host()):
            key_data = jnp.asarray(np.asarray(jax.random.key_data(key)))
            host_key = jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(key))
            plan = self._plan(host_key, np.int32(first_step))
        batches = {}
        for part, entries in plan.items():
            examples = self._rows[part][np.asarray(entries)]
            share = examples.shape[1] // self._replicas.count
            own = np.stack([examples[:, n * share : (n + 1) * share] for n in self._replicas.own])
            batches[part] = self._dataset.train_inputs[own], self._dataset.train_targets[own]
        constants = {"mean": self._dataset.mean, "std": self._dataset.std}
        repeated = {k: np.stack([v] * len(self._replicas.own)) for k, v in constants.items()}
        return self._replicas.spread({"batches": batches, **repeated})

    def shapes(self) -> Any:
        """Returns the shapes and types of one replica's share of what a dispatch reads."""
        plan = jax.eval_shape(self._plan, jax.random.key(0), np.int32(0))
        arrays = self._dataset.train_inputs, self._dataset.train_targets

        def share(entries):
            rows = (entries.shape[0], entries.shape[1] // self._replicas.count)
            return tuple(jax.ShapeDtypeStruct((*rows, *a.shape[1:]), a.dtype) for a in arrays)

        return {
            "batches": {part: share(entries) for part, entries in plan.items()},
            "mean": self._dataset.mean,
            "std": self._dataset.std,
        }

    @contextlib.contextmanager
    def running(self, key: jax.Array, starts: range) -> Iterator[Iterator[Any]]:
        """Yields the data of the dispatches that start at the steps `starts`, in order."""
        with ThreadPoolExecutor(1, thread_name_prefix="stream") as pool:

            def dispatches() -> Iterator[Any]:
                ahead = [pool.submit(self.load, key, step) for step in starts[:1]]
                for upcoming in (*starts[1:], *[None] * len(ahead)):
                    data = ahead.pop().result()
                    if upcoming is not None:
                        ahead.append(pool.submit(self.load, key, upcoming))
                    yield data

            yield dispatches()


def _host() -> jax.Device:
    with contextlib.suppress(RuntimeError):
        return jax.local_devices(backend="cpu")[0]
    return jax.local_devices()[0]
