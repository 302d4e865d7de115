"""Data files as raw frames: TSV in GLUE's style, CSV, JSON, JSON Lines, text, Parquet, all but the last also gzipped.

Checks that a file is what its name says, and nothing about the values in it.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from sweeper.checks import ConfigError
from tasks import squad_layout, text_files

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
BLANK, BLANK_TSV = " \t\n", " \n"  # what a line that is no row consists of; pandas skips the same


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
        ".tsv": lambda: _separated(path, _header(_tsv(path, stop=1)), sep="\t", quoting=csv.QUOTE_NONE),
        ".csv": lambda: _separated(path, _header(_csv(path, stop=1))),
        ".json": lambda: pd.DataFrame(_records(path), dtype=object),
        ".jsonl": lambda: pd.DataFrame(_objects(_numbered(path)), dtype=object),
        ".txt": lambda: pd.DataFrame({text_files.COLUMN: _texts(path)}, dtype=object),
        ".parquet": lambda: pd.read_parquet(path),
    }
    return _ask(readers, path, key)


def count(path: Path, key: str) -> int:
    """The file's number of rows, without reading its values where that is not needed."""
    counters: dict[str, Callable[[], int]] = {
        ".tsv": lambda: len(list(_lines(path, white=BLANK_TSV))) - 1,
        ".csv": lambda: len(_csv(path)) - 1,
        ".json": lambda: len(_records(path)),
        ".jsonl": lambda: len(list(_lines(path))),
        ".txt": lambda: len(_texts(path)),
        ".parquet": lambda: _count_parquet(path),
    }
    return max(0, _ask(counters, path, key))


def sample(path: Path, key: str, count: int) -> list[dict[str, Any]]:
    """At most `count` rows at even distances, unchecked; of a Parquet file those of its first row group."""
    readers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        ".tsv": lambda: _sample_table(_tsv(path), count),
        ".csv": lambda: _sample_table(_csv(path), count),
        ".json": lambda: _evenly(_records(path), count),
        ".jsonl": lambda: _objects(_evenly(_numbered(path), count)),
        ".txt": lambda: [{text_files.COLUMN: text} for text in _evenly(_texts(path), count)],
        ".parquet": lambda: _sample_parquet(path, count),
    }
    return _ask(readers, path, key)


def columns(path: Path, key: str) -> list[str]:
    """The names of the file's columns; of a text format's values no more is read than the first row."""
    readers: dict[str, Callable[[], list[str]]] = {
        ".tsv": lambda: _header(_tsv(path, stop=1)),
        ".csv": lambda: _header(_csv(path, stop=1)),
        ".json": lambda: list(dict.fromkeys(name for record in _records(path) for name in record)),
        ".jsonl": lambda: list(_objects([(1, next(_lines(path), "{}"))])[0]),
        ".txt": lambda: [text_files.COLUMN],
        ".parquet": lambda: _parquet_columns(path),
    }
    return _ask(readers, path, key)


def text(path: Path, key: str) -> str:
    """Of a text file, what is in it. Raises ConfigError."""
    return _ask({".txt": lambda: _content(path)}, path, key)


def _ask(readers: Mapping[str, Callable[[], T]], path: Path, key: str) -> T:
    reader = readers[_format(path, key)]
    try:
        return reader()
    # Parser, JSON, UTF-8, Arrow and gzip errors are ValueError, EOFError or OSError, but for two.
    except (ValueError, EOFError, OSError, zlib.error, csv.Error) as error:
        raise ConfigError(key, path, f"cannot be read: {_one_line(error)}") from None


def _separated(path: Path, names: list[str], **layout: Any) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **layout)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much for names, and shifts the rest
        rule = f"its rows have more values than its header has columns ({len(names)})"
        raise ValueError(f"{rule}; a value with a separator wants quotes")
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


def _lines(path: Path, white: str = BLANK) -> Iterator[str]:
    with _open(path) as file:
        yield from (line for line in file if line.strip(white))


def _content(path: Path) -> str:
    with _open(path) as file:
        return file.read()


def _texts(path: Path) -> list[str]:
    return text_files.texts(_content(path))


def _numbered(path: Path) -> list[tuple[int, str]]:
    return list(enumerate(_lines(path), start=1))


def _objects(rows: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """Of lines of JSON with the numbers of their rows."""
    records = []
    for number, line in rows:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"row {number} is no JSON: {error.msg}") from None
        if not isinstance(record, dict):
            raise ValueError(f"row {number} is no JSON object")
        records.append(record)
    return records


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


def _tsv(path: Path, stop: int | None = None) -> list[list[str]]:
    """The rows, of which the first is the header; in GLUE's style, where a quotation mark is text."""
    return [line.rstrip("\n").split("\t") for line in islice(_lines(path, white=BLANK_TSV), stop)]


def _csv(path: Path, stop: int | None = None) -> list[list[str]]:
    """The rows, of which the first is the header: those that pandas finds, without the second it takes to import."""
    limit = csv.field_size_limit(2**31 - 1)  # the whole process's, so for this moment only; pandas has none
    try:
        return list(islice(csv.reader(_lines(path)), stop))
    finally:
        csv.field_size_limit(limit)


def _header(rows: list[list[str]]) -> list[str]:
    """Raises ValueError for a name that stands there twice: pandas would call the second `name.1`."""
    names = rows[0] if rows else []
    if doubled := [name for name in names if name and names.count(name) > 1]:
        raise ValueError(f"its header has the column {doubled[0]!r} twice; rename or delete one")
    return names


def _count_parquet(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)


def _evenly(rows: Sequence[T], count: int) -> list[T]:
    """The first of them always."""
    return list(rows[:: max(1, -(-len(rows) // count))])


def _sample_table(rows: list[list[str]], count: int) -> list[dict[str, Any]]:
    return [dict(zip_longest(rows[0], row)) for row in _evenly(rows[1:], count)]


def _sample_parquet(path: Path, count: int) -> list[dict[str, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        group = file.read_row_group(0)
        taken = group.take(_evenly(range(len(group)), count))
    return cast("list[dict[str, Any]]", taken.to_pylist())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
