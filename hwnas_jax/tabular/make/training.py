"""Trains the networks of a table, all by one compiled program, and judges them.

Legend: `n` networks, `D` decisions, `E` lengths of training, `S` seeds.
"""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.compile.ahead import Program, compile_ahead, memory_help
from hwnas_jax.config import Config
from hwnas_jax.data import Dataset
from hwnas_jax.data.pipeline import augmentation, holdout
from hwnas_jax.errors import UserError
from hwnas_jax.nn.precision import compute_dtype
from hwnas_jax.parallel.base import steps_per_dispatch
from hwnas_jax.parallel.replicas import Members, Replicas
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators.base import Bench, Data
from hwnas_jax.search.evaluators.judging import deal, judge_path
from hwnas_jax.search.evaluators.path_training import PathTraining
from hwnas_jax.search.evaluators.side_by_side import SideBySide, own
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Task


class Results(NamedTuple):
    """What trainings came to, `float32[E, n, S]` each.

    Attributes:
      validation: the task's primary metric on the held-out part of the training data.
      test: the same on the test data.
      seconds: wall time of the training, beside as many others as there are devices.
    """

    validation: np.ndarray
    test: np.ndarray
    seconds: np.ndarray


class Trainer:
    """Trains networks of a space from scratch, as many side by side as there are devices.

    They are paths of the supernet with weights of their own, and are judged as the short trainings
    of a search are: every batch is normalised by its own statistics, and examples that fill no
    batch are left out.

    Args:
      space: the search space.
      dataset: its training examples but for a held-out part are trained on.
      task: what is learned.
      config: `search` says how networks are trained, `retrain.validation_fraction` how much is
        held out; `data`, `parallel` and `seed` are read too.

    Raises:
      UserError: when a batch has more examples than there are, or a setting cannot be kept.
    """

    def __init__(self, space: Space, dataset: Dataset, task: Task, config: Config):
        settings = config.search
        if config.data.resident is False:
            raise UserError("data.resident = False: trainings of a table keep data on the devices")
        self._helps = memory_help("search", settings)
        self._program: Program | None = None
        self._data, self._rows = _examples(dataset, config)
        bench = Bench(
            space, task, batch_size=settings.batch_size,
            supernet=make_supernet(
                space, dtype=compute_dtype(settings.dtype, "search.dtype"),
                rematerialise=settings.rematerialise,
            ),
            augmentation=augmentation(dataset, config.data),
        )  # fmt: skip
        self._training = PathTraining.of(bench, settings.weights)
        self._per_epoch = self._training.sampler(len(self._data.weight_half), 1).steps_per_epoch
        self.length = call_length(self._per_epoch, settings.steps_per_dispatch)
        devices = Replicas.from_config(config.parallel).devices
        self._place = Members(devices, config.parallel.backend, len(devices))
        self._side_by_side = SideBySide(self._training, self._place, self.length)

        def judge(trainee, given):
            path = own(trainee.path)
            gates = one_hot_gates(path, space.num_options, sampled=True)
            weights = own(trainee.state.weights)
            return trainee, {
                split: judge_path(bench, weights, given["data"], rows, gates)[task.metric]
                for split, rows in given["rows"].items()
            }

        self._judge = self._place.compile(judge)

    @property
    def devices(self) -> int:
        """How many networks are trained at a time."""
        return self._place.count

    def calls(self, epochs: int) -> int:
        """Returns how many calls a training takes; its last may go a little beyond the epochs."""
        return -(-epochs * self._per_epoch // self.length)

    def train(
        self,
        networks: np.ndarray,
        epochs: Sequence[int],
        seeds: Sequence[int],
        on_call: Callable[[int], None] = lambda calls: None,
    ) -> Results:
        """Trains every network once for each length and seed.

        A training depends on its network, its length and its seed alone, not on what is trained
        beside it.

        Args:
          networks: `int32[n, D]`.
          epochs: `E` lengths.
          seeds: `S`, of the initial weights, the order of batches and the augmentation.
          on_call: called with the number of calls that are done, `calls` each training.

        Raises:
          UserError: when a training does not fit the device's memory.
        """
        shape = (len(epochs), len(networks), len(seeds))
        results = Results(*(np.zeros(shape, np.float32) for _ in Results._fields))
        pairs = list(itertools.product(range(len(networks)), range(len(seeds))))
        done = 0
        for number, length in enumerate(epochs):
            for start in range(0, len(pairs), self.devices):
                some = pairs[start : start + self.devices]
                rows, columns = (list(places) for places in zip(*some, strict=True))
                told = self._train_some(
                    networks[rows], [seeds[column] for column in columns], length,
                    functools.partial(_count, on_call, done, len(some)),
                )  # fmt: skip
                for every, values in zip(results, told, strict=True):
                    every[number, rows, columns] = values
                done += len(some) * self.calls(length)
        on_call(done)
        return results

    def _train_some(
        self,
        networks: np.ndarray,
        seeds: Sequence[int],
        epochs: int,
        on_call: Callable[[int], None],
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Returns both metrics `float32[n]` of networks, one on each device, and the seconds."""
        keys = [jax.random.key(seed) for seed in seeds]
        trainees = self._side_by_side.begin(
            networks, keys, [self._training.init(key) for key in keys]
        )
        data, rows = self._shared
        if self._program is None:
            given = self._side_by_side.given(data, first=0, total=1)
            self._program = compile_ahead(
                self._side_by_side.dispatch, trainees, given, "a training", self._helps
            )
            self._program.check_fits(self._place.devices, "a training", self._helps)
        started = time.perf_counter()
        trainees, _ = self._side_by_side.run(
            trainees, data, self.calls(epochs), on_call=on_call, dispatch=self._program.call
        )
        seconds = time.perf_counter() - started
        _, judged = self._judge(trainees, {"data": data, "rows": rows})
        told = {split: np.asarray(values)[: len(networks)] for split, values in judged.items()}
        return told["validation"], told["test"], seconds

    @functools.cached_property
    def _shared(self) -> Any:
        """The examples, and which of them networks are judged by, on every device."""
        return self._place.share(jax.tree.map(jnp.asarray, (self._data, self._rows)))


def _count(on_call: Callable[[int], None], before: int, each: int, call: int) -> None:
    on_call(before + each * call)


def call_length(per_epoch: int, wanted: int) -> int:
    """Returns how many steps a call takes: `wanted` or fewer.

    It divides an epoch where that does not make calls much shorter than they need be. Otherwise an
    epoch's calls together take a little more steps than the epoch has.

    >>> call_length(100, 50), call_length(80, 50), call_length(67, 50), call_length(67, 100)
    (50, 40, 34, 67)
    """
    exact = steps_per_dispatch(per_epoch, wanted)
    return exact if 2 * exact > min(per_epoch, wanted) else -(-per_epoch // -(-per_epoch // wanted))


def _examples(dataset: Dataset, config: Config) -> tuple[Data, dict[str, np.ndarray]]:
    """Returns all examples, and which of them networks are judged by: batches `int32[R, B]`."""
    kept, held_out = holdout(dataset.train_targets, config.retrain.validation_fraction, config.seed)
    first, size = len(dataset.train_targets), config.search.batch_size
    data = Data(
        np.concatenate([dataset.train_inputs, dataset.test_inputs]),
        np.concatenate([dataset.train_targets, dataset.test_targets]),
        kept, held_out, dataset.mean, dataset.std,
    )  # fmt: skip
    tested = np.arange(first, first + len(dataset.test_targets), dtype=np.int32)
    halves = {"validation": held_out, "test": tested}
    return data, {split: deal(half, size, config.seed, None) for split, half in halves.items()}
