"""Data files as raw frames: TSV in GLUE's style, CSV, JSON, JSON Lines, text, Parquet, all but the last also gzipped.

Checks that a file is what its name says, and nothing about the values in it.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from sweeper.checks import ConfigError
from tasks import squad_layout, text_files

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


def find(data_dir: Path, candidates: Sequence[str]) -> Path | None:
    """The first candidate that exists, plain or with `.gz` after its name."""
    for name in candidates:
        for path in (data_dir / name, data_dir / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def read(path: Path, key: str) -> pd.DataFrame:
    """All columns of the file; text formats give every value as str, the others as it is.

    Raises:
        ConfigError: unreadable as what its name says; `key` names the file there.
    """
    import pandas as pd

    readers: dict[str, Callable[[], pd.DataFrame]] = {
        ".tsv": lambda: _separated(path, sep="\t", quoting=csv.QUOTE_NONE),  # GLUE's: a quotation mark is text
        ".csv": lambda: _separated(path),
        ".json": lambda: pd.DataFrame(_records(path), dtype=object),
        ".jsonl": lambda: pd.DataFrame([json.loads(line) for line in _lines(path)], dtype=object),
        ".txt": lambda: pd.DataFrame({text_files.COLUMN: _texts(path)}, dtype=object),
        ".parquet": lambda: pd.read_parquet(path),
    }
    try:
        return readers[_format(path, key)]()
    except (ValueError, EOFError, OSError) as error:  # parser, JSON, UTF-8, Arrow and gzip errors are such
        raise ConfigError(key, path, f"cannot be read: {_one_line(error)}") from None


def count(path: Path, key: str) -> int:
    """The file's number of rows, without reading its values where that is not needed."""
    counters: dict[str, Callable[[], int]] = {
        ".tsv": lambda: len(_lines(path)) - 1,
        ".csv": lambda: _count_csv(path) - 1,
        ".json": lambda: len(_records(path)),
        ".jsonl": lambda: len(_lines(path)),
        ".txt": lambda: len(_texts(path)),
        ".parquet": lambda: _count_parquet(path),
    }
    try:
        return max(0, counters[_format(path, key)]())
    except (ValueError, EOFError, OSError) as error:
        raise ConfigError(key, path, f"cannot be read: {_one_line(error)}") from None


def sample(path: Path, key: str, count: int) -> list[dict[str, Any]]:
    """At most `count` rows at even distances, unchecked; of a Parquet file those of its first row group."""
    readers: dict[str, Callable[[], Sequence[dict[str, Any]]]] = {
        ".tsv": lambda: _table(_evenly(_lines(path), count), delimiter="\t", quoting=csv.QUOTE_NONE),
        ".csv": lambda: _evenly(_table(_lines(path)), count),
        ".json": lambda: _evenly(_records(path), count),
        ".jsonl": lambda: [json.loads(line) for line in _evenly(_lines(path), count)],
        ".txt": lambda: [{text_files.COLUMN: text} for text in _evenly(_texts(path), count)],
        ".parquet": lambda: _sample_parquet(path, count),
    }
    try:
        return list(readers[_format(path, key)]())
    except (ValueError, EOFError, OSError, csv.Error) as error:
        raise ConfigError(key, path, f"cannot be read: {_one_line(error)}") from None


def columns(path: Path, key: str) -> list[str]:
    """The names of the file's columns; of a text format's values no more is read than the first row."""
    readers: dict[str, Callable[[], list[str]]] = {
        ".tsv": lambda: _first_line(path).split("\t"),
        ".csv": lambda: next(csv.reader([_first_line(path)]), []),
        ".json": lambda: list(dict.fromkeys(name for record in _records(path) for name in record)),
        ".jsonl": lambda: list(json.loads(_first_line(path) or "{}")),
        ".txt": lambda: [text_files.COLUMN],
        ".parquet": lambda: _parquet_columns(path),
    }
    try:
        return readers[_format(path, key)]()
    except (ValueError, EOFError, OSError, csv.Error) as error:
        raise ConfigError(key, path, f"cannot be read: {_one_line(error)}") from None


def _separated(path: Path, **layout: Any) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **layout)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much for names, and shifts the rest
        raise ValueError("its rows have more values than its header has columns; a value with a separator wants quotes")
    return frame


def _format(path: Path, key: str) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    gzipped = suffixes[-1:] == [".gz"]
    name = (suffixes[:-1] if gzipped else suffixes)[-1:]
    known = (".tsv", ".csv", ".json", ".jsonl", ".txt", *([] if gzipped else [".parquet"]))
    if not name or name[0] not in known:
        raise ConfigError(key, path, "not a data file by its name", f"known are {', '.join(known)}")
    return name[0]


def _open(path: Path) -> IO[str]:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return cast("IO[str]", opener(path, "rt", encoding="utf-8-sig"))


def _first_line(path: Path) -> str:
    with _open(path) as file:
        return next((line.rstrip("\r\n") for line in file if line.strip("\r\n")), "")


def _lines(path: Path) -> list[str]:
    with _open(path) as file:
        return [line for line in file if line.strip("\n")]


def _texts(path: Path) -> list[str]:
    with _open(path) as file:
        return text_files.texts(file.read())


def _records(path: Path) -> list[dict[str, Any]]:
    """Not to be changed: the next who asks gets the same ones."""
    state = path.stat()
    return _parsed(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2)  # a task's two files, of which a plan asks for columns, counts, a sample and the rows
def _parsed(path: Path, size: int, mtime_ns: int) -> list[dict[str, Any]]:
    with _open(path) as file:
        records = json.load(file)
    if squad_layout.is_squad(records):
        return squad_layout.rows(records)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError("it is not a list of objects, one for each row")
    return records


def _count_csv(path: Path) -> int:
    """Lines that end outside quotation marks; a doubled mark opens and closes."""
    rows, inside = 0, False
    for line in _lines(path):
        inside ^= line.count('"') % 2 == 1
        rows += not inside
    return rows


def _count_parquet(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)


def _table(lines: Sequence[str], **dialect: Any) -> list[dict[str, Any]]:
    return list(csv.DictReader(lines, **dialect))


def _evenly(rows: Sequence[T], count: int) -> list[T]:
    """The first of them, a table's header, always."""
    return list(rows[:: max(1, -(-len(rows) // count))])


def _sample_parquet(path: Path, count: int) -> list[dict[str, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        group = file.read_row_group(0)
        taken = group.take(_evenly(range(len(group)), count))
    return cast("list[dict[str, Any]]", taken.to_pylist())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
