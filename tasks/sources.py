"""Where a task's rows come from: files under the data folder, the Hugging Face hub, or the embedded demo data.

Owns the choice and its order. A model other than the embedded one never sees demo data. `resolve` and
`count_rows` import no data library, so that missing data is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.checks import ConfigError, suggestion
from sweeper.config import Source, TaskConfig
from tasks import files, hub, template
from tasks.demo_reviews import DEMO_LABELS, DEMO_SIZES

if TYPE_CHECKING:
    import pandas as pd

    from tasks.splits import Splits

SPLITS = ("train", "test")  # what a source has; the selection split is carved out of the first
DEMO_NOTICE = "embedded demo reviews, generated"


@dataclass(frozen=True)
class DataSource:
    kind: Source  # never AUTO
    description: str  # for the console, the run's tags and the tables; the same on every machine
    reason: str  # why this source, for the console
    files: Mapping[str, Path] = field(default_factory=dict)  # split -> file, for FILES
    hub_id: str | None = None  # for HUB


def resolve(task: TaskConfig, data_dir: str | None, *, embedded_model: bool, allow_network: bool = True) -> DataSource:
    """The source that `task.data.source` names; for `auto` the first of files, hub and demo that is there.

    Raises:
        ConfigError: there is none, or one that is incomplete; says what was looked for and what to do.
    """
    if task.data.source is Source.DEMO:
        return _demo(task, "asked for", embedded_model=embedded_model)
    tried = []
    if task.data.source in (Source.FILES, Source.AUTO):
        found, missing = _files(task, data_dir)
        if found:
            return found
        tried.append(missing)
    if task.data.source in (Source.HUB, Source.AUTO):
        found, missing = _hub(task, allow_network=allow_network)
        if found:
            return found
        tried.append(missing)
    if task.data.source is Source.AUTO and embedded_model and _demo_fits(task):
        return _demo(task, "; ".join(tried), embedded_model=True)
    raise ConfigError("data_dir", data_dir, f"no data for task.name={task.name}: {'; '.join(tried)}",
                      "set SWEEPER_DATA or data_dir to the folder that holds the files")  # fmt: skip


def count_rows(source: DataSource, split: str) -> int | None:
    """The rows of `train` (what will be the selection split included) or `test`; None where only a download tells."""
    if source.kind is Source.FILES:
        return files.count(source.files[split], f"task.data.files.{split}")
    return DEMO_SIZES[split] if source.kind is Source.DEMO else None


def check_columns(source: DataSource, task: TaskConfig) -> None:
    """Raises ConfigError where a file lacks a column that the task reads; the hub's columns come with its rows."""
    wanted = template.named_columns(task) | ({task.data.label: "task.data.label"} if task.labels else {})
    for split, path in source.files.items():
        there = files.columns(path, f"task.data.files.{split}")
        for column, key in wanted.items():
            if column not in there:
                rule = f"{path} has no column {column!r}, only {', '.join(there)}"
                raise ConfigError(key, _value(task, key), rule, suggestion(column, there))


def _value(task: TaskConfig, key: str) -> object:
    value: object = task
    for name in key.split(".")[1:]:
        value = getattr(value, name)
    return value


def load(source: DataSource, task: TaskConfig) -> Splits:
    """Reads, checks and splits the rows. Raises ConfigError for a bad row, a missing column, a size too large."""
    from tasks.rows import Origin, checked
    from tasks.splits import carve

    frames = {}
    for split in SPLITS:
        raw, key, value = _raw(source, task, split)
        frames[split] = checked(raw, columns=template.columns(task), label=task.data.label, labels=task.labels,
                                origin=Origin(key, value, split))  # fmt: skip
    return carve(frames["train"], frames["test"], task, source=source.description)


def _raw(source: DataSource, task: TaskConfig, split: str) -> tuple[pd.DataFrame, str, object]:
    """Unchecked rows, and the key and value that messages about them name."""
    if source.kind is Source.FILES:
        key, path = f"task.data.files.{split}", source.files[split]
        return files.read(path, key), key, path
    if source.kind is Source.HUB:
        columns = [*template.columns(task), task.data.label]
        return hub.read(task.data, split, columns, task.labels), hub.KEY, f"{source.hub_id} ({split})"
    from tasks.demo_reviews import splits

    frame = splits()[split].rename(columns={"sentence": task.data.text, "label": task.data.label})
    return frame, "task.data.source", source.kind.value


def _files(task: TaskConfig, data_dir: str | None) -> tuple[DataSource | None, str]:
    """The source, or what is missing."""
    if not data_dir:
        return None, "no data folder is set"
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise ConfigError("data_dir", data_dir, "no such folder", "correct it (SWEEPER_DATA is its default)")
    found = {split: files.find(folder, task.data.files.get(split, [])) for split in SPLITS}
    paths = {split: path for split, path in found.items() if path}
    absent = [split for split in SPLITS if split not in paths]
    if not absent:
        names = ", ".join(path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
                          for path in paths.values())  # fmt: skip
        return DataSource(Source.FILES, f"files {names}", f"found in {folder}", files=paths), ""
    wanted = " or ".join(name for split in absent for name in task.data.files.get(split, [])) or "no file names given"
    if paths:
        there = ", ".join(str(path) for path in paths.values())
        raise ConfigError(f"task.data.files.{absent[0]}", wanted, f"not in {data_dir}, which has {there}",
                          "add the file or correct its name")  # fmt: skip
    return None, f"{folder} holds none of {wanted.replace(' or ', ', ')}"


def _hub(task: TaskConfig, *, allow_network: bool) -> tuple[DataSource | None, str]:
    hub_id = task.data.hub_id
    if not hub_id:
        return None, "task.data.hub_id names no data set of the hub"
    there = hub.availability(hub_id, allow_network=allow_network)
    if not there.usable:
        return None, f"the hub's {hub_id} is {there.how}"
    name = f"{hub_id}/{task.data.hub_name}" if task.data.hub_name else hub_id
    return DataSource(Source.HUB, f"Hugging Face hub {name}", there.how, hub_id=hub_id), ""


def _demo(task: TaskConfig, reason: str, *, embedded_model: bool) -> DataSource:
    if not embedded_model:
        raise ConfigError("task.data.source", "demo", "only the embedded model may train on the demo data",
                          "set model=mini, or give the real data")  # fmt: skip
    if not _demo_fits(task):
        raise ConfigError("task.data.source", "demo", f"the demo data has one text and the labels {list(DEMO_LABELS)}",
                          "take another source for this task")  # fmt: skip
    return DataSource(Source.DEMO, DEMO_NOTICE, reason)


def _demo_fits(task: TaskConfig) -> bool:
    return tuple(task.labels) == DEMO_LABELS and template.columns(task) == [task.data.text]
