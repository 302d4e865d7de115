from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import RunConfig
from sweeper.launch import books as books_module
from sweeper.launch.books import Books
from sweeper.tracking.run_folder import RunFolder, RunIdentity, RunState


class FakeView:
    def __init__(self) -> None:
        self.reachable = True
        self.published: list[str] = []
        self.closed: list[str] = []
        self.places: dict[str, Mapping[str, Any]] = {}

    def admit(self, folder: RunFolder, parent_run_id: str, place: Mapping[str, Any]) -> None:
        self.places[folder.run_id] = place

    def publish(self, folder: RunFolder, parent_run_id: str | None = None) -> bool:
        if self.reachable:
            self.published.append(folder.run_id)
        return self.reachable

    def finish_sweep(self, state: str, parent_run_id: str | None = None) -> None:
        self.closed.append(state)


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
def books(view: FakeView) -> Books:
    return Books(view, "parent")


def folder(root: Path, seed: int = 0) -> RunFolder:
    return RunFolder(root / str(seed))


def test_ended_run_is_published_once(tmp_path: Path, view: FakeView, books: Books) -> None:
    books.ended(folder(tmp_path))
    books.publish([])
    books.publish([])
    assert view.published == ["0"]


def test_a_run_has_its_place_in_the_sweep_before_anything_is_published(
    tmp_path: Path, view: FakeView, books: Books
) -> None:
    place = {"cell": {"peft": "lora"}, "trial": 3}
    view.reachable = False
    books.admitted(folder(tmp_path), place)
    assert (view.places, view.published) == ({"0": place}, [])


def test_live_runs_are_published_every_few_seconds(tmp_path: Path, view: FakeView, books: Books) -> None:
    for _ in range(100):
        books.publish([folder(tmp_path)])
    assert view.published == ["0"]


def test_outage_is_waited_out_and_nothing_is_lost(
    tmp_path: Path, view: FakeView, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    view.reachable = False
    books.ended(folder(tmp_path))
    books.publish([])
    view.reachable = True
    books.publish([])
    assert view.published == []
    now += books_module.OUTAGE_INTERVAL_S
    books.publish([])
    assert view.published == ["0"]


def test_close_tries_again_at_once_and_ends_the_sweep(tmp_path: Path, view: FakeView, books: Books) -> None:
    view.reachable = False
    books.ended(folder(tmp_path))
    books.publish([])
    view.reachable = True
    assert books.close(RunState.COMPLETE) == 0
    assert (view.published, view.closed) == (["0"], ["COMPLETE"])


def test_close_counts_what_could_not_be_published(tmp_path: Path, view: FakeView, books: Books) -> None:
    view.reachable = False
    for seed in range(3):
        books.ended(folder(tmp_path, seed))
    assert books.close(RunState.COMPLETE) == 3
    assert view.closed == []


def test_single_run_has_no_sweep_to_end(tmp_path: Path, view: FakeView) -> None:
    books = Books(view, None)
    books.ended(RunFolder.create(tmp_path, RunIdentity.of(RunConfig(), {"source": "x", "digest": "y"})))
    assert books.close(RunState.COMPLETE) == 0
    assert view.closed == []
