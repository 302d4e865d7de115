"""Who shares a forward, who is read from whom, who joins."""

from __future__ import annotations

import pytest

from sweeper.launch.group import Waiting
from sweeper.launch.memory import MemoryLimits
from sweeper.launch.waiting_room import Formed, WaitingRoom


def room(*runs: Waiting, max_group: int = 8) -> WaitingRoom:
    made = WaitingRoom(max_group, MemoryLimits())
    made.admit(*runs)
    return made


def ids(groups: list[Formed]) -> list[list[str]]:
    return [[family.longest.run_id for family in group.families] for group in groups]


def test_longest_of_a_family_is_trained_and_the_others_are_read() -> None:
    runs = [Waiting(f"e{epochs}", "key", epochs, "one", epochs) for epochs in (1, 50, 10)]
    families = room(*runs, Waiting("single", "key", 5.0)).families
    assert list(families) == ["e50", "single"]
    assert [run.run_id for run in families["e50"].shorter] == ["e10", "e1"]


def test_run_alone_shares_no_forward() -> None:
    runs = [Waiting(str(number), "key", 1.0, alone=number == 2) for number in range(4)]
    groups = ids(room(*runs).form(num_slots=1))
    assert ["2"] in groups
    assert sorted(run_id for group in groups for run_id in group) == ["0", "1", "2", "3"]


def test_memory_limits_hold_for_groups_and_for_places() -> None:
    waiting = room(*[Waiting(str(number), "key", 1.0) for number in range(8)])
    waiting.memory.halve_group("key", 8)
    assert [len(group.families) for group in waiting.form(num_slots=1)] == [4, 4]
    members = [Waiting("a", "key", 1.0)]
    assert waiting.place_left(members) == 3
    assert waiting.place_left([Waiting("a", "key", 1.0, alone=True)]) == 0
    assert waiting.place_left([]) == 0


@pytest.mark.parametrize(("left", "others", "joins"), [
    ([10.0], [[10.0]], "long"),  # nothing is free before ten
    ([10.0], [], "long"),  # the only slot
    ([10.0], [[14.0]], "long"),
    ([100.0], [[1.0]], None),  # it would lengthen the long group for nothing: the other slot is free at once
])  # fmt: skip
def test_longest_run_that_gains_by_it_joins(left: list[float], others: list[list[float]], joins: str | None) -> None:
    waiting = room(Waiting("long", "key", 9.0), Waiting("short", "key", 0.1), Waiting("other", "another", 1.0))
    joiner = waiting.joiner([Waiting("member", "key", 100.0)], left, others)
    assert (joiner.longest.run_id if joiner else None) == joins


def test_held_run_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = room()
    run = Waiting("a", "key", 1.0)
    waiting.hold(run)
    assert "a" in waiting
    assert waiting.due() == []
    monkeypatch.setattr("sweeper.launch.waiting_room.HELD_S", 0.0)
    waiting.hold(run)
    assert waiting.due() == [run]
    assert "a" not in waiting
