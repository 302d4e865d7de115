"""What is counted, sampled and named of a file is what is read of it; what cannot be read is told in one line."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sweeper.checks import ConfigError
from tasks import files

ASK: dict[str, Callable[[Path], Any]] = {
    "columns": lambda path: files.columns(path, "key"),
    "sample": lambda path: files.sample(path, "key", 5),
    "read": lambda path: files.read(path, "key"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@given(rows=st.lists(st.text('ab", \t\n', max_size=6), max_size=6))
@example(rows=['a 5" disk', "b", "c"])
@example(rows=['"a\n\nb"', '"a ""b"" c"', '"a"b', "  ", "\t", ""])
def test_every_row_that_is_read_is_counted_and_sampled(folder: Path, ending: str, rows: list[str]) -> None:
    path = folder / f"rows.{ending}"
    path.write_text("\n".join(["x,y,z,v\tw\tu\tt", *rows]))
    try:
        read = len(files.read(path, "key"))
    except ConfigError:  # an open quotation mark, a value too many
        return
    assert files.count(path, "key") == read
    assert len(files.sample(path, "key", 100)) == read


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_values_and_names_are_of_any_length(tmp_path: Path, ending: str) -> None:
    """The csv module alone takes 131,072 characters, a limit of the whole process."""
    path, sign, limit = tmp_path / f"rows.{ending}", {"csv": ",", "tsv": "\t"}[ending], csv.field_size_limit()
    path.write_text(f"{'x' * 140_000}{sign}label\n{'a' * 140_000}{sign}1\nb{sign}0\n")
    assert [len(name) for name in files.columns(path, "key")] == [140_000, 5]
    assert files.count(path, "key") == len(files.read(path, "key")) == 2
    assert [row["label"] for row in files.sample(path, "key", 5)] == ["1", "0"]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("line", ["3", '"abc"', "[1, 2]", "null"])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str, ask: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=r"key=.*rows\.jsonl: cannot be read: row 1 is no JSON object"):
        ASK[ask](path)


@pytest.mark.parametrize("ask", ["sample", "read"])
@pytest.mark.parametrize(("line", "rule"), [("3", "no JSON object"), ("{", "no JSON: Expecting property name")])
def test_a_later_line_is_named_by_its_row(tmp_path: Path, line: str, rule: str, ask: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n \n{{"a": 2}}\n{line}\n')
    with pytest.raises(ConfigError, match=f"cannot be read: row 3 is {rule}"):
        ASK[ask](path)


@pytest.mark.parametrize("ask", ["columns", "read"])
@pytest.mark.parametrize(("ending", "sign"), [("csv", ","), ("tsv", "\t")])
def test_a_header_names_a_column_once(tmp_path: Path, ending: str, sign: str, ask: str) -> None:
    path = tmp_path / f"rows.{ending}"
    path.write_text("\n".join(sign.join(row) for row in (("text", "label", "text"), ("a", "1", "b"))))
    with pytest.raises(ConfigError, match="cannot be read: its header has the column 'text' twice; rename"):
        ASK[ask](path)
    path.write_text("\n".join(sign.join(row) for row in (("text", "", ""), ("a", "1", "b"))))  # a spreadsheet's
    assert files.columns(path, "key") == ["text", "", ""]
    assert files.read(path, "key")["text"].tolist() == ["a"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.json", "rows.jsonl", "rows.txt"])
def test_a_damaged_gzipped_file_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    packed = bytearray(gzip.compress(json.dumps({"text": "many different words"}).encode() * 50))
    packed[10:16] = b"\xff" * 6  # what follows the header
    path = tmp_path / f"{name}.gz"
    path.write_bytes(packed)
    with pytest.raises(ConfigError, match=r"key=.*\.gz: cannot be read: ") as caught:
        files.count(path, "key")
    assert "\n" not in str(caught.value)


def test_an_unknown_kind_of_file_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^key=rows\.xml: not a data file by its name; known are \.tsv, "):
        files.read(Path("rows.xml"), "key")
