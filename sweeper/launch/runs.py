"""From asked trials to run folders: the data a run reads, its identity, its place on disk.

Owns nothing that lasts: the folder's content is `run_folder`'s, the rows are `tasks`'.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.config import RunConfig, Source
from sweeper.launch.group import DataSize, Waiting, estimated_cost, group_key
from sweeper.launch.sharing import share_key
from sweeper.search.study import Sweep, TrialRuns
from sweeper.tracking.provenance import code_state
from sweeper.tracking.run_folder import RunFolder, RunIdentity
from tasks import sources

IN_RUN_ID = ("task", "model", "peft", "task.train_size")  # axes


@dataclass(frozen=True)
class Data:
    """The rows behind a task's config: where they came from, what they are, how many."""

    source: str
    digest: str
    kind: Source
    size: DataSize


class Runs:
    """Makes the folders of a sweep's runs. The rows of each data source are read once, for their digest."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._root = Path(sweep.base.output_dir)
        self._code = code_state()
        self._data: dict[str, Data] = {}

    def data(self, config: RunConfig) -> Data:
        """Raises ConfigError where there are no rows."""
        rows_only = RunConfig(task=sources.rows_only(config.task), data_dir=config.data_dir)
        key = json.dumps([rows_only.to_dict(), config.model.is_embedded])
        if key not in self._data:
            source = sources.resolve(config.task, config.data_dir, embedded_model=config.model.is_embedded)
            splits = sources.load(source, config.task)
            size = DataSize(len(splits.train), len(splits.selection), len(splits.test))
            self._data[key] = Data(splits.source, splits.digest, source.kind, size)
        return self._data[key]

    def waiting(self, run_id: str, config: RunConfig) -> Waiting:
        """The run as the waiting room sees it."""
        train = config.train
        return Waiting(
            run_id, group_key(config), estimated_cost(config, self.data(config).size),
            family=None if self._sweep.prunes_by == "step" else share_key(config), epochs=train.epochs,
            examples=math.ceil(train.batch_size / train.gradient_accumulation_steps),
        )  # fmt: skip

    def folder(self, trial: TrialRuns, replicate: int) -> RunFolder:
        """Created, or opened where an earlier process made it."""
        config = trial.runs[replicate]
        data = self.data(config)
        # A worker reads what was found here, whatever it could reach by then.
        settled = dataclasses.replace(config.task.data, source=data.kind)
        config = dataclasses.replace(config, task=dataclasses.replace(config.task, data=settled))
        origin: dict[str, Any] = {"replicate": replicate, "code": self._code}
        if not self._sweep.is_single:
            origin |= {"sweep_id": self._sweep.sweep_id, "study": trial.study, "trial": trial.number}
            origin |= {"params": trial.params, "cell": trial.cell}
        identity = RunIdentity.of(config, {"source": data.source, "digest": data.digest}, **origin)
        return RunFolder.create(self._root, identity)


def display_name(folder: RunFolder) -> str:
    """What a person calls the run: its id without the hash, and what that does not say of its cell and its point."""
    axes = {key: value for key, value in folder.identity.cell.items() if key not in IN_RUN_ID}
    values = {**axes, **folder.identity.params}
    chosen = [f"{key.rpartition('.')[2]}={_short(value)}" for key, value in values.items()]
    return " ".join([folder.run_id.rpartition("-")[0], *chosen])


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
