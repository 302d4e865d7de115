"""A study in memory, and its record in the file: samplers and pruners work on the one, the other survives.

Optuna's SQLite storage takes ten transactions a trial and reads it back for every question, four times the time
that a trial may cost here. One process at a time runs a sweep, so its studies can live in memory, and the file gets
what is new of a trial in one transaction. The rows are those that Optuna itself writes: any of its tools reads them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import InMemoryStorage, RDBStorage
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection, Insert, Table

# A sampler's notes on a study name trials by their ids in memory, and are found again; not so this counter.
QMC_COUNTER = "qmc:"


@dataclass
class StudyFile:
    """The rows of one study. All that reaches into Optuna's tables; a test reads them back through Optuna."""

    storage: RDBStorage
    study_id: int
    _trials: dict[int, tuple[int, FrozenTrial]] = field(default_factory=dict)  # open: number -> id, as it was written
    _counters: dict[str, Any] = field(default_factory=dict)

    def load(self) -> list[FrozenTrial]:
        trials = self.storage.get_all_trials(self.study_id, deepcopy=False)
        self._trials = {trial.number: (trial._trial_id, trial) for trial in trials if not trial.state.is_finished()}
        return trials

    def write(self, trial: FrozenTrial) -> None:
        """What is new of the trial since it was written last, in one transaction."""
        with self.storage.engine.begin() as connection:
            if trial.number in self._trials:
                trial_id, before = self._trials[trial.number]
                self._update(connection, trial_id, before, trial)
            else:
                trial_id = self._insert(connection, trial)
                before = None
            for name, rows in _rows(before, trial).items():
                if rows:
                    connection.execute(_insertion(name), [{"trial_id": trial_id, **row} for row in rows])
        if trial.state.is_finished():
            self._trials.pop(trial.number, None)
        else:
            self._trials[trial.number] = trial_id, trial

    def write_counters(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            if key.startswith(QMC_COUNTER) and self._counters.get(key) != value:
                self.storage.set_study_system_attr(self.study_id, key, value)
                self._counters[key] = value

    def _insert(self, connection: Connection, trial: FrozenTrial) -> int:
        values = {"number": trial.number, "study_id": self.study_id, **_state(trial)}
        key = connection.execute(_insertion("trials"), values).inserted_primary_key
        assert key is not None
        return int(key[0])

    def _update(self, connection: Connection, trial_id: int, before: FrozenTrial, trial: FrozenTrial) -> None:
        if before.state is not trial.state:
            table = _table("trials")
            connection.execute(table.update().where(table.c.trial_id == trial_id).values(_state(trial)))


@dataclass
class KeptStudy:
    study: Study  # in memory
    file: StudyFile | None  # None: nothing outlives the process

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        return self.study._storage.get_trial(self._trial_id(number))

    def create(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial under its number, in memory; `keep` writes it."""
        storage = self.study._storage  # `add_trial` does not say which trial it made
        return storage.get_trial(storage.create_new_trial(self.study._study_id, trial))

    def note(self, number: int, user: Mapping[str, Any], system: Mapping[str, Any] | None = None) -> None:
        storage, trial_id = self.study._storage, self._trial_id(number)
        for key, value in user.items():
            storage.set_trial_user_attr(trial_id, key, value)
        for key, value in (system or {}).items():
            storage.set_trial_system_attr(trial_id, key, value)

    def report(self, number: int, values: Mapping[int, float]) -> None:
        for step, value in values.items():
            self.study._storage.set_trial_intermediate_value(self._trial_id(number), step, value)

    def tell(self, number: int, values: Sequence[float] | None, state: str) -> FrozenTrial:
        """To the sampler, and into the file."""
        from optuna.trial import TrialState

        self.study.tell(number, values, state=TrialState[state])
        return self.keep(number)

    def keep(self, number: int) -> FrozenTrial:
        """Into the file, what is new of the trial."""
        storage = self.study._storage
        trial = self.trial(number)
        if self.file is not None:
            self.file.write(trial)
            self.file.write_counters(storage.get_study_system_attrs(self.study._study_id))
        return trial

    def _trial_id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)


def open_study(
    name: str, directions: Sequence[StudyDirection], memory: InMemoryStorage, storage: RDBStorage | None
) -> KeptStudy:
    """With the trials that the file has of it, under their numbers."""
    from optuna.study import create_study

    study = create_study(storage=memory, study_name=name, directions=directions)
    if storage is None:
        return KeptStudy(study, None)
    stored = create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    kept = KeptStudy(study, StudyFile(storage, stored._study_id))
    assert kept.file is not None
    for trial in kept.file.load():
        kept.create(trial)
    for key, value in storage.get_study_system_attrs(stored._study_id).items():
        if key.startswith(QMC_COUNTER):
            memory.set_study_system_attr(study._study_id, key, value)
    return kept


def _table(name: str) -> Table:
    from optuna.storages._rdb.models import BaseModel

    return BaseModel.metadata.tables[name]  # type: ignore[no-any-return]  # of SQLAlchemy


@cache  # to build the statement takes longer than to run it
def _insertion(name: str) -> Insert:
    from sqlalchemy.dialects.sqlite import insert

    statement = insert(_table(name))
    if not name.endswith("_attributes"):
        return statement
    new = {"value_json": statement.excluded.value_json}
    return statement.on_conflict_do_update(index_elements=["trial_id", "key"], set_=new)


def _state(trial: FrozenTrial) -> dict[str, Any]:
    return {"state": trial.state, "datetime_start": _utc(trial.datetime_start),
            "datetime_complete": _utc(trial.datetime_complete)}  # fmt: skip


def _utc(time: datetime.datetime | None) -> datetime.datetime | None:
    """As Optuna keeps them: local time in memory, UTC in the file, neither saying so."""
    return None if time is None else time.astimezone(datetime.UTC).replace(tzinfo=None)


def _rows(before: FrozenTrial | None, trial: FrozenTrial) -> dict[str, list[dict[str, Any]]]:
    """Table -> what it lacks of the trial."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialValueModel

    def new(name: str) -> list[tuple[Any, Any]]:
        old = {} if before is None else getattr(before, name)
        return [(key, value) for key, value in getattr(trial, name).items() if key not in old or old[key] != value]

    values = enumerate(trial.values or [])
    finite = [(number, *TrialValueModel.value_to_stored_repr(value)) for number, value in values]
    steps = [(step, *TrialIntermediateValueModel.intermediate_value_to_stored_repr(value))
             for step, value in new("intermediate_values")]  # fmt: skip
    return {
        "trial_params": [{"param_name": key, "param_value": trial.distributions[key].to_internal_repr(value),
                          "distribution_json": distribution_to_json(trial.distributions[key])}
                         for key, value in new("params")],
        "trial_values": [{"objective": number, "value": value, "value_type": kind} for number, value, kind in finite],
        "trial_intermediate_values": [{"step": step, "intermediate_value": value, "intermediate_value_type": kind}
                                      for step, value, kind in steps],
        "trial_user_attributes": [{"key": key, "value_json": json.dumps(value)} for key, value in new("user_attrs")],
        "trial_system_attributes": [{"key": key, "value_json": json.dumps(value)}
                                    for key, value in new("system_attrs")],
    }  # fmt: skip
