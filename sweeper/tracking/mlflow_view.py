"""MLflow's view of the run folders: published in batches, never the only copy of anything.

Owns what is sent and when, and how far each folder has been sent (published.json, written after MLflow has
taken a batch). A batch sent twice changes nothing, so a kill between the two loses and doubles nothing.
One process publishes; every call names its run (no active run, no fluent API).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.atomic_json import read_json
from sweeper.tracking import mlflow_fields as fields
from sweeper.tracking import serving_model
from sweeper.tracking.experiments import Experiments
from sweeper.tracking.link_tree import link_tree
from sweeper.tracking.mlflow_database import SQLITE, default_uri, open_client
from sweeper.tracking.process_mark import ProcessMark
from sweeper.tracking.published import Published, exclusive
from sweeper.tracking.reconcile import close_if_gone, unsent
from sweeper.tracking.redaction import Redactor
from sweeper.tracking.run_folder import RunFolder, RunIdentity, RunState

if TYPE_CHECKING:
    from mlflow.entities import Run

_log = logging.getLogger(__name__)

Inputs = Callable[[Mapping[str, Any]], Sequence[str]]

SPLITS = ("train", "selection", "test")
# A server outage or a locked database: the run folder keeps the events, the next call sends them.
_TRANSIENT = frozenset({"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"})


class MlflowView:
    def __init__(self, tracking_uri: str | None, output_dir: Path | str, inputs: Inputs | None = None) -> None:
        """Imports MLflow and opens the store, making it where there is none. Raises ConfigError.

        `inputs`: of a run's config, the columns that its task reads; without it no run gets a model to serve.
        """
        self._inputs = inputs
        self.output_dir = Path(output_dir)
        self.tracking_uri = tracking_uri or default_uri(self.output_dir)
        self._opened_s = time.time()
        artifact_root = self.output_dir.resolve() / "artifacts"
        self._client = open_client(self.tracking_uri, artifact_root)
        self._redactor = Redactor.from_environment()
        self._experiments = Experiments(self._client, artifact_root if self.tracking_uri.startswith(SQLITE) else None)
        self._sweeps: dict[str, str] = {}  # parent run id -> sweep id
        self._attempted: set[str] = set()  # run ids that this process has begun to create: whether it did is not known
        self._warned: set[str] = set()

    def ensure_experiment(self, task: str) -> str:
        """The experiment's id; raises ConfigError where a person deleted it."""
        return self._experiments.ensure(task)[0]

    def start_sweep(
        self, sweep_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any], task: str | None = None
    ) -> str:
        """The parent run's id, found again when the sweep is resumed.

        It lies in the experiment of `task`, or of the task ensured first. Tags get the prefix `sweeper.`;
        tables read `cells` (JSON list of all design cells), `replicates`, `objective` and the report from them.
        """
        from mlflow.entities import Param, RunTag

        experiment = self.ensure_experiment(task or self._experiments.first)
        own = {f"sweeper.{key}": value for key, value in self._redactor.json(tags).items()}
        own |= {fields.STATE: "UNFINISHED", fields.REASON: "", fields.DETAIL: ""}
        own[fields.MARK] = json.dumps(ProcessMark.own().to_dict())
        own = fields.spread_tags(own, max_length=fields.limits()["tag"])
        found = self._find(experiment, fields.SWEEP_ID, sweep_id, kind=fields.SWEEP)
        if found is None:
            fixed = {fields.KIND: fields.SWEEP, fields.SWEEP_ID: sweep_id, "mlflow.source.name": "sweeper"}
            parent: str = self._client.create_run(experiment, tags=fixed | own, run_name=name).info.run_id
        else:
            parent = found.info.run_id
            own |= fields.blanks(found.data.tags, own)
            self._client.update_run(parent, status="RUNNING")
        flat = fields.params(self._redactor.json(dict(params)), max_length=fields.limits()["param"])
        known = found.data.params if found else {}  # a raised n_trials must not clash with the first start's
        self._client.log_batch(
            parent,
            params=[Param(key, value) for key, value in flat.items() if key not in known],
            tags=[RunTag(key, value) for key, value in own.items()],
        )
        self._sweeps[parent] = sweep_id
        return parent

    def finish_sweep(self, state: str, parent_run_id: str | None = None) -> None:
        """`state` as of a run; the parent defaults to the sweep started last."""
        parent = parent_run_id or next(reversed(self._sweeps))
        if self._deleted(parent):
            return  # a person deleted it meanwhile: the next start of the sweep makes another
        self._client.set_tag(parent, fields.STATE, RunState(state).value)
        self._client.set_terminated(parent, fields.MLFLOW_STATUS[state])

    def admit(self, folder: RunFolder, parent_run_id: str, place: Mapping[str, Any]) -> None:
        """Notes in the folder that the run belongs to the parent's sweep, so that it is sent whatever happens."""
        folder.join(self._sweep_id(parent_run_id), place)

    def publish(self, folder: RunFolder, parent_run_id: str | None = None) -> bool:
        """Sends what MLflow hasn't yet; False where it could not be reached (the next call sends it).

        Raises MlflowException for what would fail again, ConfigError for a deleted experiment.
        """
        from mlflow.exceptions import MlflowException

        try:
            with exclusive(folder):
                self._publish(folder, parent_run_id)
            return True
        except MlflowException as error:
            if error.error_code in _TRANSIENT:
                self._warn("MLflow can't be reached, the run folders keep what it misses", str(error).splitlines()[0])
                return False
            _, store = self._experiments.ensure(folder.identity.config["task"]["name"])
            if not self._deleted(Published.of(folder, store).mlflow_run_id):
                raise
            self._warn(
                "a person deleted this run in MLflow, which stays without it; its folder is whole", folder.run_id
            )
            return True

    def _warn(self, text: str, detail: str) -> None:
        """Once."""
        if detail not in self._warned:
            self._warned.add(detail)
            _log.warning("%s: %s", text, detail)

    def _deleted(self, mlflow_run_id: str | None) -> bool:
        """Whether a person deleted the run in MLflow, for good or to its bin."""
        from mlflow.exceptions import MlflowException

        try:
            return mlflow_run_id is not None and self._client.get_run(mlflow_run_id).info.lifecycle_stage == "deleted"
        except MlflowException as error:
            return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")

    def _publish(self, folder: RunFolder, parent_run_id: str | None) -> None:
        experiment, store = self._experiments.ensure(folder.identity.config["task"]["name"])
        published = Published.of(folder, store)
        events, end = folder.read(published.offset)
        first = published.mlflow_run_id is None
        if first:
            started_s = next((event["time"] for event in events if event["event"] in ("started", "finished")), None)
            if started_s is None:
                return  # nothing has happened to the run yet
            self._create(folder, published, experiment, int(started_s * 1000))
        batch = fields.translate(events)
        if parent_run_id is not None and published.parent is None:  # the pages nest a run below one parent only
            batch.tags["mlflow.parentRunId"] = published.parent = parent_run_id
        batch.tags = self._redactor.json(batch.tags)
        if not (first or batch.points or batch.tags):
            return  # only progress, which MLflow doesn't take: read again with the next batch
        self._send(folder, published, batch, first=first)
        published.offset = end
        published.save(folder)

    def _create(self, folder: RunFolder, published: Published, experiment: str, start_ms: int) -> None:
        """A run that was created before a kill, a signal or a lost reply, without a word in published.json, is found
        by its tag."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        identity = RunIdentity(**self._redactor.json(dataclasses.asdict(folder.identity)))
        run = None
        is_older = datetime.datetime.fromisoformat(identity.created).timestamp() < int(self._opened_s)
        if is_older or identity.run_id in self._attempted:  # else it can't be there
            run = self._find(experiment, fields.RUN_ID, identity.run_id, kind=fields.RUN)
        self._attempted.add(identity.run_id)
        if run is None:
            tags = fields.run_tags(identity, max_length=fields.limits()["tag"])
            run = self._client.create_run(experiment, start_time=start_ms, tags=tags, run_name=identity.run_id)
        digest_length = fields.limits()["digest"]
        inputs = [
            DatasetInput(
                Dataset(**fields.dataset_fields(identity, split, digest_length=digest_length)),
                [InputTag("mlflow.data.context", split)],
            )
            for split in SPLITS
        ]
        self._client.log_inputs(run.info.run_id, inputs)
        published.mlflow_run_id, published.artifact_uri = run.info.run_id, run.info.artifact_uri

    def _send(self, folder: RunFolder, published: Published, batch: fields.Batch, *, first: bool) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id = published.mlflow_run_id
        assert run_id is not None
        if batch.finished:
            batch.tags |= self._closing_tags(folder)
        params = fields.params(self._redactor.json(folder.identity.config), max_length=fields.limits()["param"])
        self._client.log_batch(
            run_id,
            metrics=[Metric(*point) for point in batch.points],
            params=[Param(key, value) for key, value in params.items()] if first else [],
            tags=[RunTag(*tag) for tag in fields.fit_tags(batch.tags, max_length=fields.limits()["tag"]).items()],
        )
        if batch.started and not first:  # resumed after it had been closed as killed or failed
            self._client.update_run(run_id, status="RUNNING")
        if batch.finished:
            self._close(folder, published, batch.finished)

    def _close(self, folder: RunFolder, published: Published, finished: Mapping[str, Any]) -> None:
        run_id = published.mlflow_run_id
        assert run_id is not None
        if published.artifact_uri.startswith("/"):
            link_tree(folder.artifacts, Path(published.artifact_uri))
        else:
            self._client.log_artifacts(run_id, str(folder.artifacts))
        if finished["traceback"]:
            self._client.log_text(run_id, self._redactor.text(finished["traceback"]), "traceback.txt")
        if self._inputs is not None and finished["state"] == RunState.COMPLETE:
            self._log_serving(folder, published, self._inputs(folder.identity.config))
        status = fields.MLFLOW_STATUS[finished["state"]]
        self._client.set_terminated(run_id, status, end_time=int(finished["time"] * 1000))

    def _log_serving(self, folder: RunFolder, published: Published, inputs: Sequence[str]) -> None:
        assert published.mlflow_run_id is not None
        for name, content in serving_model.files(folder, published.mlflow_run_id, inputs).items():
            if published.artifact_uri.startswith("/"):
                path = Path(published.artifact_uri) / serving_model.FOLDER / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(content, encoding="utf-8")
            else:
                self._client.log_text(published.mlflow_run_id, content, f"{serving_model.FOLDER}/{name}")

    def _closing_tags(self, folder: RunFolder) -> dict[str, str]:
        """The irregular texts, where they fit (a table then needs no artifact), and the tables for MLflow's pages."""
        path = folder.artifacts / "irregular.json"
        text = json.dumps(read_json(path), ensure_ascii=False) if path.exists() else ""
        tags = {fields.IRREGULAR: text} if text and len(text) <= fields.limits()["tag"] else {}
        tables = [{"path": path.name, "type": "table"} for path in sorted(folder.artifacts.glob("sample_*.json"))]
        return tags | ({fields.TABLES: json.dumps(tables)} if tables else {})

    def reconcile(self, task: str) -> None:
        """Brings MLflow up to what is on disk after a process died: sends what it misses, and closes what it
        shows as running though nothing runs."""
        experiment, store = self._experiments.ensure(task)
        for folder in unsent(self.output_dir, task, store):
            self.publish(folder, self._parent_of(experiment, folder.identity))
        for run in list(self._search(experiment, "attributes.status = 'RUNNING'")):  # pages shift when one is closed
            lost = close_if_gone(self._client, run, self.output_dir)
            if lost is not None:
                self.publish(lost)

    def _parent_of(self, experiment: str, identity: RunIdentity) -> str | None:
        if identity.sweep_id is None:
            return None
        parent = self._find(experiment, fields.SWEEP_ID, identity.sweep_id, kind=fields.SWEEP)
        return parent.info.run_id if parent else None

    def _sweep_id(self, parent_run_id: str) -> str:
        if parent_run_id not in self._sweeps:
            self._sweeps[parent_run_id] = self._client.get_run(parent_run_id).data.tags[fields.SWEEP_ID]
        return self._sweeps[parent_run_id]

    def _find(self, experiment: str, tag: str, value: str, *, kind: str) -> Run | None:
        found = self._search(experiment, f"tags.`{tag}` = '{value}' and tags.`{fields.KIND}` = '{kind}'")
        return next(found, None)

    def _search(self, experiment: str, filter_string: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs([experiment], filter_string, page_token=token)
            yield from page
            token = page.token
            if not token:
                return
