"""Where a task's rows come from: files under the data folder, the Hugging Face hub, or the embedded demo data.

Owns the choice and its order. A model other than the embedded one never sees demo data. `resolve` and
`count_rows` import no data library, unless values decide the counts, so that missing data is reported at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.checks import ConfigError, suggestion
from sweeper.config import FULL, PromptConfig, Source, TaskConfig
from tasks import files, hub, template, text_files
from tasks.demo_reviews import DEMO_LABELS, DEMO_SIZES

if TYPE_CHECKING:
    import pandas as pd

    from tasks.splits import Splits

SPLITS = ("train", "test")  # the selection split is carved out of the first
DOCUMENTS = "documents/"  # below the data folder: what `tasks.documents` builds
DEMO_NOTICE = "embedded demo reviews, generated"


@dataclass(frozen=True)
class DataSource:
    kind: Source  # never AUTO
    description: str  # for the console, the run's tags and the tables; the same on every machine
    reason: str  # why this source, for the console
    files: Mapping[str, Path] = field(default_factory=dict)  # split -> file, for FILES; see `read_splits`
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
    if task.data.source is Source.HUB or (task.data.source is Source.AUTO and task.data.hub_id):
        found, missing = _hub(task, allow_network=allow_network)
        if found:
            return found
        tried.append(missing)
    if task.data.source is Source.AUTO and embedded_model and _demo_fits(task):
        return _demo(task, "; ".join(tried), embedded_model=True)
    built = any(name.startswith(DOCUMENTS) for names in task.data.files.values() for name in names)
    build = "make them with `python -m tasks.documents build`, and " * built
    raise ConfigError("data_dir", data_dir, f"no data for task.name={task.name}: {'; '.join(tried)}",
                      f"{build}set SWEEPER_DATA or data_dir to the folder that holds the files")  # fmt: skip


def rows_only(task: TaskConfig) -> TaskConfig:
    """What decides the task's rows, the rest being as it is by default: alike for two tasks that read the same rows.

    Of the prompt that is which columns it names, and whether a question may be without an answer.
    """
    named = [name for name, key in template.named_columns(task).items() if key.startswith("task.prompt.")]
    prompt = PromptConfig(user="".join(f"{{{name}}}" for name in named), no_answer=task.prompt.no_answer and "none")
    return TaskConfig(
        name=task.name, type=task.type, data=task.data, labels=task.labels, prompt=prompt,
        selection_size=task.selection_size, test_size=task.test_size, subset_seed=task.subset_seed,
    )  # fmt: skip


def read_splits(task: TaskConfig) -> tuple[str, ...]:
    """The splits that a source of this task has itself: with `task.data.test_share` the training rows alone."""
    return SPLITS if task.data.test_share is None else SPLITS[:1]


def count_rows(source: DataSource, task: TaskConfig) -> dict[str, int] | None:
    """The rows of `train`, `selection` and `test`, neither of the first and last being cut to its size; None where
    only a download tells.

    Raises:
        ConfigError: more rows are asked for than there are, and what `load` raises where values decide: those of a
            column that keeps rows together, or the labels that are sampled alike.
    """
    if source.kind is Source.HUB:
        return None
    if task.data.split_by is not None or task.data.rows_per_label is not None:
        whole = load(source, dataclasses.replace(task, test_size=FULL))
        return {"train": len(whole.train), "selection": len(whole.selection), "test": len(whole.test)}
    there = {split: _count(source, split) for split in read_splits(task)}
    pool = there["train"] if task.data.rows == FULL else int(task.data.rows)
    if pool > there["train"]:
        raise ConfigError("task.data.rows", pool, f"larger than the data ({there['train']} rows)")
    if task.data.test_share is not None:
        there["test"] = task.data.test_rows(pool)
        pool -= there["test"]
    return {"train": pool - task.selection_size, "selection": task.selection_size, "test": there["test"]}


def _count(source: DataSource, split: str) -> int:
    if source.kind is Source.FILES:
        return files.count(source.files[split], f"task.data.files.{split}")
    return DEMO_SIZES[split]


def check_columns(source: DataSource, task: TaskConfig) -> None:
    """Raises ConfigError where a file lacks a column that the task reads; the hub's columns come with its rows."""
    wanted = template.wanted_columns(task)
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
    for split in read_splits(task):
        raw, key, value = _raw(source, task, split)
        frames[split] = checked(raw, task, Origin(key, value, split))
    return carve(frames["train"], frames.get("test"), task, source=source.description)


