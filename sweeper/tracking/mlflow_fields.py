"""What a run looks like in MLflow: its parameters, tags, metric points and data inputs.

Pure translation from a run folder's identity and events; `mlflow_view` sends the result.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeper.config import FULL, Source, flatten
from sweeper.tracking.run_folder import RunIdentity

# Tags of our own. `analysis` reads them by these names (tests/unit/analysis checks that they agree).
KIND, RUN_ID, SWEEP_ID = "sweeper.kind", "sweeper.run_id", "sweeper.sweep_id"
STATE, REASON, DETAIL = "sweeper.state", "sweeper.reason", "sweeper.detail"
MODEL_COMMIT = "sweeper.model_commit"  # of the hub
CELL, PARAMS, REPLICATE = "sweeper.cell", "sweeper.params", "sweeper.replicate"
SWEEP_MEMBER = "sweeper.sweep."  # + id of a sweep that the run belongs to: JSON of its cell and trial there
DATA_SOURCE, DATA_DIGEST, DEMO = "sweeper.data.source", "sweeper.data.digest", "sweeper.data.demo"
MARK = "sweeper.mark"  # of a sweep: JSON of the process that runs it
IRREGULAR = "sweeper.irregular"
TABLES = "mlflow.loggedArtifacts"  # MLflow's own: which JSON artifacts are tables
INFINITE = "sweeper.infinite."  # + metric name: MLflow has no infinity, the point is NaN there
REPORT = "sweeper.report."  # what the table of a sweep, or of a run by itself, shall show
RUN, SWEEP = "run", "sweep"  # the values of KIND
_OF_THE_TABLE = ("report", "scale", "scales")  # keys of the config that are no parameter of a run

MLFLOW_STATUS = {
    "UNFINISHED": "RUNNING", "COMPLETE": "FINISHED", "FAILED": "FAILED", "KILLED": "KILLED",
    "PRUNED": "KILLED",  # not FINISHED: its last numbers are no result; sweeper.state has it exactly
}  # fmt: skip


@dataclass
class Batch:
    """Events translated, in their order: what one `log_batch` call takes."""

    points: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, ms since 1970, step
    tags: dict[str, str] = field(default_factory=dict)
    started: dict[str, Any] | None = None  # the last event of its kind, unless a finish came after it
    finished: dict[str, Any] | None = None  # the last event of its kind, unless a start came after it


def translate(events: Iterable[Mapping[str, Any]]) -> Batch:
    """Sent again, the same events make the same points: MLflow keeps one of equal points."""
    batch = Batch()
    for event in events:
        match event["event"]:
            case "metrics":
                _add_points(batch, event)
            case "joined":
                batch.tags[f"{SWEEP_MEMBER}{event['sweep_id']}"] = json.dumps(event["place"])
            case "tags":
                batch.tags |= {str(key): str(value) for key, value in event["values"].items()}
            case "started":
                batch.started, batch.finished = dict(event), None
                batch.tags |= {STATE: "UNFINISHED", REASON: "", DETAIL: ""}
                if commit := event.get("model_commit"):
                    batch.tags[MODEL_COMMIT] = commit
            case "finished":
                batch.started, batch.finished = None, dict(event)
                batch.tags |= {STATE: event["state"], REASON: event["reason"] or "", DETAIL: event["detail"] or ""}
    return batch


def _add_points(batch: Batch, event: Mapping[str, Any]) -> None:
    milliseconds = int(event["time"] * 1000)
    for name, value in event["values"].items():
        if math.isinf(value):  # MLflow would store 1.8e308, which no chart survives
            batch.tags[f"{INFINITE}{name}"] = f"{'+' if value > 0 else '-'}inf at step {event['step']}"
        batch.points.append((name, math.nan if math.isinf(value) else value, milliseconds, event["step"]))


def params(config: Mapping[str, Any], *, max_length: int) -> dict[str, str]:
    """The flat config under its dotted keys, spelled as on the command line (`null`, `true`, `0.001`)."""
    of_the_run = {key: value for key, value in config.items() if key not in _OF_THE_TABLE}
    return {key: _fit(_spell(value), max_length, "config.yaml") for key, value in flatten(of_the_run).items()}


def report_tags(config: Mapping[str, Any]) -> dict[str, str]:
    """Of `report` and `scale`, without the prefix `sweeper.`."""
    report = config.get("report", {})
    wanted = {f"report.{key}": json.dumps(report.get(key, []), ensure_ascii=False) for key in ("columns", "published")}
    return {**wanted, "scale": config.get("scale", FULL)}


def run_tags(identity: RunIdentity, *, max_length: int) -> dict[str, str]:
    """The tags that are fixed when a run is created."""
    data, code = identity.data, identity.code
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "sweeper",
        "mlflow.source.git.commit": code.get("commit"),
        KIND: RUN,
        RUN_ID: identity.run_id,
        SWEEP_ID: identity.sweep_id,
        STATE: "UNFINISHED",
        CELL: json.dumps(identity.cell),
        PARAMS: json.dumps(identity.params),
        REPLICATE: str(identity.replicate),
        DATA_SOURCE: data.get("source"),
        DATA_DIGEST: data.get("digest"),
        DEMO: "true" if is_demo(identity) else "false",
        "sweeper.study": identity.study,
        "sweeper.trial": None if identity.trial is None else str(identity.trial),
        "sweeper.created": identity.created or None,
        "sweeper.code_version": code.get("version"),
        "sweeper.git.dirty": _spell(code["dirty"]) if code.get("dirty") is not None else None,
        "sweeper.versions": json.dumps(code.get("versions", {})),
        **(_own_report(identity) if identity.sweep_id is None else {}),
        **{f"{SWEEP_MEMBER}{sweep_id}": json.dumps(place) for sweep_id, place in identity.places.items()},
    }
    if is_demo(identity):
        tags["mlflow.note.content"] = f"**DEMO DATA**, not the data set that the task is named after: {data['source']}"
    return fit_tags({key: value for key, value in tags.items() if value is not None}, max_length=max_length)


def _own_report(identity: RunIdentity) -> dict[str, str]:
    return {f"sweeper.{key}": value for key, value in report_tags(identity.config).items() if value not in ("[]", FULL)}


def fit_tags(tags: Mapping[str, str], *, max_length: int) -> dict[str, str]:
    """What tables are made of stays whole; of the rest, a longer text is in the run's folder."""
    whole = {key: value for key, value in tags.items() if key == CELL or key.startswith((SWEEP_MEMBER, REPORT))}
    fitted = {key: _fit(value, max_length, "the run's folder") for key, value in tags.items() if key not in whole}
    return fitted | spread_tags(whole, max_length=max_length)


