"""What is said of a file that was written whole and is no more."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.config import RunConfig
from sweeper.launch.devices import SlotPlan
from sweeper.launch.memory import MemoryLimits
from sweeper.launch.planned_room import PlannedRoom
from sweeper.tracking.damage import check_database, refusal
from sweeper.tracking.published import Published
from sweeper.tracking.run_folder import RunFolder, RunIdentity

DAMAGED = ["", "{", '{"a": {"max_gro', "[]", "\x00\x00"]


@pytest.mark.parametrize("content", [*DAMAGED, '{"a": {"other": 1}}'])
def test_what_a_sweep_learnt_about_memory_is_one_line_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "memory.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"memory\.json: damaged, .*; delete it"):
        MemoryLimits.open(path)


@pytest.mark.parametrize("content", [*DAMAGED, "{}", '{"cores": 2, "threads": null, "groups": [{"runs": []}]}'])
def test_groups_of_a_sweep_are_one_line_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "groups.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"groups\.json: damaged, .*; delete it"):
        PlannedRoom(2, MemoryLimits(), slots=SlotPlan(1, None, 2, None), path=path)


def run_folder(root: Path) -> RunFolder:
    return RunFolder.create(root, RunIdentity.of(RunConfig(), {"source": "files", "digest": "d" * 64}))


@pytest.mark.parametrize("content", DAMAGED)
def test_identity_of_a_run_is_one_line_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = run_folder(tmp_path).path
    (path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"run\.json: damaged, .*; move .* away"):
        _ = RunFolder.open(path).identity


def test_what_mlflow_has_is_sent_again_where_nobody_knows_how_much_that_was(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    published = Published("1f", offset=7, store="a")
    published.save(folder)
    assert Published.of(folder, "a") == published
    (folder.path / "published.json").write_text('{"mlflow_run')
    assert Published.of(folder, "a") == Published(store="a")


def test_torn_page_of_a_database_is_found_before_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    check_database(path, "")  # none yet
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table numbers (number text)")
        connection.executemany("insert into numbers values (?)", [("1" * 100,)] * 1000)
        connection.commit()
    check_database(path, "")
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(ConfigError, match=r"mlflow\.db: damaged, .*; move it away"):
        check_database(path, "move it away")


def test_what_the_file_system_refuses_is_told_from_errors_of_the_program() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/results/optuna.db")
    assert refusal(full) == "/results/optuna.db: No space left on device"
    wrapped = RuntimeError("the storage could not be written")
    wrapped.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert refusal(wrapped) == "a database: database or disk is full"
    slip = KeyError("a slip of ours, met while a file was looked for")
    slip.__context__ = FileNotFoundError(errno.ENOENT, "No such file", "x")
    assert refusal(slip) is None
    assert refusal(sqlite3.OperationalError("no such column: x")) is None