def _raw(source: DataSource, task: TaskConfig, split: str) -> tuple[pd.DataFrame, str, object]:
    """Unchecked rows, and the key and value that messages about them name."""
    if source.kind is Source.FILES:
        key, path = f"task.data.files.{split}", source.files[split]
        return files.read(path, key), key, path
    if source.kind is Source.HUB:
        frame = hub.read(task.data, split, list(template.wanted_columns(task)), task.labels)
        if task.type == "language_modeling":
            frame = text_files.from_lines(frame, task.data.text)
        return frame, hub.KEY, f"{source.hub_id} ({split})"
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
    wanted = {split: task.data.files.get(split, []) for split in read_splits(task)}
    paths = {split: path for split, names in wanted.items() if (path := files.find(folder, names))}
    absent = [split for split in wanted if split not in paths]
    if not absent:
        names = ", ".join(_shown(path, folder) for path in paths.values())
        description = f"file{'s' * (len(paths) > 1)} {names}{_shares(task)}"
        return DataSource(Source.FILES, description, f"found in {folder}", files=paths), ""
    sought = " or ".join(name for split in absent for name in wanted[split]) or "no file names given"
    if paths:
        there = ", ".join(str(path) for path in paths.values())
        raise ConfigError(f"task.data.files.{absent[0]}", sought, f"not in {data_dir}, which has {there}",
                          "add the file or correct its name" + ", or task.data.source=hub" * bool(task.data.hub_id)
                          )  # fmt: skip
    return None, f"{folder} holds none of {sought.replace(' or ', ', ')}"


def _shown(path: Path, folder: Path) -> str:
    """Its place in the data folder; of a file elsewhere the name alone: the digest of the rows tells what was read."""
    inside = path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts
    return path.relative_to(folder).as_posix() if inside else path.name


def _shares(task: TaskConfig) -> str:
    """How one file became several splits, in words."""
    data = task.data
    if data.test_share is None:
        return ""
    rows = "" if data.rows == FULL else f"{data.rows:,} rows of it, "
    rows = rows if data.rows_per_label is None else f"{data.rows_per_label:,} rows of each label, "
    by = "" if data.split_by is None else f" by {data.split_by}"
    return f" ({rows}{data.test_share:.0%} held out{by})"


def _hub(task: TaskConfig, *, allow_network: bool) -> tuple[DataSource | None, str]:
    hub_id = task.data.hub_id
    if not hub_id:
        return None, "task.data.hub_id names no data set of the hub"
    there = hub.availability(hub_id, allow_network=allow_network)
    if not there.usable:
        return None, f"the hub's {hub_id} is {there.how}"
    name = f"{hub_id}/{task.data.hub_name}" if task.data.hub_name else hub_id
    return DataSource(Source.HUB, f"Hugging Face hub {name}{_shares(task)}", there.how, hub_id=hub_id), ""


def _demo(task: TaskConfig, reason: str, *, embedded_model: bool) -> DataSource:
    if not embedded_model:
        raise ConfigError("task.data.source", "demo", "only the embedded model may train on the demo data",
                          "set model=mini, or give the real data")  # fmt: skip
    if not _demo_fits(task):
        raise ConfigError("task.data.source", "demo", f"the demo data has one text and the labels {list(DEMO_LABELS)}",
                          "take another source for this task")  # fmt: skip
    return DataSource(Source.DEMO, f"{DEMO_NOTICE}{_shares(task)}", reason)


def _demo_fits(task: TaskConfig) -> bool:
    return tuple(task.labels) == DEMO_LABELS and set(template.wanted_columns(task)) == {task.data.text, task.data.label}
