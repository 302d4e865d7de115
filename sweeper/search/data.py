"""Whether the data of a planned run is there and large enough, known before anything heavy is imported.

Reads names, headers and row counts only; rows are read by the tasks, which are asked where a column of the data
decides how many there are (`task.data.split_by`, `task.data.rows_per_label`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.checks import ConfigError, one_of
from sweeper.config import FULL, RunConfig, Source

if TYPE_CHECKING:
    from tasks.sources import DataSource


@dataclass
class DataCheck:
    _sources: dict[str, DataSource] = field(default_factory=dict)
    _rows: dict[str, dict[str, int] | None] = field(default_factory=dict)

    def check(self, config: RunConfig) -> None:
        """Raises ConfigError for missing data or columns and for a size larger than the data."""
        key, task = _key(config), config.task
        if key not in self._sources:
            self._sources[key] = _source(config)
        rows = self.rows(config)
        if rows is None:
            return
        pool, held_out = rows["train"] + rows["selection"], rows["selection"]
        meaning = f"{pool} rows less {held_out} held out (task.selection_size)"
        _check_size("task.train_size", task.train_size, rows["train"], meaning)
        _check_size("task.test_size", task.test_size, rows["test"], f"{rows['test']} rows")

    def source(self, config: RunConfig) -> DataSource:
        """Of a config that `check` has seen, or one that differs from it only in what chooses no source."""
        return self._sources[_key(config)]

    def rows(self, config: RunConfig) -> dict[str, int] | None:
        """Of `train`, `selection` and `test`, uncut; None where only the hub knows: the tasks check again then."""
        from tasks import sources

        task = replace(config.task, test_size=FULL)
        key = json.dumps([asdict(sources.rows_only(task)), config.data_dir, config.model.is_embedded], default=str)
        if key not in self._rows:
            self._rows[key] = sources.count_rows(self.source(config), task)
        return self._rows[key]

    def identities(self) -> list[str]:
        """What tells each source's content from any other: another place of the same files changes nothing."""
        return sorted({identity(source) for source in self._sources.values()})

    def summaries(self) -> list[str]:
        """One line for a person per source."""
        return sorted({f"{source.description} ({source.reason})" for source in self._sources.values()})


def _source(config: RunConfig) -> DataSource:
    """With every column that the task's prompts name."""
    from tasks import score_packages, sources, template
    from tasks.task import TASKS

    one_of("task.type", config.task.type, TASKS)
    if config.task.type == "classification":
        template.candidates(config.task)
    if config.task.type == template.QUESTION_ANSWERING:
        template.answer_parts(config.task)
        score_packages.check(config.task.metrics)
    source = sources.resolve(config.task, config.data_dir, embedded_model=config.model.is_embedded)
    sources.check_columns(source, config.task)
    return source


def _key(config: RunConfig) -> str:
    """Of everything that decides which source is taken."""
    task = config.task
    asked = [asdict(task.data), task.name, task.type, task.labels, task.metrics, asdict(task.prompt), config.data_dir,
             config.model.is_embedded]  # fmt: skip
    return json.dumps(asked, default=str)


def identity(source: DataSource) -> str:
    """Changes when a file's content does."""
    if source.kind is not Source.FILES:
        return f"{source.kind.value} {source.hub_id or ''}".strip()
    return f"files {files_digest(source.files)}"


def files_digest(files: Mapping[str, Path]) -> str:
    """Sixteen hex digits over the bytes of all splits."""
    digest = hashlib.sha256()
    for split in sorted(files):
        with Path(files[split]).open("rb") as file:
            digest.update(f"{split}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _check_size(key: str, size: object, rows: int, meaning: str) -> None:
    if rows < 1:
        raise ConfigError(key, size, f"no rows are left: {meaning}", "hold out fewer: task.selection_size=<n>")
    if isinstance(size, int) and size > rows:
        raise ConfigError(key, size, f"larger than the data ({meaning})", f"at most {rows}, or {FULL}")
