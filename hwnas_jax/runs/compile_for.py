"""The search step compiled for TPU chips that need not be there.

Everything here is the TPU compiler's own account, an estimate and never a measurement.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from hwnas_jax.budgets.target import Target
from hwnas_jax.compile.ahead import compile_ahead, memory_help
from hwnas_jax.compile.hlo import tally
from hwnas_jax.compile.topology import CHIPS, Chip, topology_devices
from hwnas_jax.config import Config
from hwnas_jax.cost import AnalyticModel, CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError, choose
from hwnas_jax.nn.platform import platform
from hwnas_jax.parallel.base import steps_per_dispatch
from hwnas_jax.parallel.replicas import Replicas, statistics_axis
from hwnas_jax.runs.gradient_search import batches_of, make_dispatch, search_functions
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces import Space
from hwnas_jax.tasks import make_task


@dataclasses.dataclass(frozen=True)
class ChipStep:
    """A search step on one of many chips, as the TPU compiler sees it.

    Attributes:
      topology: its name.
      kind: of the chip, as JAX names it.
      chips: how many.
      replicas: devices the step is replicated over; a v4 chip is two.
      images: images a step takes, weight and architecture batch together, over all replicas.
      lower_seconds: time spent tracing and lowering, on this machine.
      compile_seconds: time spent compiling, likewise.
      argument_bytes: state and data, per replica; streamed data are those of one dispatch.
      temporary_bytes: in between, per replica.
      memory_bytes: all of it, with the program, per replica.
      flops: of convolutions and matrix products, per step and replica; of operations of which
        one is drawn, the dearest counts.
      bytes_accessed: as XLA counts them, per step and replica, the bodies of loops once.
      all_reduces: per step.
      all_reduce_bytes: per step, of what every replica puts in.
      other_collectives: per step.
      cycles: sum of the compiler's estimated cycles, per step and replica, communication left out.
      unknown_loops: loops that count as one turn because the program does not say how many.
    """

    topology: str
    kind: str
    chips: int
    replicas: int
    images: int
    lower_seconds: float
    compile_seconds: float
    argument_bytes: int
    temporary_bytes: int
    memory_bytes: int
    flops: float
    bytes_accessed: float
    all_reduces: float
    all_reduce_bytes: float
    other_collectives: float
    cycles: float
    unknown_loops: int

    @property
    def chip(self) -> Chip | None:
        """What is published of the chip."""
        return CHIPS.get(self.kind)

    @property
    def flops_per_image(self) -> float:
        """`flops` for each image of a replica's share."""
        return self.flops * self.replicas / self.images

    @property
    def compute_seconds(self) -> float | None:
        """The estimated cycles at the published clock."""
        return self.cycles / (self.chip.clock_ghz * 1e9) if self.chip else None

    @property
    def all_reduce_seconds(self) -> float | None:
        """The least time of the all-reduces at the published link speed.

        A ring sends every byte twice but for the chip's own share; latency is left out.
        """
        if self.chip is None:
            return None
        sent = 2 * self.all_reduce_bytes * (self.chips - 1) / self.chips
        return sent / (self.chip.link_gb_s * 1e9)

    @property
    def images_per_second(self) -> float | None:
        """What both would mean, one after the other, over all chips."""
        if self.compute_seconds is None or self.all_reduce_seconds is None:
            return None
        return self.images / (self.compute_seconds + self.all_reduce_seconds)

    def rows(self) -> list[tuple[str, str]]:
        """Returns what a person reads, a name and a value each."""
        mib, chip = 2**20, self.chip
        share = self.replicas // self.chips or 1
        rows = [
            ("chips", f"{self.chips} ({self.kind}), {self.replicas} replicas"),
            ("images per step", f"{self.images}, {self.images / self.replicas:g} per replica"),
            ("lowered, compiled here", f"{self.lower_seconds:.1f} s, {self.compile_seconds:.1f} s"),
            ("memory per chip", f"{share * self.memory_bytes / mib:.1f} MiB"),
            ("  of which state and data", f"{share * self.argument_bytes / mib:.1f} MiB"),
            ("  of which temporary", f"{share * self.temporary_bytes / mib:.1f} MiB"),
            ("HBM per chip (published)", f"{chip.hbm_gib:g} GiB" if chip else "not known"),
            ("FLOPs per step and chip", f"{share * self.flops:.4g}"),
            ("FLOPs per image", f"{self.flops_per_image:.4g}"),
            ("bytes accessed, loop bodies once", f"{share * self.bytes_accessed:.4g}"),
            ("all-reduces per step", f"{self.all_reduces:g}"),
            ("all-reduced bytes per step", f"{self.all_reduce_bytes:.4g}"),
            ("other collectives per step", f"{self.other_collectives:g}"),
            ("estimated cycles per step", f"{self.cycles:.4g}"),
        ]  # fmt: skip
        if self.unknown_loops:
            rows.append(("loops counted once, length unknown", str(self.unknown_loops)))
        compute, reduce = self.compute_seconds, self.all_reduce_seconds
        if chip is not None and compute is not None and reduce is not None:
            rows += [
                (f"  at {chip.clock_ghz:g} GHz (published)", f"{1e3 * compute:.3g} ms"),
                ("all-reduces, at least", f"{1e3 * reduce:.3g} ms"),
                (f"  at {chip.link_gb_s:g} GB/s (published)", ""),
                ("images/s that would mean", f"{self.images_per_second:,.0f}"),
            ]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values."""
        derived = ("flops_per_image", "compute_seconds", "all_reduce_seconds", "images_per_second")
        return {
            **dataclasses.asdict(self),
            "chip_published": self.chip._asdict() if self.chip else None,
            **{name: getattr(self, name) for name in derived},
        }


def compile_for(
    topology: str,
    space: Space,
    dataset: Dataset,
    config: Config,
    *,
    cost_model: CostModel | None = None,
) -> ChipStep:
    """Compiles the dispatch that a search would run on TPU chips; nothing runs, no data is placed.

    Args:
      topology: as libtpu names it, such as "v5e:16x16".
      space: what would be searched.
      dataset: its shapes count.
      config: `search`, `target`, `data` and `parallel` are read; `parallel.devices` takes that
        many of the topology's devices. As in a search, data are streamed where several hosts hold
        the devices, unless `data.resident` says otherwise.
      cost_model: what would be in the loss; the space's operation counts when left out.

    Raises:
      UserError: without libtpu, for an unknown topology, a batch that does not divide by the
        devices, or a step that does not fit them.
    """
    settings, replicas = config.search, replicas_of(topology, config)
    devices, count = replicas.devices, replicas.count
    replicas.check_batch(settings.batch_size, "search.batch_size", settings.parts)
    model: Any = AnalyticModel.count(space) if cost_model is None else cost_model
    metric = "macs" if cost_model is None else config.target.metric
    choose(metric, model.metrics, "metric of the cost model")
    length = steps_per_dispatch(settings.steps, settings.steps_per_dispatch)
    own_data = replicas.streams(config.data.resident)
    with platform("tpu"), _without_cache():
        target = _target(space, model, metric)
        task = make_task(config.task, dataset)
        methods = make_methods(space, task, config, sync_axis=statistics_axis(config.parallel))
        search = search_functions(methods, target, config)
        batches = batches_of(dataset, config, length)
        dispatch = replicas.compile(make_dispatch(search, batches), own_data=own_data)
        state = jax.eval_shape(lambda key: search.init(key, target.limits), jax.random.key(0))
        data = batches.stream(replicas).shapes() if own_data else batches.resident()
        data = {**data, "cost_model": model}
        program = compile_ahead(
            dispatch, *replicas.shapes(state, data, own_data=own_data),
            f"search on {topology}", memory_help("search", settings, platform="tpu"),
        )  # fmt: skip
    found = tally(str(program.call.as_text()))
    per_step = {key: value / length for key, value in found.items()}
    others = [
        value for key, value in per_step.items()
        if "-" in key and not key.startswith("all-reduce") and not key.endswith("bytes")
    ]  # fmt: skip
    return ChipStep(
        topology=topology,
        kind=devices[0].device_kind,
        chips=_chips(devices),
        replicas=count,
        images=2 * settings.batch_size,
        lower_seconds=program.lower_seconds,
        compile_seconds=program.compile_seconds,
        argument_bytes=program.argument_bytes,
        temporary_bytes=program.temporary_bytes,
        memory_bytes=program.total_bytes,
        flops=per_step.get("flops", 0.0),
        bytes_accessed=program.bytes_accessed,
        all_reduces=per_step.get("all-reduce", 0.0),
        all_reduce_bytes=per_step.get("all-reduce bytes", 0.0),
        other_collectives=sum(others),
        cycles=per_step.get("cycles", 0.0),
        unknown_loops=found["unknown loops"],
    )


def replicas_of(topology: str, config: Config) -> Replicas:
    """Returns the chips that a search on a topology would be replicated over.

    Args:
      topology: as libtpu names it, such as "v5e:16x16".
      config: `parallel.devices` takes that many of them.

    Raises:
      UserError: without libtpu, for an unknown topology, or for more devices than it has.
    """
    devices = topology_devices(topology)
    count = config.parallel.devices or len(devices)
    if count > len(devices):
        raise UserError(
            f"parallel.devices = {count}, but {topology} has {len(devices)}: allowed are 1 to "
            f"{len(devices)}"
        )
    return Replicas(devices[:count], config.parallel.backend)


def _target(space: Space, model: CostModel, metric: str) -> Target:
    """Returns a budget; which one changes nothing in what is compiled."""
    average = space.mask / space.mask.sum(-1, keepdims=True)
    return Target(metric, float(model.predict(average.astype(np.float32))[metric]))


def _chips(devices: Sequence[jax.Device]) -> int:
    return len({(tuple(d.coords), getattr(d, "slice_index", 0)) for d in devices})


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Programs for chips that are not there could be written to the cache but never read."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # whether there is one is asked only once
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
