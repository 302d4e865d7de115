from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper.tracking.link_tree import link_tree


def test_files_are_shown_in_the_second_place_without_a_copy(tmp_path: Path) -> None:
    (tmp_path / "a" / "adapter").mkdir(parents=True)
    (tmp_path / "a" / "adapter" / "weights").write_text("w")
    link_tree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "adapter" / "weights").samefile(tmp_path / "a" / "adapter" / "weights")


def test_a_second_time_replaces_and_keeps_what_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").write_text("new")
    (tmp_path / "b" / "x").write_text("old")
    (tmp_path / "b" / "traceback.txt").write_text("kept")
    link_tree(tmp_path / "a", tmp_path / "b")
    assert {file.name: file.read_text() for file in (tmp_path / "b").iterdir()} == {"x": "new", "traceback.txt": "kept"}


def test_where_links_are_not_possible_it_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    link_tree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "x").read_text() == "1"
