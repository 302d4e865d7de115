from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.tracking import process_mark
from sweeper.tracking.process_mark import ProcessMark


def test_this_process_is_alive_and_its_mark_survives_json() -> None:
    own = ProcessMark.own()
    assert own.pid == os.getpid()
    assert own.alive() is True
    assert ProcessMark.from_dict(own.to_dict()) == own


@pytest.mark.parametrize("change", [{"started": -1}, {"boot": "another boot"}])
def test_a_number_that_is_used_again_does_not_look_alive(change: dict[str, object]) -> None:
    assert replace(ProcessMark.own(), **change).alive() is False  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_of_another_host_or_container_nobody_can_tell(change: dict[str, object]) -> None:
    assert replace(ProcessMark.own(), **change).alive() is None  # type: ignore[arg-type]


def test_a_process_that_has_ended_is_gone_even_where_nobody_has_asked_how() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_mark._start_time(child.pid)
    assert started is not None
    mark = replace(ProcessMark.own(), pid=child.pid, started=started)
    assert mark.alive() is True
    child.kill()
    while mark.alive():  # a zombie until `wait`
        time.sleep(0.01)
    assert mark.alive() is False
    child.communicate()
    assert mark.alive() is False


def test_a_name_with_brackets_and_blanks_is_read_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").write_text("")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) R 1) b) S 1 " + " ".join(map(str, range(5, 30))))
    monkeypatch.setattr(process_mark, "PROC", tmp_path)
    assert process_mark._start_time(7) == 22  # the 22nd field is the start time, proc(5)


def test_without_proc_psutil_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_mark, "PROC", tmp_path)
    own = ProcessMark.own()
    assert own.alive() is True
    assert replace(own, started=own.started - 1).alive() is False
    assert replace(own, pid=2**22 + 1).alive() is False
