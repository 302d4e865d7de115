"""Where results may be kept: which tracking URIs and folders work, known before MLflow is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from sweeper.checks import ConfigError
from sweeper.tracking.mlflow_database import SQLITE

SQLITE_HEADER = b"SQLite format 3\x00"


def check(uri: str) -> None:
    """Raises ConfigError for an address that MLflow, or the file system, would refuse once the runs are trained."""
    fix = f"use {SQLITE}<folder>/mlflow.db, or http://<host>:<port> of an MLflow server"
    if uri.startswith(SQLITE):
        name = uri.removeprefix(SQLITE)
        check_folder("tracking_uri", uri, Path(name).parent)
        _check_database(uri, name, fix)
        return
    scheme = uri.partition(":")[0] if ":" in uri else ""
    if scheme not in ("http", "https"):
        is_folder = scheme in ("", "file")
        rule = "MLflow keeps runs in plain folders no more" if is_folder else "neither an SQLite file nor a server"
        raise ConfigError("tracking_uri", uri, rule, fix)
    if not _names_a_host(uri):
        raise ConfigError("tracking_uri", uri, "names no server", fix)


def check_output(folder: Path, databases: Iterable[str]) -> None:
    """Raises ConfigError for a folder that can't be used, or that holds something else under a database's name."""
    check_folder("output_dir", folder, folder)
    for name in databases:
        if not _may_be_database(folder / name):
            raise ConfigError("output_dir", folder, f"{name} in it is no SQLite database", "move it away")


def check_folder(key: str, value: object, folder: Path) -> None:
    """Raises ConfigError where the folder is not there and can't be made, or can't be written to."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    except OSError as error:  # a name that the file system cannot even look up
        raise ConfigError(key, value, str(error.strerror), "name another folder") from error
    if not there.is_dir():
        raise ConfigError(key, value, f"{there} is a file", "name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(key, value, f"{there} cannot be written to", "name another folder")


def _check_database(uri: str, name: str, fix: str) -> None:
    path = Path(name)
    if not name or path.is_dir():
        raise ConfigError("tracking_uri", uri, "names no database file", fix)
    if not _may_be_database(path):
        raise ConfigError("tracking_uri", uri, "this file is no SQLite database", "name another file")


def _may_be_database(path: Path) -> bool:
    """One, or what will become one: nothing yet, or an empty file."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER)) in (SQLITE_HEADER, b"")


def _names_a_host(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
