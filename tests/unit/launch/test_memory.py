"""What a sweep learns about memory, and keeps."""

from __future__ import annotations

from pathlib import Path

from sweeper.launch.memory import Limit, MemoryLimits


def test_nothing_is_limited_before_memory_was_short() -> None:
    assert MemoryLimits().of("key") == Limit(None, 1.0)


def test_group_is_halved_and_never_grows_back() -> None:
    memory = MemoryLimits()
    assert memory.halve_group("key", 8) == 4
    assert memory.halve_group("key", 6) == 3
    assert memory.halve_group("key", 8) == 3, "a group that began before the limit was learnt"
    assert memory.of("other") == Limit()


def test_share_is_halved_for_runs_alone() -> None:
    memory = MemoryLimits()
    assert [memory.halve_share("key") for _ in range(3)] == [0.5, 0.25, 0.125]
    assert memory.of("key") == Limit(1, 0.125)


def test_what_was_learnt_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "abc" / "memory.json"
    MemoryLimits.open(path).halve_group("a long key of a group", 8)
    again = MemoryLimits.open(path)
    again.halve_share("another")
    assert MemoryLimits.open(path).of("a long key of a group") == Limit(4, 1.0)
    assert MemoryLimits.open(path).of("another") == Limit(1, 0.5)
