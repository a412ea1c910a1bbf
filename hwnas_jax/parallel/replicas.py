"""Devices and the replicas that run on them.

A step is written for one replica, with collectives over the axis `AXIS`. `Replicas.compile` runs
it on every device by `jax.pmap` or by `jax.shard_map`, which mean the same. Every replica holds the
whole state and takes its own slice of every batch.
"""

import contextlib
import dataclasses
import os
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hwnas_jax.config import ParallelConfig
from hwnas_jax.errors import UserError
from hwnas_jax.parallel import distributed

AXIS = "replica"

Dispatch = jax.stages.Wrapped
"""`(state, data) -> (state, info)`, compiled at its first call or ahead of it."""


def statistics_axis(config: ParallelConfig) -> str | None:
    """Returns the axis over which batch statistics are averaged; None keeps those of a replica."""
    return AXIS if config.sync_batch_statistics else None


def mean_over_replicas(tree: Any, axis_name: str | None) -> Any:
    """Averages all leaves over the replicas in one all-reduce; without an axis it does nothing."""
    if axis_name is None:
        return tree
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(flat, axis_name))


def own_slice(batch: Any, axis_name: str | None) -> Any:
    """Returns this replica's share of arrays that hold a whole batch along their first axis."""
    if axis_name is None:
        return batch

    def take(array):
        size = array.shape[0] // jax.lax.axis_size(axis_name)
        start = jax.lax.axis_index(axis_name) * size
        return jax.lax.dynamic_slice_in_dim(array, start, size)

    return jax.tree.map(take, batch)


