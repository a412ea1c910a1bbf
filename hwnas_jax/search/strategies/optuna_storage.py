"""A study of Optuna in a storage that several processes write to and learn from.

Everything here runs on the host.

Legend: `n` architectures a round, `D` decisions.
"""

import functools
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas_jax.errors import UserError
from hwnas_jax.search.strategies.optuna_study import (
    BUDGET,
    DIRECTIONS,
    Decisions,
    Records,
    load_optuna,
    name_of,
)

if TYPE_CHECKING:
    import optuna

_COST, _HOST, _PROCESS, _UNJUDGED = "cost", "host", "process", "unjudged"


class SharedStudy:
    """The study of one search, as one process sees it.

    Args:
      storage: the URL of a database, or the path of a journal file; made when it is not there.
      name: of the study, likewise.
      objectives: one for the score alone, two for the score and the cost.
    """

    def __init__(self, storage: str, name: str, objectives: int):
        self.storage, self.name, self.objectives = storage, name, objectives
        # Architectures that this process evaluates at this time.
        self._claims: dict[bytes, optuna.trial.Trial] = {}

    @functools.cached_property
    def study(self) -> "optuna.Study":
        """The study, opened or made."""
        study = load_optuna().create_study(
            storage=self._opened(), study_name=self.name, load_if_exists=True,
            directions=DIRECTIONS[: self.objectives],
        )  # fmt: skip
        _give_up_dead(study)
        return study

    def _opened(self) -> "optuna.storages.BaseStorage":
        storages = load_optuna().storages
        if "://" in self.storage:
            return storages.RDBStorage(self.storage)
        return storages.JournalStorage(storages.journal.JournalFileBackend(self.storage))

    def check(self, decisions: Decisions) -> None:
        """Checks that the storage and the study can be used; makes no study.

        Raises:
          UserError: when the storage cannot be used, or the study is of another space or has other
            objectives.
        """
        optuna, path = load_optuna(), Path(self.storage)
        if "://" not in self.storage and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UserError(
                f"storage = {self.storage!r} must be the path of a file in a folder that exists, "
                "or the URL of a database"
            )
        try:
            storage = self._opened()
            is_there = self.name in optuna.get_all_study_names(storage)
        except Exception as error:  # whatever the driver of the database raises
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"storage = {self.storage!r} cannot be used: {reason}. It must be the URL of a "
                "database, such as mysql://USER@HOST/NAME or sqlite:///FILE, or the path of a "
                "journal file"
            ) from error
        if not is_there:
            return
        found = tuple(direction.name.lower() for direction in self.study.directions)
        if found != DIRECTIONS[: self.objectives]:
            self._refuse(f"is to {' and '.join(found)}, as another strategy needs it")
        # One that a dead process has begun may lack some decisions.
        told = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if any(trial.distributions != decisions.distributions for trial in told):
            self._refuse("is of a space with other decisions")

    def _refuse(self, what: str) -> None:
        raise UserError(
            f"the study {self.name!r} in storage = {self.storage!r} {what}: give another name by "
            "the option study"
        )

    def records(self, decisions: Decisions) -> Records:
        """Returns what all processes were told, in the order in which evaluations finished."""
        states = load_optuna().trial.TrialState
        trials = self.study.get_trials(deepcopy=False)
        done = [trial for trial in trials if trial.state == states.COMPLETE]
        done.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        # One that begins in this moment has no or some decisions.
        whole = [trial for trial in trials if trial.distributions == decisions.distributions]
        running = [trial for trial in whole if not _finished(trial)]
        unjudged = [trial for trial in whole if _UNJUDGED in trial.user_attrs]

        def rows(some):
            found = [decisions.architecture(trial.params) for trial in some]
            return np.array(found, np.int32).reshape(-1, len(decisions.options))

        return Records(
            architectures=rows(done),
            score=np.array([trial.values[0] for trial in done], float),
            excess=np.array([trial.constraints[BUDGET] for trial in done], float),
            cost=np.array([trial.user_attrs[_COST] for trial in done], float),
            running=rows(running),
            other=rows(unjudged),
        )

    def claim(self, decisions: Decisions, architectures: np.ndarray) -> None:
        """Writes that this process evaluates architectures, `int32[n, D]`."""
        for row in architectures:
            self._claims[name_of(row)] = self._begun(decisions, row)

    def _taken(self, decisions: Decisions, architecture: np.ndarray) -> "optuna.trial.Trial":
        if name_of(architecture) in self._claims:
            return self._claims.pop(name_of(architecture))
        return self._begun(decisions, architecture)

    def _begun(self, decisions: Decisions, architecture: np.ndarray) -> "optuna.trial.Trial":
        self.study.sampler = _decided()(decisions.params(architecture))
        trial = self.study.ask(decisions.distributions)
        trial.set_user_attr(_HOST, socket.gethostname())
        trial.set_user_attr(_PROCESS, os.getpid())
        return trial

    def record(self, decisions: Decisions, records: Records) -> None:
        """Writes what this process was told.

        Where it was told of other architectures than those that it claimed, because a run began
        with given ones, the claims are given up.
        """
        for row, score, excess, cost in zip(*records[:4], strict=True):
            trial = self._taken(decisions, row)
            trial.set_constraint(BUDGET, float(excess))
            trial.set_user_attr(_COST, float(cost))
            self.study.tell(trial, [float(score), float(cost)][: self.objectives])
        for row in records.other:
            trial = self._taken(decisions, row)
            trial.set_user_attr(_UNJUDGED, True)
            _fail(self.study, trial)
        for trial in self._claims.values():
            _fail(self.study, trial)
        self._claims.clear()


@functools.cache
def _decided():
    class Decided(load_optuna().samplers.BaseSampler):  # type: ignore[misc]
        """Suggests what has been decided already: Optuna begins a trial by asking a sampler."""

        def __init__(self, params):
            self.params = params

        def infer_relative_search_space(self, study, trial):
            return {}

        def sample_relative(self, study, trial, search_space):
            return {}

        def sample_independent(self, study, trial, param_name, param_distribution):
            return self.params[param_name]

    return Decided


def _give_up_dead(study: "optuna.Study") -> None:
    """Marks as failed what processes of this machine left running that run no more."""
    for trial in study.get_trials(deepcopy=False):
        host, process = (trial.user_attrs.get(name) for name in (_HOST, _PROCESS))
        if not _finished(trial) and host == socket.gethostname() and not _lives(process):
            _fail(study, trial.number)


def _fail(study: "optuna.Study", trial: "optuna.trial.Trial | int") -> None:
    study.tell(trial, state=load_optuna().trial.TrialState.FAIL, skip_if_finished=True)


def _finished(trial: "optuna.trial.FrozenTrial") -> bool:
    return trial.state.is_finished()


def _lives(process: int | None) -> bool:
    """Returns whether a process of this machine runs; true where that cannot be known."""
    if process is None or os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
