"""Runs and sweeps out of MLflow, as plain values.

The only module here that knows MLflow, and the tags that the tracking writes.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

SQLITE = "sqlite:///"
KIND, RUN_ID, SWEEP_ID, SWEEP_MEMBER = "sweeper.kind", "sweeper.run_id", "sweeper.sweep_id", "sweeper.sweep."
STATE, REASON, DETAIL = "sweeper.state", "sweeper.reason", "sweeper.detail"
CELL, IRREGULAR, TRIAL = "sweeper.cell", "sweeper.irregular", "sweeper.trial"
DATA_SOURCE, DATA_DIGEST, DEMO = "sweeper.data.source", "sweeper.data.digest", "sweeper.data.demo"
SHARED_WITH = "sweeper.shared_with"  # the longer run that this one was read from, on its way
CELLS, REPLICATES, OBJECTIVE = "sweeper.cells", "sweeper.replicates", "sweeper.objective"
OBJECTIVE_STD, CONFIRM_SEEDS = "sweeper.objective_std", "sweeper.confirm_seeds"
TUNE_PER_CELL = "sweeper.tune_per_cell"
COLUMNS, PUBLISHED, SCALE = "sweeper.report.columns", "sweeper.report.published", "sweeper.scale"
COMPLETE, PRUNED, FAILED, UNFINISHED = "COMPLETE", "PRUNED", "FAILED", "UNFINISHED"
DEFAULT_OBJECTIVE = "eval/accuracy"
FULL = "full"  # scale of an experiment as it was published
# Parameters that tell replicates of one point apart, or say only where a run was kept.
NOT_HYPERPARAMETERS = frozenset(
    {"seed", "replicates", "data_dir", "output_dir", "tracking_uri", "plan", "retry_failed",
     "resume.allow_drift", "budget.minutes"}
)  # fmt: skip
OF_THE_TABLE = ("report", "scale", "scales")  # and these of all runs together


class BadArgument(ValueError):
    """One line for the person who asked: the argument, its value and the nearest that exists."""


class NothingToShow(ValueError):
    """No results, and the command that makes some."""


@dataclass(frozen=True)
class Run:
    run_id: str
    mlflow_id: str
    state: str
    started_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    confirms: int | None = None  # number of the trial whose point it repeats on a fresh seed

    @property
    def model(self) -> str:
        return self.params.get("model.name", "?")

    @property
    def method(self) -> str:
        return self.params.get("peft.name", "none")

    @property
    def task_type(self) -> str:
        return self.params.get("task.type", "classification")

    @property
    def writes(self) -> bool:
        """Text, which may be irregular; a head or a classical model decides among the labels alone."""
        is_causal = self.params.get("model.architecture", "causal_lm") == "causal_lm"
        return is_causal and self.params.get("task.head") != "true"

    @property
    def train_size(self) -> int | str:
        size = self.params.get("task.train_size", "full")
        return int(size) if size.isdecimal() else size

    @property
    def seed(self) -> int:
        return int(self.params.get("seed", 0))

    @property
    def problem(self) -> str:
        """Why it isn't complete, in a few words."""
        if self.state == UNFINISHED:
            return "running" if self.tags.get("mlflow.status") == "RUNNING" else "unfinished"
        reason = self.tags.get(REASON, "")
        return f"{self.state.lower()}: {reason}" if reason and reason != self.state.lower() else self.state.lower()

    @property
    def shared_with(self) -> str:
        return self.tags.get(SHARED_WITH, "")

    @cached_property
    def cell(self) -> dict[str, Any]:
        cell: dict[str, Any] = json.loads(self.tags.get(CELL) or "{}")
        return cell

    @cached_property
    def hyperparameters(self) -> dict[str, str]:
        return {key: value for key, value in self.params.items()
                if key not in NOT_HYPERPARAMETERS and key.partition(".")[0] not in OF_THE_TABLE}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What an experiment wants its table to show: `report` and `scale` of its config."""

    columns: tuple[str, ...] = ()
    published: tuple[Mapping[str, Any], ...] = ()  # per row: `when`, then metrics; `source`
    scale: str = FULL

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Report:
        columns, published = (tuple(json.loads(_whole(tags, key) or "[]")) for key in (COLUMNS, PUBLISHED))
        return cls(columns, published, tags.get(SCALE, FULL))


@dataclass(frozen=True)
class Sweep:
    sweep_id: str
    name: str
    state: str
    cells: list[dict[str, Any]]
    replicates: int
    objectives: tuple[str, ...] = (DEFAULT_OBJECTIVE,)
    objective_std: float = 0.0  # standard deviations that count against a mean
    confirm_seeds: int = 0  # fresh seeds that the best point was to be repeated on
    tune_per_cell: bool = False  # every cell is a search of its own
    report: Report = field(default_factory=Report)

    @property
    def experiment(self) -> str:
        """The file of conf/experiment that it is of. Empty for any other sweep, whose name has several words."""
        return "" if " " in self.name else self.name


class Store:
    def __init__(self, tracking_uri: str) -> None:
        """Raises NothingToShow for a database that isn't there, since MLflow would make an empty one; BadArgument for
        an address that MLflow refuses, a file that is no database or a server that doesn't answer."""
        if tracking_uri.startswith(SQLITE) and not Path(tracking_uri.removeprefix(SQLITE)).is_file():
            raise NothingToShow(f"no results at {tracking_uri}: `python -m sweeper task=sst2 peft=qlora -m` makes some")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import, which reads it
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._client: MlflowClient = MlflowClient(tracking_uri=tracking_uri)
            self._client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError) as error:
            raise BadArgument(f"tracking_uri={tracking_uri}: {str(error).splitlines()[0]}") from error

    def experiment(self, task: str | None) -> tuple[str, str]:
        """Name and id of MLflow's, the task's; of the only one where none is named."""
        found = self._tasks()
        if not found:
            raise NothingToShow("no results yet: `python -m sweeper task=sst2 peft=qlora -m` makes some")
        if task is None and len(found) > 1:
            of_one = f", or experiment={' | '.join(names)}" if (names := self.experiments()) else ""
            raise BadArgument(f"task: which one? task={' | '.join(sorted(found))}{of_one}")
        name = task if task is not None else next(iter(found))
        if name not in found:
            fix = nearest(name, found) or f"there is {', '.join(sorted(found))}"
            raise NothingToShow(f"task={name}: no results; {fix}; `python -m sweeper task={name} -m` makes some")
        return name, found[name]

    def experiments(self) -> list[str]:
        """Those of conf/experiment that a sweep is of, by name."""
        return sorted({sweep.experiment for sweep in self.sweeps()} - {""})

    def sweeps(self, experiment: str | None = None) -> list[Sweep]:
        """The latest first; of all tasks where none is named."""
        where = list(self._tasks().values()) if experiment is None else [experiment]
        return [_sweep(run) for run in self._search(where, f"tags.`{KIND}` = 'sweep'")]

    def runs(self, experiment: str, *, sweep_id: str | None = None, run_id: str | None = None) -> list[Run]:
        """In the order in which they were started; of a sweep with the cell and trial that they are in it, each
        replicate of a trial once (`latest`)."""
        condition = f"tags.`{KIND}` = 'run'"
        if sweep_id is not None:
            condition += f" and tags.`{SWEEP_MEMBER}{sweep_id}` LIKE '%'"  # has the tag
        if run_id is not None:
            condition += f" and tags.`{RUN_ID}` = '{run_id}'"
        runs = [_run(run, sweep_id) for run in self._search([experiment], condition)][::-1]
        return runs if sweep_id is None else latest(runs)

    def experiment_of(self, *, sweep_id: str | None = None, run_id: str | None = None) -> str:
        """The name of the experiment that holds the sweep or the run."""
        key, value = (SWEEP_ID, sweep_id) if sweep_id is not None else (RUN_ID, run_id)
        for experiment in self._client.search_experiments():
            if self._client.search_runs([experiment.experiment_id], f"tags.`{key}` = '{value}'", max_results=1):
                name: str = experiment.name
                return name
        raise NothingToShow(f"{value}: not in MLflow")

    def irregular(self, run: Run) -> dict[str, int]:
        """Text -> count: from the tag where it fitted into one, else from the artifact."""
        text = run.tags.get(IRREGULAR)
        if text is None:
            names = {file.path for file in self._client.list_artifacts(run.mlflow_id)}
            if "irregular.json" not in names:
                return {}
            text = Path(self._client.download_artifacts(run.mlflow_id, "irregular.json")).read_text(encoding="utf-8")
        counts: dict[str, int] = json.loads(text)
        return counts

    def history(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """Step and value of every point, by step; of a step that was logged twice, the later."""
        points = self._client.get_metric_history(run.mlflow_id, metric)
        return sorted({point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}.items())

    def _tasks(self) -> dict[str, str]:
        """Name -> id of MLflow's experiments."""
        return {e.name: e.experiment_id for e in self._client.search_experiments() if e.name != "Default"}

    def _search(self, experiments: list[str], condition: str) -> Iterator[MlflowRun]:
        token = None
        while True:
            page = self._client.search_runs(
                experiments, condition, max_results=1000, order_by=["attributes.start_time DESC"], page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


def nearest(wrong: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(names), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def latest(runs: Sequence[Run]) -> list[Run]:
    """Each replicate of each trial once, and each seed of each point.

    A sweep that went on with changed code, data or config has another run for a replicate that was interrupted, and
    for one that failed and was retried. The latest with an end counts, else the latest.
    """
    ranked = sorted(runs, key=lambda run: (run.state in (COMPLETE, PRUNED, FAILED), run.started_ms))
    by_trial = {(*_member(run), run.tags.get(TRIAL, run.run_id)): run for run in ranked}
    by_point = {(*_member(run), *sorted(run.hyperparameters.items())): run for run in by_trial.values()}
    kept = {run.run_id for run in by_point.values()}
    return [run for run in runs if run.run_id in kept]


def _member(run: Run) -> tuple[Any, ...]:
    return json.dumps(run.cell, sort_keys=True), run.seed, run.confirms is not None


def _run(run: MlflowRun, sweep_id: str | None) -> Run:
    tags = {**run.data.tags, "mlflow.status": run.info.status, CELL: _whole(run.data.tags, CELL)}
    places = _places(tags)
    place = places.get(f"{SWEEP_MEMBER}{sweep_id}")
    if place is not None:
        tags |= {CELL: json.dumps(place["cell"]), TRIAL: str(place["trial"])}
    confirmed = [other.get("confirms") for other in (places.values() if place is None else [place])]
    confirms = confirmed[0] if confirmed and None not in confirmed else None  # no: some search did choose by it
    state = tags.get(STATE, UNFINISHED)
    return Run(
        tags[RUN_ID], run.info.run_id, state, run.info.start_time, run.data.params, run.data.metrics, tags, confirms
    )


def _places(tags: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """By their tags; older databases have `true` for one."""
    names = [key for key in tags if key.startswith(SWEEP_MEMBER) and "." not in key.removeprefix(SWEEP_MEMBER)]
    places = {key: json.loads(_whole(tags, key)) for key in names}
    return {key: place for key, place in places.items() if isinstance(place, dict)}


def _whole(tags: Mapping[str, str], key: str) -> str:
    """What is too long for one tag goes on in `<key>.1`, `<key>.2`, ..."""
    keys = [key, *(f"{key}.{number}" for number in range(1, len(tags)))]
    return "".join(tags.get(name, "") for name in keys)


def _sweep(run: MlflowRun) -> Sweep:
    tags = run.data.tags
    cells = _whole(tags, CELLS)
    return Sweep(
        tags[SWEEP_ID], run.info.run_name or "", tags.get(STATE, UNFINISHED), json.loads(cells or "[]"),
        int(tags.get(REPLICATES, 1)), tuple(tags.get(OBJECTIVE, DEFAULT_OBJECTIVE).split(",")),
        float(tags.get(OBJECTIVE_STD, 0)), int(tags.get(CONFIRM_SEEDS, 0)), tags.get(TUNE_PER_CELL) == "true",
        Report.of(tags),
    )  # fmt: skip
