"""When the runs of a sweep would train, and with whom: the coordinator's rules, played through without training.

Runs that join a group in training are left out: groups take whoever waits when a slot is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeper.launch.group import Waiting, form_groups, shared_time


@dataclass(frozen=True)
class Job:
    """A run to train: how long it would take alone, and to load what it needs."""

    waiting: Waiting
    train_s: float
    load_s: float


@dataclass
class Timetable:
    groups: list[list[str]] = field(default_factory=list)  # run ids, in the order in which they start
    seconds: float = 0.0  # until the last group ends
    asked_at: list[float] = field(default_factory=list)  # of each trial, seconds


def timetable(
    trials: Sequence[Sequence[Job]], *, num_slots: int, max_group: int, start_s: float, lookahead: int = 0
) -> Timetable:
    """`trials` in the order in which they are asked: as slots become free, but `lookahead` runs at least."""
    jobs = {job.waiting.run_id: job for trial in trials for job in trial}
    waiting: dict[str, Waiting] = {}
    left, busy, made, now = list(reversed(trials)), list[float](), Timetable(), start_s  # busy: when each slot ends
    while left or waiting or busy:
        num_free = num_slots - len(busy)
        while left and len(waiting) < max(num_free * max_group, lookahead):
            waiting |= {job.waiting.run_id: job.waiting for job in left.pop()}
            made.asked_at.append(now)
        at_hand = form_groups(list(waiting.values()), num_slots=num_free if left else num_slots, max_group=max_group)
        for group in at_hand[:num_free]:
            members = [waiting.pop(run.run_id).run_id for run in group.runs]
            made.groups.append(members)
            busy.append(now + group_seconds([jobs[run_id] for run_id in members]))
        made.seconds = now = min(busy, default=now)
        busy = [end for end in busy if end > now]
    return made


def group_seconds(members: Sequence[Job]) -> float:
    """They load together, and train in one forward."""
    return max(job.load_s for job in members) + shared_time(sorted((job.train_s for job in members), reverse=True))
