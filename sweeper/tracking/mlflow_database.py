"""Opens MLflow's database, creating it whole or not at all.

Owns the SQLite file, the lock around its creation and MLflow's process-wide settings; what goes into it
is `mlflow_view`'s business.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.checks import ConfigError
from sweeper.tracking.damage import check_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


def default_uri(output_dir: Path) -> str:
    return f"{SQLITE}{output_dir.resolve() / 'mlflow.db'}"


def open_client(tracking_uri: str, artifact_root: Path) -> MlflowClient:
    """Imports MLflow (1.5 s) and, the first time, makes the database (2 to 8 s).

    Raises ConfigError for an unusable URI or a database of another MLflow version.
    """
    # Before the import: MLflow reads them there. setdefault, so that a person's own choice stands.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the run folder keeps what the server missed
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # of every run of a server
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if tracking_uri.startswith(SQLITE):
        _create_once(Path(tracking_uri.removeprefix(SQLITE)), artifact_root)
    try:
        return MlflowClient(tracking_uri=tracking_uri)
    except MlflowException as error:
        fix = f"back it up, then `mlflow db upgrade {tracking_uri}`" if "schema" in str(error) else "check the address"
        raise ConfigError("tracking_uri", tracking_uri, str(error).split(". ")[0], fix) from error


def _create_once(database: Path, artifact_root: Path) -> None:
    """One process migrates a fresh database under a lock, aside, and moves it into place when it is whole."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database.exists() and database.stat().st_size > 0:
            check_database(database, "move it away: every run is sent again from its folder")
            return
        with tempfile.TemporaryDirectory(dir=database.parent, prefix=".mlflow-") as folder:
            fresh = Path(folder) / "fresh.db"
            _migrate(fresh, artifact_root)
            for log in ("-wal", "-shm"):  # of a deleted database: SQLite would play them into the new one
                database.with_name(database.name + log).unlink(missing_ok=True)
            os.replace(fresh, database)


def _migrate(database: Path, artifact_root: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _quiet("mlflow.store.db.utils", "alembic"), _without_syncs(database):
        store = SqlAlchemyStore(f"{SQLITE}{database}", str(artifact_root.resolve()))  # type: ignore[no-untyped-call]
    store.engine.dispose()
    # Readers (the UI, a table) and the writer don't wait for each other; the mode is kept in the file.
    connection = sqlite3.connect(database)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    finally:
        connection.close()  # the last connection folds the write-ahead log back into the one file
    assert mode == "wal", mode
    with database.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _without_syncs(database: Path) -> Iterator[None]:
    """Sixty migrations wait for the disk hundreds of times: 8 s instead of 3 s on a busy one.

    Safe while the file lies aside: a power cut leaves one that nobody looks at.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection: sqlite3.Connection, _: object) -> None:
        opened = connection.execute("PRAGMA database_list").fetchone()[2]
        if Path(opened).name == database.name and Path(opened).samefile(database):  # the listener sees every engine
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA journal_mode=MEMORY")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """MLflow and alembic narrate sixty migrations at INFO."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
