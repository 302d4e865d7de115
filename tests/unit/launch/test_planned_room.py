"""Groups that are formed once, and again as they were."""

from __future__ import annotations

from pathlib import Path

from sweeper.launch.devices import SlotPlan
from sweeper.launch.group import Waiting
from sweeper.launch.memory import MemoryLimits
from sweeper.launch.planned_room import PlannedRoom

RUNS = [Waiting(f"run{number:02d}", "key", float(number + 1)) for number in range(12)]
SLOTS = SlotPlan(2, None, 2, None)


def room(path: Path | None = None, *, slots: SlotPlan = SLOTS, runs: list[Waiting] = RUNS) -> PlannedRoom:
    made = PlannedRoom(4, MemoryLimits(), slots=slots, path=path)
    made.admit(*runs)
    return made


def ids(made: PlannedRoom) -> list[list[str]]:
    return [[family.longest.run_id for family in group.families] for group in made.form(num_slots=1)]


def test_groups_stay_as_they_are_while_runs_come_and_go() -> None:
    waiting = room()
    groups = ids(waiting)
    assert sorted(run_id for group in groups for run_id in group) == [run.run_id for run in RUNS]
    taken = waiting.form(num_slots=2)[0]
    for family in taken.families:
        waiting.take(family)
    assert ids(waiting) == groups[1:]
    waiting.admit(*[family.longest for family in taken.families][1:])
    again = ids(waiting)
    assert groups[0][1:] in again, "what is left of it, together"
    assert all(group in again for group in groups[1:])


def test_longest_group_comes_first() -> None:
    times = [group.time for group in room().form(num_slots=2)]
    assert times == sorted(times, reverse=True)


def test_interrupted_sweep_gets_its_groups_back(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "abc" / "groups.json"
    before = ids(room(path))
    done = {before[0][0], before[-1][0]}
    left = [run for run in RUNS if run.run_id not in done]
    after = ids(room(path, runs=left))
    remaining = [[run_id for run_id in group if run_id not in done] for group in before]
    assert sorted(after) == sorted(group for group in remaining if group)
    fresh = ids(room(runs=left))
    assert sorted(fresh) != sorted(after), "formed anew they would be others"


def test_other_cores_make_other_groups(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    room(path).form(num_slots=2)
    other = room(path, slots=SlotPlan(2, None, 8, None))
    assert other.planned == []
    assert {group.threads for group in other.form(num_slots=2)} == {4}


def test_smaller_groups_that_are_asked_for_are_made(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    assert max(map(len, ids(room(path)))) > 2
    smaller = PlannedRoom(2, MemoryLimits(), slots=SLOTS, path=path)
    smaller.admit(*RUNS)
    assert max(map(len, ids(smaller))) == 2


def test_group_that_lacked_memory_is_formed_again_smaller() -> None:
    waiting = room()
    largest = max(ids(waiting), key=len)
    waiting.memory.halve_group("key", len(largest))
    assert max(map(len, ids(waiting))) <= len(largest) // 2
    assert sum(map(len, ids(waiting))) == 12


def test_run_alone_leaves_its_group() -> None:
    waiting = room()
    first = ids(waiting)[0][0]
    run = waiting.runs[first]
    waiting.admit(Waiting(run.run_id, run.key, run.cost, alone=True))
    assert [first] in ids(waiting)
    assert sum(map(len, ids(waiting))) == 12


def test_new_runs_get_groups_of_their_own() -> None:
    waiting = room()
    before = ids(waiting)
    waiting.admit(Waiting("late", "key", 3.0))
    assert sorted(ids(waiting)) == sorted([*before, ["late"]])


def test_enough_is_asked_for_and_not_more_than_once() -> None:
    waiting = room()
    assert waiting.wanted(0) == 0
    assert waiting.wanted(1) > len(waiting.families)
    waiting.admit(*[Waiting(f"more{number}", "key", 1.0) for number in range(200)])
    assert waiting.wanted(1) == 0
