"""One command at a time in a folder, and no trace of it afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from tasks import folder_lock
from tasks.folder_lock import NAME, alone_in

HOLD = """
import pathlib, sys, time
from tasks.folder_lock import alone_in
with alone_in("out", pathlib.Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def test_what_stays_empty_is_deleted_and_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with alone_in("out", tmp_path / "mine" / "new" / "own"):
        assert (tmp_path / "mine" / "new" / "own").is_dir()
    assert list((tmp_path / "mine").iterdir()) == []
    with alone_in("out", tmp_path / "mine"):
        pass
    with alone_in("out", tmp_path / "full" / "own"):
        (tmp_path / "full" / "own" / "file").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine", "own"]


def test_a_process_is_alone_until_it_is_killed(tmp_path: Path, repository: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=repository
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with (
            pytest.raises(ConfigError, match=rf"out=.*: process {process.pid} on .* writes there; wait for it, stop"),
            alone_in("out", tmp_path),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / NAME).exists()
    with alone_in("out", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_holder_has_deleted_is_nobodys(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("a+") as file:
        (tmp_path / NAME).unlink()
        assert not folder_lock._taken(file, tmp_path / NAME)
        with alone_in("out", tmp_path):  # of whoever came next
            assert not folder_lock._taken(file, tmp_path / NAME)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"out=.*file: File exists; name another"), alone_in("out", tmp_path / "file"):
        pass
