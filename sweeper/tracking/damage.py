"""What a disk or a person does to our files: damaged ones, and ones that can no longer be written.

They are written whole, so a kill does not tear them.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path
from typing import Any

from sweeper.atomic_json import read_json
from sweeper.checks import ConfigError

NO_ERROR_OF_OURS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
    errno.EMFILE, errno.ENFILE, errno.ENOENT,
})  # fmt: skip
SQLITE_REFUSES = ("is full", "readonly", "unable to open", "disk I/O", "is locked")


class DamagedFile(ConfigError):
    """Nobody may guess what it said: a person decides."""

    def __init__(self, path: Path, what: str, fix: str) -> None:
        super().__init__("file", path, f"damaged, {what}", fix)


def refusal(error: BaseException | None) -> str | None:
    """What the file system refuses (it is full, read-only, or a folder is gone): one line. None for other errors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ERROR_OF_OURS:
            return f"{error.filename or 'a file'}: {error.strerror}"
        if isinstance(error, sqlite3.OperationalError) and any(text in str(error) for text in SQLITE_REFUSES):
            return f"a database: {error}"
        error = error.__cause__
    return None


def check_database(path: Path, fix: str) -> None:
    """Raises DamagedFile. SQLite itself finds a torn page only when it comes to read it, in the midst of a sweep."""
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise DamagedFile(path, found.splitlines()[-1], fix)


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """Raises DamagedFile for anything but a JSON object."""
    try:
        found = read_json(path)
    except ValueError as error:
        raise DamagedFile(path, str(error), fix) from error
    if not isinstance(found, dict):
        raise DamagedFile(path, "not a JSON object", fix)
    return found
