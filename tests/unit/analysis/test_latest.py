"""A sweep that went on with changed code has two runs of a replicate; one of them counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from analysis.load import Run, latest
from tests.made_up_runs import run, table


def member(run_id: str, started_ms: int, accuracy: float | None = 0.8, **changes: Any) -> Run:
    return replace(run(accuracy=accuracy, **changes), run_id=run_id, started_ms=started_ms)


def interrupted(run_id: str, started_ms: int, **changes: Any) -> Run:
    return member(run_id, started_ms, None, state="KILLED", reason="killed", **changes)


def ids(*runs: Run) -> list[str]:
    return [one.run_id for one in latest(runs)]


def test_what_took_the_place_of_an_interrupted_run_counts_alone() -> None:
    runs = [interrupted("old", 1), member("other", 2, seed=1), member("new", 3)]
    assert ids(*runs) == ["other", "new"]
    assert not any("old" in note for note in table(latest(runs)).notes)


def test_of_two_with_an_end_the_later_counts_and_one_with_an_end_before_one_without() -> None:
    assert ids(member("old", 1), member("new", 2, None, state="FAILED", reason="diverged")) == ["new"]
    assert ids(member("back again", 1), interrupted("between", 2)) == ["back again"]
    assert ids(interrupted("old", 1), interrupted("new", 2)) == ["new"]


def test_a_retry_has_another_trial_and_a_changed_default_another_point() -> None:
    assert ids(member("old", 1, None, state="FAILED", trial=3), member("new", 2, trial=7)) == ["new"]
    assert ids(interrupted("old", 1, rate="0.1", trial=3), member("new", 2, rate="0.2", trial=3)) == ["new"]


def test_replicates_cells_points_and_fresh_seeds_stay() -> None:
    runs = [member("a", 1), member("b", 1, seed=1), member("c", 1, size=1000), member("d", 1, rate="0.1", trial=1),
            member("e", 1, confirms=0)]  # fmt: skip
    assert ids(*runs) == list("abcde")
