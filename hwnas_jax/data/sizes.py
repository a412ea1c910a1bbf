"""Whether there are enough data for what a config asks: batches, halves, held-out parts.

Everything is checked at once, before the first stage, so that nothing fails after minutes of
profiling or of searching.
"""

from collections.abc import Iterator

from hwnas_jax.config import Config
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import holdout
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.replicas import Replicas

_LEAST = 2
"""Examples that networks are judged by at least, since a batch is normalised by its statistics."""


def check_search_sizes(
    config: Config,
    dataset: Dataset,
    replicas: Replicas | None = None,
    *,
    searched: Dataset | None = None,
) -> None:
    """Refuses a whole run whose data are too few: for its search, short trainings or retraining.

    Args:
      config: the experiment.
      dataset: its data.
      replicas: the devices that it is for; those of this machine or job when left out.
      searched: the data that the search learns from, where they are others.

    Raises:
      UserError: names every option that asks for too much, and how many examples there are.
    """
    parts, own = _Parts(config, replicas), searched or dataset
    _refuse([*_search(config, own, parts), *_retraining(config, dataset, parts)])


def check_retraining_sizes(config: Config, dataset: Dataset) -> None:
    """Refuses the training of one network on too few data; errors as of `check_search_sizes`."""
    _refuse([*_retraining(config, dataset, _Parts(config))])


def check_table_sizes(config: Config, dataset: Dataset) -> None:
    """Refuses the trainings of a table on too few data; errors as of `check_search_sizes`.

    They train with the batches of a search on what retraining would train on.
    """
    train, tested = len(dataset.train_targets), len(dataset.test_targets)
    kept, held_out, wrong = _held_out(config, dataset)
    faults = [*wrong]
    if not wrong:
        what = f"the {kept} that retrain.validation_fraction leaves of {train} train examples"
        faults += _batch(config, "search", kept, what, _Parts(config))
        if held_out < _LEAST:
            faults.append(
                f"retrain.validation_fraction = {config.retrain.validation_fraction} holds out "
                f"{held_out} of {train} train examples; at least {_LEAST} judge a network"
            )
    if tested < _LEAST:
        faults.append(f"there is {tested} test example; at least {_LEAST} judge a network")
    _refuse(faults)


class _Parts:
    """Into how many parts the batch of a stage is divided; the devices are asked for when needed.

    Args:
      config: the experiment.
      replicas: as in `check_search_sizes`.
    """

    def __init__(self, config: Config, replicas: Replicas | None = None):
        self._config, self._replicas = config, replicas

    def of(self, stage: str) -> int:
        """Returns the parts of a batch of a stage, "search" or "retrain"."""
        each = self._config.search.parts if stage == "search" else self._config.retrain.accumulate
        return each * (self._replicas or Replicas.from_config(self._config.parallel)).count


def _search(config: Config, dataset: Dataset, parts: _Parts) -> Iterator[str]:
    """Yields what is wrong with the halves of a search: for the weights, for the architecture."""
    count = len(dataset.train_targets)
    if count < 2 * _LEAST:
        yield (
            f"{dataset.name} has {count} train examples; a search needs at least {2 * _LEAST}, two "
            "halves of two"
        )
        return
    half = count // 2
    what = f"the {half} in half of {count} train examples"
    yield from _batch(config, "search", half, what, parts)


def _retraining(config: Config, dataset: Dataset, parts: _Parts) -> Iterator[str]:
    kept, _, wrong = _held_out(config, dataset)
    yield from wrong
    if not wrong:
        count = len(dataset.train_targets)
        what = f"the {kept} that retrain.validation_fraction leaves of {count} train examples"
        yield from _batch(config, "retrain", kept, what, parts)


def _held_out(config: Config, dataset: Dataset) -> tuple[int, int, list[str]]:
    """Returns how many train examples stay and how many are held out, and what is wrong."""
    fraction, count = config.retrain.validation_fraction, len(dataset.train_targets)
    try:
        kept, held_out = holdout(dataset.train_targets, fraction, config.seed)
    except UserError:
        return count, 0, [
            f"retrain.validation_fraction = {fraction} of {count} train examples is less than one "
            "example, and one at least is held out to choose among networks"
        ]  # fmt: skip
    return len(kept), len(held_out), []


def _batch(config: Config, stage: str, count: int, what: str, parts: _Parts) -> Iterator[str]:
    """Yields what is wrong with the batches of a stage, which draws from so many examples."""
    size = getattr(config, stage).batch_size
    if size <= count:
        return
    said = f"{stage}.batch_size = {size} is more than {what}, which batches are drawn from"
    most = count // parts.of(stage) * parts.of(stage)
    if most:
        yield f"{said}; allowed are at most {most}"
    else:
        yield (
            f"{said}; a batch is divided into {parts.of(stage)} parts, so fewer devices or parts "
            "are needed"
        )


def _refuse(faults: list[str]) -> None:
    if faults:
        raise UserError(f"too few data: {'; '.join(faults)}" if len(faults) > 1 else faults[0])
