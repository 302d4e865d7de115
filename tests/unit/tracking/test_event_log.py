from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.tracking.event_log import CorruptEventsError, EventLog

texts = st.text(max_size=40)
logs = st.lists(texts, min_size=1, max_size=6)


def write(path: Path, values: list[str]) -> EventLog:
    log = EventLog(path)
    for value in values:
        log.append({"event": "tags", "value": value}, durable=False)
    return log


@settings(max_examples=150, deadline=None)
@given(values=logs, later=texts, data=st.data())
def test_a_file_cut_at_any_byte_loses_at_most_the_torn_line_and_goes_on(
    values: list[str], later: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    log = write(path, values)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    os.truncate(path, cut)

    num_whole = whole[:cut].count(b"\n")
    events, end = log.read()
    assert [event["value"] for event in events] == values[:num_whole]
    assert end == len(b"".join(whole.splitlines(keepends=True)[:num_whole])) or not num_whole

    log.append({"event": "tags", "value": later}, durable=True)
    assert [event["value"] for event in log.read()[0]] == [*values[:num_whole], later]
    assert log.read(end)[0][0]["value"] == later


def test_a_torn_line_longer_than_one_look_back_is_dropped(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", ["first"])
    with log.path.open("ab") as file:
        file.write(b'{"event": "' + b"x" * 200_000)
    log.append({"event": "tags", "value": "second"}, durable=False)
    assert [event["value"] for event in log.read()[0]] == ["first", "second"]


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", ["a", "b"])
    _, offset = log.read()
    write(log.path, ["c"])
    events, end = log.read(offset)
    assert [event["value"] for event in events] == ["c"]
    assert end == log.path.stat().st_size
    assert log.read(end) == ([], end)


def test_a_log_that_was_never_written_reads_as_empty(tmp_path: Path) -> None:
    assert EventLog(tmp_path / "events.jsonl").read() == ([], 0)


def test_a_complete_line_that_is_no_event_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", ["a"])
    with log.path.open("ab") as file:
        file.write(b"\x00\x00\x00\n")
    with pytest.raises(CorruptEventsError, match=r"events\.jsonl: damaged, not a JSON line"):
        log.read()


def test_an_offset_inside_a_line_or_past_the_end_begins_again(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", ["a", "b"])
    size = log.path.stat().st_size
    assert log.line_start(size) == size
    assert log.line_start(size - 3) == 0
    assert log.line_start(size + 100) == 0


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        EventLog(tmp_path / "events.jsonl").append({"event": "x", "value": float("nan")}, durable=False)
    assert not (tmp_path / "events.jsonl").exists()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(tmp_path / "events.jsonl", ["a"])
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: real_write(descriptor, line[:5]))
    with pytest.raises(OSError, match="is the disk full"):
        log.append({"event": "tags", "value": "b"}, durable=False)
    assert [json.loads(line)["value"] for line in log.path.read_text().splitlines()] == ["a"]