def spread_tags(tags: Mapping[str, str], *, max_length: int) -> dict[str, str]:
    """A longer value goes on in `<key>.1`, `<key>.2`, ...: for what a reader must have whole."""
    spread: dict[str, str] = {}
    for key, value in tags.items():
        pieces = [value[start : start + max_length] for start in range(0, len(value), max_length)] or [""]
        spread |= {f"{key}.{number}" if number else key: piece for number, piece in enumerate(pieces)}
    return spread


def blanks(known: Iterable[str], tags: Mapping[str, str]) -> dict[str, str]:
    """Empties what is left over where a value that was spread before is now shorter."""
    parts = {name: name.rpartition(".") for name in known if name not in tags}
    return {name: "" for name, (key, _, number) in parts.items() if key in tags and number.isdecimal()}


def is_demo(identity: RunIdentity) -> bool:
    """The coordinator settles `task.data.source` before a run is written."""
    source: str | None = identity.config.get("task", {}).get("data", {}).get("source")
    return source == Source.DEMO.value


def dataset_fields(identity: RunIdentity, split: str, *, digest_length: int) -> dict[str, str]:
    """Of one split, for MLflow's Dataset entity: name and digest together identify it."""
    source = json.dumps({"source": identity.data["source"], "sha256": identity.data["digest"], "split": split})
    digest = identity.data["digest"].removeprefix("sha256:")[:digest_length]
    name = f"{identity.config['task']['name']}/{split}"
    return {"name": name, "digest": digest, "source_type": "sweeper", "source": source}


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _fit(value: str, max_length: int, whole_in: str) -> str:
    """MLflow would cut a longer value in silence, or refuse it."""
    if len(value) <= max_length:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()} ({len(value)} characters, whole in {whole_in})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def limits() -> dict[str, int]:
    """MLflow's own, of the version at hand."""
    from mlflow.utils import validation

    return {
        "param": validation.MAX_PARAM_VAL_LENGTH,
        "tag": validation.MAX_TAG_VAL_LENGTH,
        "digest": validation.MAX_DATASET_DIGEST_SIZE,
    }
