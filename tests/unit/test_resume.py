"""`python -m sweeper.resume`: which sweep is meant, and what command is given again. Trains nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeper import resume
from sweeper.checks import ConfigError
from sweeper.search.record import record_path
from sweeper.tracking.claim import claimed

CONTENT = {"cells": {"shared": {}, "own": {}}, "space": {}, "data": [], "code": "c0de", "objectives": [],
           "tune_per_cell": False, "choosing": {}}  # fmt: skip


def record(output_dir: Path, sweep_id: str, **changes: Any) -> Path:
    command = {"overrides": ["peft.r=2,4", "hydra.sweeper.n_trials=20"], "config_dir": None, "cwd": str(output_dir),
               "key": "k", "environment": {"SWEEPER_DATA": None}} | changes.pop("command", {})  # fmt: skip
    values = {
        "sweep_id": sweep_id, "content_id": sweep_id, "name": "sst2 mini", "state": "KILLED", "drift": [],
        "created": "2026-01-31T12:00:00.000+00:00", "started": "2026-01-31T12:00:00.000+00:00", "n_trials": 20,
        "trials": 20, "finished": 7, "code": {}, "content": CONTENT, "command": command,
    } | changes  # fmt: skip
    path = record_path(output_dir, sweep_id)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    record(tmp_path, "aa11111111", started="2026-01-31T13:00:00.000+00:00")
    record(tmp_path, "aa22222222", state="RUNNING")
    record(tmp_path, "bb33333333", state="COMPLETE", finished=20)
    return tmp_path


@pytest.mark.parametrize(("name", "meant"), [("bb33333333", "bb33333333"), ("b", "bb33333333"), ("last", "aa11111111")])
def test_a_sweep_is_known_by_its_id_the_beginning_of_it_or_as_the_last(output_dir: Path, name: str, meant: str) -> None:
    assert resume.find(output_dir, name).sweep_id == meant


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["aa"], "sweep=aa: aa11111111, aa22222222 begin so; give more of its id"),
     (["bb3333333x"], "no such sweep in .*; did you mean 'bb33333333'"),
     (["zzz"], "no such sweep in .*--list shows them"),
     ([], "one sweep is resumed at a time"),
     (["last", "bb"], "command line=last bb: one sweep is resumed at a time"),
     (["--lsit"], "--lsit: unknown flag; did you mean '--list'")],
)  # fmt: skip
def test_what_names_no_sweep_is_one_line(
    output_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert resume.main([*arguments, f"output_dir={output_dir}"]) == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert re.search(line, shown)


def test_a_folder_without_sweeps_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sweep was begun here"):
        resume.find(tmp_path, "last")


def test_the_list_tells_what_each_sweep_has_come_to(output_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(output_dir, "cc44444444").write_text("{")
    assert resume.main(["--list", f"output_dir={output_dir}"]) == 0
    header, *rows, damaged = capsys.readouterr().out.splitlines()
    assert header.split() == ["sweep", "state", "trials", "created", "name"]
    assert [row.split()[:3] for row in rows] == [
        ["aa11111111", "KILLED", "7/20"], ["aa22222222", "KILLED", "7/20"], ["bb33333333", "COMPLETE", "20/20"],
    ]  # fmt: skip
    assert damaged.split()[:2] == ["cc44444444", "damaged"]
    with claimed(output_dir, "aa22222222"):
        resume.print_list(output_dir)
    assert "aa22222222  RUNNING" in capsys.readouterr().out


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What reaches the command line, and from where."""
    seen: dict[str, Any] = {}

    def command(arguments: list[str], *, resumes: str | None = None) -> int:
        seen.update(arguments=arguments, resumes=resumes, cwd=Path.cwd(), data=os.environ.get("SWEEPER_DATA"))
        return 0

    monkeypatch.setattr(resume, "command", command)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEPER_DATA", "of today")
    return seen


def test_the_command_is_given_again_from_where_it_was_given(tmp_path: Path, given: Mapping[str, Any]) -> None:
    (tmp_path / "there").mkdir()
    command = {"cwd": str(tmp_path / "there"), "config_dir": "mine", "environment": {"SWEEPER_DATA": "/of/then"}}
    record(tmp_path, "aa11111111", command=command)
    assert resume.main(["last", "hydra.sweeper.n_trials=40", "output_dir=."]) == 0
    assert given["arguments"] == ["peft.r=2,4", "hydra.sweeper.n_trials=40", f"output_dir={tmp_path}", "-m",
                                  "--config-dir", "mine"]  # fmt: skip
    assert (given["resumes"], given["cwd"], given["data"]) == ("aa11111111", tmp_path / "there", "/of/then")


def test_a_command_that_had_no_data_folder_has_none_again(tmp_path: Path, given: Mapping[str, Any]) -> None:
    record(tmp_path, "aa11111111")
    resume.main(["last", "output_dir=."])
    assert given["data"] is None


@pytest.mark.parametrize(
    ("command", "line"),
    [({"overrides": ["tracking_uri=http://me:<redacted>@server"]}, "tracking_uri=<redacted>: its secret was not rec"),
     ({"cwd": "/nowhere/at/all"}, "was begun in /nowhere/at/all, which is gone")],
)  # fmt: skip
def test_what_cannot_be_given_again_is_one_line(
    tmp_path: Path, given: Mapping[str, Any], capsys: pytest.CaptureFixture[str], command: dict[str, Any], line: str
) -> None:
    record(tmp_path, "aa11111111", command=command)
    assert resume.main(["last", "output_dir=."]) == 2
    assert line in capsys.readouterr().err
    assert not given


def test_help_shows_the_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert resume.main(["--help"]) == 0
    assert "python -m sweeper.resume last" in capsys.readouterr().out


@pytest.mark.parametrize("names", [[""], [], ["aa11111111", "last"]], ids=str)
def test_what_names_no_one_sweep_resumes_none(tmp_path: Path, given: Mapping[str, Any], names: list[str]) -> None:
    """An empty name, as of a shell's unset variable, begins every id."""
    record(tmp_path, "aa11111111")
    assert resume.main([*names, "output_dir=."]) == 2
    assert not given
