"""A run's folder: the truth on disk, from which MLflow's view and every table can be made again.

    <output_dir>/runs/<run_id>/
        run.json         identity, written once
        events.jsonl     what happened, append-only
        artifacts/       what the run leaves: adapter, predictions, pictures, config
        checkpoints/     training's own, to resume from
        published.json   how much of this MLflow has (tracking/mlflow_view.py)

Owns names, states and the meaning of events; `event_log` owns the bytes. Everything written is redacted.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sweeper.atomic_json import sync, write_json
from sweeper.config import RunConfig, run_config
from sweeper.metrics import all_metrics
from sweeper.tracking.damage import read_object
from sweeper.tracking.event_log import EventLog, decode_float, encode_float
from sweeper.tracking.process_mark import ProcessMark
from sweeper.tracking.provenance import code_version
from sweeper.tracking.redaction import Redactor

RUNS = "runs"  # below output_dir
_DURABLE = frozenset({"finished"})  # an end must survive a power cut; what led there would be made again
# The C library's, where PyYAML was built with it, is three times as fast: a sweep writes thousands of configs.
_YamlDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class RunState(StrEnum):
    UNFINISHED = "UNFINISHED"  # queued, running, or its process died without a word
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    KILLED = "KILLED"  # stopped from outside (Ctrl-C); can be resumed


class Reason(StrEnum):
    OUT_OF_MEMORY = "out of memory"
    DIVERGED = "diverged"
    ERROR = "error"
    KILLED = "killed"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class RunIdentity:
    """What a run is, fixed before it starts: the content of run.json."""

    run_id: str
    config: dict[str, Any]  # nested, RunConfig.to_dict()
    data: dict[str, str]  # {"source": files | hub | demo with its description, "digest": sha256 of the content}
    sweep_id: str | None = None
    study: str | None = None
    trial: int | None = None
    params: dict[str, Any] = field(default_factory=dict)  # search axes -> value
    cell: dict[str, Any] = field(default_factory=dict)  # design axes -> value
    replicate: int = 0
    code: dict[str, Any] = field(default_factory=dict)  # provenance.code_state()
    created: str = ""  # ISO 8601, UTC

    @property
    def places(self) -> dict[str, Any]:
        """Sweep id -> the run's place in the sweep that it was made for; empty for a run by itself."""
        return {} if self.sweep_id is None else {self.sweep_id: {"cell": self.cell, "trial": self.trial or 0}}

    @classmethod
    def of(cls, config: RunConfig, data: dict[str, str], **origin: Any) -> RunIdentity:
        """`origin`: any of sweep_id, study, trial, params, cell, replicate, code; the version of the code at hand is
        taken where `code` names none."""
        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        code = {"version": code_version(), **origin.pop("code", {})}
        run_id = make_run_id(config, data["digest"], code["version"])
        return cls(run_id=run_id, config=config.to_dict(), data=data, created=created, code=code, **origin)


def make_run_id(config: RunConfig, data_digest: str, code_version: str) -> str:
    """Readable and deterministic: the same config on the same data by the same code has the same folder."""
    content = hashlib.sha256(f"{config.content_hash()}{data_digest}{code_version}".encode()).hexdigest()[:10]
    method = config.peft.get("name", "none")
    words = (config.task.name, config.model.name, method, config.task.train_size, f"s{config.seed}", content)
    return "-".join(re.sub(r"[^a-z0-9.]+", "-", str(word).lower()).strip("-.")[:40] for word in words)


