from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper.atomic_json import read_json, write_json


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": [1, None, 0.1]})
    assert read_json(tmp_path / "a.json") == {"ü": [1, None, 0.1]}


def test_a_kill_before_the_rename_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"version": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"version": 2})
    assert read_json(path) == {"version": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_what_json_cannot_spell_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("inf"))
    assert list(tmp_path.iterdir()) == []
