from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.tracking.mlflow_database import open_client
from sweeper.tracking.mlflow_view import MlflowView

pytestmark = pytest.mark.integration
OPEN = "import sys; from sweeper.tracking.mlflow_view import MlflowView; MlflowView(None, sys.argv[1])"


def test_two_processes_that_open_a_fresh_store_at_once_both_get_it(tmp_path: Path, repository: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(tmp_path)], cwd=repository, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")  # and nothing was narrated
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert not list(tmp_path.glob(".mlflow-*"))  # what was made aside is gone


def test_a_store_of_another_mlflow_version_is_one_line_with_the_fix(view: MlflowView, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    source = sqlite3.connect(view.tracking_uri.removeprefix("sqlite:///"))
    target = sqlite3.connect(database)
    source.backup(target)
    target.execute("UPDATE alembic_version SET version_num = '90e64c465722'")
    target.commit()
    source.close()
    target.close()
    with pytest.raises(ConfigError, match=r"out-of-date database schema.*mlflow db upgrade"):
        open_client(f"sqlite:///{database}", tmp_path / "artifacts")