class RunFolder:
    def __init__(self, path: Path) -> None:
        """Use `create` or `open`."""
        self.path = path
        self._log = EventLog(path / "events.jsonl")
        self._redactor = Redactor.from_environment()
        self._identity: RunIdentity | None = None

    @classmethod
    def create(cls, root: Path, identity: RunIdentity) -> RunFolder:
        """`root` is output_dir. A folder that is already there keeps its identity and its events."""
        folder = cls(Path(root) / RUNS / identity.run_id)
        if not folder._identity_path.exists():
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.artifacts.mkdir(exist_ok=True)
            folder.checkpoints.mkdir(exist_ok=True)
            content = folder._redactor.json(dataclasses.asdict(identity))
            config = yaml.dump(content["config"], Dumper=_YamlDumper, sort_keys=False, allow_unicode=True)
            (folder.artifacts / "config.yaml").write_text(config, encoding="utf-8")
            write_json(folder._identity_path, content)  # last: a folder that has it is whole
            sync(folder.path.parent)
        return folder

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Raises FileNotFoundError where there is no run."""
        folder = cls(Path(path))
        if not folder._identity_path.exists():
            raise FileNotFoundError(f"{folder._identity_path}: not a run folder")
        return folder

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def identity(self) -> RunIdentity:
        """Raises DamagedFile."""
        if self._identity is None:
            fix = f"move {self.path} away; the same command then trains the run again"
            self._identity = RunIdentity(**read_object(self._identity_path, fix))
        return self._identity

    @property
    def _identity_path(self) -> Path:
        return self.path / "run.json"

    def append(self, event: str, **fields: Any) -> None:
        """Raises OSError when the disk is full: the events so far stay whole."""
        line = {"time": round(time.time(), 3), "event": event} | fields
        self._log.append(self._redactor.json(line), durable=event in _DURABLE)

    def started(
        self, slot: int, resumed_from_step: int | None = None, memory_share: float = 1.0, commit: str | None = None
    ) -> None:
        """`commit`: of the hub, at which the base model was loaded."""
        mark = ProcessMark.own().to_dict()
        rest: dict[str, Any] = {} if memory_share == 1 else {"memory_share": memory_share}
        rest |= {} if commit is None else {"model_commit": commit}
        self.append("started", slot=slot, pid=os.getpid(), mark=mark, resumed_from_step=resumed_from_step, **rest)

    def model_commit(self) -> str | None:
        """The commit of the hub that its base model was loaded at last; None of a local one."""
        events, _ = self.read()
        commits = [event["model_commit"] for event in events if "model_commit" in event]
        return commits[-1] if commits else None

    def settled_config(self) -> RunConfig:
        """Its config, with that commit as `model.revision`: what a branch or a tag names may have moved since."""
        config = run_config(self.identity.config)
        config.model.revision = self.model_commit() or config.model.revision
        return config

    def join(self, sweep_id: str, place: Mapping[str, Any]) -> None:
        """Notes the run's place in a sweep (`cell`, `trial` and, of a confirmation, `confirms`), where it is new.

        A run belongs to every sweep that asked for it, whether or not it was trained for that one.
        """
        if self.places().get(sweep_id) != place:
            self.append("joined", sweep_id=sweep_id, place=dict(place))

    def places(self) -> dict[str, Any]:
        """Sweep id -> the run's place there."""
        events, _ = self.read()
        joined = {event["sweep_id"]: event["place"] for event in events if event["event"] == "joined"}
        return self.identity.places | joined

    def progress(self, step: int, num_steps: int, epoch: float, phase: str) -> None:
        """`phase`: loading | training | evaluating | saving. The caller throttles."""
        self.append("progress", step=step, num_steps=num_steps, epoch=round(epoch, 4), phase=phase)

    def metrics(self, step: int, values: Mapping[str, float], *, at: float | None = None) -> None:
        """NaN and infinities are kept. Names outside `sweeper.metrics` are an error of the program.

        `at`: when it was measured, in seconds since the epoch; now where None.
        """
        unknown = values.keys() - _metric_names()
        assert not unknown, f"not in sweeper/metrics.py: {sorted(unknown)}"
        time_of_it = {} if at is None else {"time": at}
        encoded = {name: encode_float(float(value)) for name, value in values.items()}
        self.append("metrics", step=step, values=encoded, **time_of_it)

    def tags(self, values: Mapping[str, str]) -> None:
        self.append("tags", values=dict(values))

    def finish(
        self, state: str, reason: str | None = None, detail: str | None = None, traceback: str | None = None
    ) -> None:
        """`detail` is one line for tables; the traceback is for the person who looks closer."""
        final = RunState(state)
        assert final is not RunState.UNFINISHED
        cause = Reason(reason).value if reason is not None else None
        one_line = " ".join(detail.split()) if detail else None
        self.append("finished", state=final.value, reason=cause, detail=one_line, traceback=traceback)

    def read(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Complete events from byte `offset` on, and the offset to read from next time.

        An offset past a file that lost its end begins again at 0. Raises CorruptEventsError.
        """
        events, end = self._log.read(self._log.line_start(offset))
        for event in events:
            if event["event"] == "metrics":
                event["values"] = {name: decode_float(value) for name, value in event["values"].items()}
        return events, end

    def state(self) -> RunState:
        last = self.last("started", "finished")
        return RunState(last["state"]) if last and last["event"] == "finished" else RunState.UNFINISHED

    def last(self, *kinds: str) -> dict[str, Any] | None:
        """The latest event of these kinds."""
        events, _ = self.read()
        return next((event for event in reversed(events) if event["event"] in kinds), None)

    def summary(self) -> dict[str, float]:
        """The last value of every metric."""
        events, _ = self.read()
        return {
            name: value for event in events if event["event"] == "metrics" for name, value in event["values"].items()
        }


@cache
def _metric_names() -> frozenset[str]:
    return frozenset(all_metrics())
