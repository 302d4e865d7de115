from __future__ import annotations

import pytest

from sweeper.launch.group import SHARING_EXPONENT, Waiting
from sweeper.launch.timetable import Job, group_seconds, timetable


def job(name: str, seconds: float, *, key: str = "one", load_s: float = 0.0) -> Job:
    return Job(Waiting(name, key, seconds), seconds, load_s)


def test_a_run_takes_its_start_its_loading_and_its_training() -> None:
    made = timetable([[job("a", 60, load_s=5)]], num_slots=1, max_group=8, start_s=10)
    assert (made.groups, made.seconds, made.asked_at) == ([["a"]], 75, [10])


def test_runs_of_a_group_load_once_and_share_their_forwards() -> None:
    members = [job("a", 100, load_s=5), job("b", 100, load_s=3)]
    assert group_seconds(members) == pytest.approx(5 + 100 * 2**SHARING_EXPONENT)


def test_runs_that_share_nothing_are_dealt_to_the_slots() -> None:
    jobs = [[job(str(number), 10, key=str(number))] for number in range(5)]
    made = timetable(jobs, num_slots=2, max_group=8, start_s=0)
    assert made.seconds == 30
    assert len(made.groups) == 5


def test_trials_are_asked_as_slots_become_free() -> None:
    made = timetable([[job(str(number), 10)] for number in range(6)], num_slots=1, max_group=2, start_s=0)
    each = 10 * 2**SHARING_EXPONENT
    assert made.asked_at == pytest.approx([0, 0, each, each, 2 * each, 2 * each])
    assert made.seconds == pytest.approx(3 * each)


def test_no_slot_is_used_twice_at_a_time() -> None:
    jobs = [[job("long", 100, key="a")], [job("b", 10, key="b")], [job("c", 10, key="c")], [job("d", 10, key="d")]]
    assert timetable(jobs, num_slots=2, max_group=1, start_s=0).seconds == 100
    assert timetable(jobs, num_slots=1, max_group=1, start_s=0).seconds == 130


def test_trials_whose_runs_all_exist_take_no_time() -> None:
    made = timetable([[], [], [job("a", 10)]], num_slots=2, max_group=8, start_s=1)
    assert (made.seconds, len(made.asked_at)) == (11, 3)


def test_known_runs_are_at_hand_from_the_start() -> None:
    jobs = [[job(str(number), seconds)] for number, seconds in enumerate([10, 10, 10, 10, 40])]
    streamed = timetable(jobs, num_slots=2, max_group=1, start_s=0)
    known = timetable(jobs, num_slots=2, max_group=1, start_s=0, lookahead=256)
    assert known.groups[0] == ["4"], "the longest first"
    assert (known.seconds, streamed.seconds) == (40, 60)
