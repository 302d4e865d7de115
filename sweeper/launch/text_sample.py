"""How long the texts of a data source are, from a few hundred of its rows. Imports no data library but for Parquet."""

from __future__ import annotations

from sweeper.config import Source, TaskConfig
from sweeper.launch.workload import Text
from tasks import files, template
from tasks.sources import SPLITS, DataSource

ROWS = 400  # of each split
DEMO = Text(mean=51.0, longest=140.0)  # of the embedded sentences
UNKNOWN = Text(mean=400.0, longest=1600.0)  # of a data set that is not on this machine: a paragraph


def texts_of(source: DataSource, task: TaskConfig) -> dict[str, Text]:
    """By split, `train` and `test`."""
    if source.kind is Source.DEMO:
        return dict.fromkeys(SPLITS, DEMO)
    if source.kind is Source.HUB:
        return dict.fromkeys(SPLITS, UNKNOWN)
    train = _text(source, task, "train")
    return {"train": train, "test": _text(source, task, "test") if "test" in source.files else train}


def _text(source: DataSource, task: TaskConfig, split: str) -> Text:
    columns = template.columns(task)
    rows = files.sample(source.files[split], f"task.data.files.{split}", ROWS)
    lengths = [sum(len(str(row.get(column) or "").strip()) for column in columns) for row in rows]
    return Text(sum(lengths) / len(lengths), max(lengths)) if lengths else UNKNOWN