@dataclasses.dataclass(frozen=True)
class Replicas:
    """The devices a step is replicated over.

    Attributes:
      devices: the devices of all processes; those of one process stand together.
      backend: "pmap" or "shard_map".
    """

    devices: tuple[jax.Device, ...]
    backend: str = "pmap"

    @classmethod
    def from_config(cls, config: ParallelConfig) -> "Replicas":
        """Takes the devices that the config asks for, in every process of a job.

        Raises:
          UserError: when there are too few, or when JAX knows of a job that was not joined by
            `distributed.start`.
        """
        if jax.process_count() != distributed.processes():
            raise UserError(
                f"this is one of {jax.process_count()} processes; join them by "
                "hwnas_jax.parallel.distributed.start, not by jax.distributed.initialize"
            )
        chosen: list[jax.Device] = []
        for process in range(jax.process_count()):
            local = [d for d in jax.devices() if d.process_index == process]
            count = len(local) if config.devices is None else config.devices
            if count > len(local):
                where = "this machine" if jax.process_count() == 1 else f"process {process}"
                raise UserError(
                    f"parallel.devices = {count}, but {where} has {len(local)} "
                    f"{local[0].platform} device(s): allowed are 1 to {len(local)}"
                )
            chosen += local[:count]
        return cls(tuple(chosen), config.backend)

    @property
    def count(self) -> int:
        """Number of replicas."""
        return len(self.devices)

    @property
    def own(self) -> tuple[int, ...]:
        """The numbers of the replicas that this process holds."""
        return tuple(
            i for i, d in enumerate(self.devices) if d.process_index == jax.process_index()
        )

    @property
    def several_processes(self) -> bool:
        """Whether other processes hold replicas too."""
        return len(self.own) < self.count

    def streams(self, resident: bool | None) -> bool:
        """Returns whether each replica gets data of its own.

        Args:
          resident: `data.resident`; with None data are streamed where there are several processes.
        """
        return self.several_processes if resident is None else not resident

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    def check_batch(self, batch_size: int, key: str, each: int = 1) -> None:
        """Raises UserError when a global batch does not divide by replicas with `each` parts."""
        parts = self.count * each
        if batch_size % parts:
            near = max(parts, round(batch_size / parts) * parts)
            micro = f" times {each} parts of their batches" if each > 1 else ""
            raise UserError(
                f"{key} = {batch_size} does not divide by {self.count} devices{micro}; "
                f"the nearest that does is {near}"
            )

    def compile(
        self, function: Callable[[Any, Any], tuple[Any, Any]], *, own_data: bool = False
    ) -> Dispatch:
        """Replicates `function(state, data) -> (state, info)`, donating the state.

        Args:
          function: written for one replica; may use collectives over `AXIS`.
          own_data: whether each replica has data of its own, from `spread`.

        Returns:
          A function of the same signature, for a state from `place` and data from `share` or
          `spread`. Both results have a leading axis of replicas. It compiles at its first call, or
          earlier by `hwnas_jax.compile.ahead.compile_ahead`.
        """
        if self.backend == "pmap":
            return jax.pmap(
                function, axis_name=AXIS, in_axes=(0, 0 if own_data else None), donate_argnums=0,
                devices=self.devices,
            )  # fmt: skip

        def first(tree):
            return jax.tree.map(lambda leaf: leaf[0], tree)

        def on_shard(state, data):
            result = function(first(state), first(data) if own_data else data)
            return jax.tree.map(lambda leaf: leaf[None], result)

        split, whole = PartitionSpec(AXIS), PartitionSpec()
        return jax.jit(
            jax.shard_map(
                on_shard, mesh=self._mesh, in_specs=(split, split if own_data else whole),
                out_specs=split, check_vma=False,
            ),
            donate_argnums=0,
        )  # fmt: skip

    def place(self, state: Any) -> Any:
        """Gives every replica a copy of `state`, laid out as the compiled step will return it."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))

        def replicate(leaf):
            leaf = jnp.asarray(leaf)
            bits = np.asarray(_plain(leaf))[None]
            shape = (self.count, *bits.shape[1:])
            return _like(leaf, jax.make_array_from_callback(shape, sharding, lambda index: bits))

        return jax.tree.map(replicate, state)

    def shapes(self, state: Any, data: Any, *, own_data: bool = False) -> tuple[Any, Any]:
        """Returns the shapes of what `place(state)` and `share(data)` would return.

        Args:
          state: arrays, or their shapes.
          data: likewise; with `own_data` that of one replica.
          own_data: whether the data go to the replicas by `spread` in place of `share`.
        """

        def shape(leaf, *leading):
            return jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype)

        placed = jax.tree.map(lambda leaf: shape(leaf, self.count), state)
        leading = (self.count,) if own_data else ()
        return placed, jax.tree.map(lambda leaf: shape(leaf, *leading), data)

    def lowered_as(self, state: Any, data: Any) -> tuple[Any, Any]:
        """Returns the arguments to lower a dispatch with that is then called with these.

        They differ only under `jax.pmap` with several processes: it is lowered for the shapes of
        its own process and, once compiled, called with the arrays of the whole job.
        """
        if self.backend != "pmap" or not self.several_processes:
            return state, data

        def own(leaf):
            split = leaf.sharding.spec == PartitionSpec(AXIS)
            bits = _plain(leaf)
            shape = (len(self.own), *bits.shape[1:]) if split else bits.shape
            return _like(leaf, jnp.zeros(shape, bits.dtype))

        return jax.tree.map(own, state), jax.tree.map(own, data)

    def share(self, data: Any) -> Any:
        """Puts `data` whole on every device, once."""
        sharding = NamedSharding(self._mesh, PartitionSpec())
        if sharding.is_fully_addressable:
            return jax.device_put(data, sharding)

        def everywhere(leaf):
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

        return jax.tree.map(everywhere, data)

    def spread(self, data: Any) -> Any:
        """Gives every replica of this process its own entry along the first axis of `data`."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        if sharding.is_fully_addressable:
            return jax.device_put(data, sharding)
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), data
        )

    def read(self, tree: Any) -> Any:
        """Returns the first replica's copy as arrays on one device."""
        return jax.tree.map(_first_replica, tree)

    def check_identical(self, state: Any) -> None:
        """Raises RuntimeError when the replicas differ in any bit of any leaf of `state`."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            copies = [np.asarray(_plain(shard.data)) for shard in _plain(leaf).addressable_shards]
            sums = {zlib.crc32(copy.tobytes()) for copy in copies}
            sums.update(*distributed.exchange(sorted(sums)))
            if len(sums) > 1:
                raise RuntimeError(f"replicas differ in {jax.tree_util.keystr(path)}")


def _plain(leaf):
    """Returns the raw bits of typed random keys, other arrays as they are."""
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def one_cpu_device_per_core() -> None:
    """Makes JAX see as many CPU devices as there are cores, unless the user has set a number.

    It has no effect once JAX has started, and none on the devices of other platforms.
    """
    own = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if own or getattr(jax.config, "jax_num_cpu_devices", -1) != -1:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores or 1)


def _like(leaf, bits):
    """Returns raw `bits` as random keys if `leaf` holds keys, and otherwise as they are."""
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf)) if is_key else bits


def _first_replica(leaf):
    return _like(leaf, jnp.asarray(np.asarray(_plain(leaf).addressable_data(0))[0]))


@dataclasses.dataclass(frozen=True)
class Members(Replicas):
    """The devices of one process that the members of a population are spread over.

    Devices have two uses. `Replicas` spends them on one state and divides its batches among them.
    `Members` spends them on many states: each lies whole on one device, so that a step needs no
    collectives. Every device holds the same number of members. Where places are left over they hold
    copies of the last member, which nobody reads.

    Attributes:
      members: `M`, how many there are.
    """

    members: int = 1

    @classmethod
    def over(cls, members: int, devices: int | None, backend: str) -> "Members":
        """Takes as few local devices as finish in the same time, and no more than `devices`.

        Raises:
          UserError: when there are too few devices.
        """
        local = jax.local_devices()
        most = len(local) if devices is None else devices
        if most > len(local):
            raise UserError(
                f"sweep.devices = {most}, but this machine has {len(local)} "
                f"{local[0].platform} device(s): allowed are 1 to {len(local)}"
            )
        each = -(-members // most)
        return cls(tuple(local[: -(-members // each)]), backend, members)

    @property
    def each(self) -> int:
        """How many members a device holds."""
        return -(-self.members // self.count)

    def place(self, state: Any) -> Any:
        """Spreads `state`, whose leaves have a leading axis of `M`, over the devices."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        rows = np.minimum(np.arange(self.count * self.each), self.members - 1)

        def spread(leaf):
            bits = np.asarray(_plain(leaf))[rows]
            bits = bits.reshape(self.count, self.each, *bits.shape[1:])
            return _like(leaf, jax.device_put(bits, sharding))

        return jax.tree.map(spread, state)

    def read(self, tree: Any) -> Any:
        """Returns all members as arrays on one device, with a leading axis of `M`."""

        def gather(leaf):
            plain = np.asarray(_plain(leaf))
            merged = plain.reshape(-1, *plain.shape[2:])[: self.members]
            return _like(leaf, jnp.asarray(merged))

        return jax.tree.map(gather, tree)

    def check_identical(self, state: Any) -> None:
        """Checks nothing, because members differ."""
