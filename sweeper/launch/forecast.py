"""What a sweep would cost, as text: runs, groups, minutes, memory, disk. Trains nothing, writes nothing.

Every figure is an estimate, and stands beside its error on runs that finished here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sweeper.config import Source
from sweeper.launch.devices import SlotPlan, plan_slots
from sweeper.launch.estimates import START_S, Estimates, RunEstimate
from sweeper.launch.footprint import GIB, Member
from sweeper.launch.group import DataSize, Waiting, estimated_cost, group_key, num_parameters
from sweeper.launch.machine import Machine
from sweeper.launch.past_runs import kind_of, past_runs
from sweeper.launch.planned import HUB_ROWS, Fate, Planned, PlannedRun, data_size, plan_runs
from sweeper.launch.planned_room import LOOKAHEAD, knows_its_runs
from sweeper.launch.remedy import TooLarge
from sweeper.launch.text_sample import texts_of
from sweeper.launch.timetable import Job, Timetable, timetable
from sweeper.launch.workload import Text
from sweeper.search.study import Sweep

MAX_SHOWN = 6  # kinds of groups

Data = tuple[DataSize, Mapping[str, Text]]  # rows; split -> its texts


def forecast_text(sweep: Sweep, machine: Machine | None = None) -> str:
    """`machine`: measured unless given."""
    return "\n".join(Forecast.of(sweep, machine).lines())


@dataclass(frozen=True)
class Forecast:
    sweep: Sweep
    planned: Planned
    slots: SlotPlan
    estimates: Estimates
    texts: dict[tuple[str, str], dict[str, Text]]

    @classmethod
    def of(cls, sweep: Sweep, machine: Machine | None = None) -> Forecast:
        planned, output_dir = plan_runs(sweep), Path(sweep.base.output_dir)
        to_train = max(1, planned.count(Fate.TRAINED))
        slots = plan_slots(sweep.launcher, num_runs=to_train, num_parameters=num_parameters(sweep.base))
        texts = {}
        for cell in sweep.space.cells:
            config = sweep.config(cell, {})
            source = sweep.data.source(config)
            if (key := (config.task.name, source.kind.value)) not in texts:
                texts[key] = texts_of(source, config.task)
        estimates = Estimates(machine or Machine.measured(slots, output_dir), past_runs(output_dir), texts)
        return cls(sweep, planned, slots, estimates, texts)

    def lines(self) -> Iterator[str]:
        yield f"  runs    {self._runs()}"
        if self.trained:
            yield f"  groups  {self._groups()}"
            yield f"  time    {self._time()}"
            yield f"  memory  {self._memory()}"
        yield f"  disk    {self._disk()}"
        if (minutes := self.sweep.base.budget.minutes) is not None:
            fitting = sum(at <= minutes * 60 for at in self.times.asked_at)
            yield f"  budget  {minutes:g} minutes: about {fitting} of {len(self.planned.trials)} trials"
        yield from self._notes()
        yield from self._warnings()

    @cached_property
    def trained(self) -> dict[str, PlannedRun]:
        return {run.name: run for run in self.planned.runs if run.fate is Fate.TRAINED}

    @cached_property
    def data(self) -> dict[str, Data]:
        """Run -> what it reads; the same for the replicates of a trial."""
        found: dict[str, Data] = {}
        for trial in self.planned.trials:
            config = trial[0].config
            texts = self.texts[config.task.name, self.sweep.data.source(config).kind.value]
            found |= dict.fromkeys([run.name for run in trial], (data_size(self.sweep, config), texts))
        return found

    @cached_property
    def runs(self) -> dict[str, RunEstimate]:
        """Of those that are trained."""
        return {name: self.estimates.run(run.config, *self.data[name]) for name, run in self.trained.items()}

    @cached_property
    def times(self) -> Timetable:
        trials = [[self._job(run) for run in trial if run.fate is Fate.TRAINED] for trial in self.planned.trials]
        return timetable(
            trials, num_slots=self.slots.num_slots, max_group=self.sweep.launcher.max_group, start_s=START_S,
            lookahead=LOOKAHEAD if knows_its_runs(self.sweep) else 0,
        )  # fmt: skip

    @cached_property
    def groups(self) -> dict[str, tuple[list[str], float]]:
        """Model and method -> its group that takes the most memory, and how many bytes."""
        largest: dict[str, tuple[list[str], float]] = {}
        for names in self.times.groups:
            config, needed = self.trained[names[0]].config, self.estimates.group_bytes(self._members(names))
            kind = f"{config.model.name} {config.peft.get('name', 'none')}"
            if needed > largest.get(kind, ([], 0.0))[1]:
                largest[kind] = (names, needed)
        return largest

    def _job(self, run: PlannedRun) -> Job:
        size, estimate = self.data[run.name][0], self.runs[run.name]
        waiting = Waiting(run.name, group_key(run.config), estimated_cost(run.config, size))
        return Job(waiting, estimate.train_s, estimate.load_s)

    def _members(self, names: Sequence[str]) -> list[Member]:
        return [self.runs[name].member for name in names]

    @cached_property
    def _kinds(self) -> set[str]:
        return {kind_of(run.config) for run in self.trained.values()}

    def _runs(self) -> str:
        planned = self.planned
        parts = [f"{planned.count(Fate.TRAINED)} to train"]
        if number := planned.count(Fate.REUSED):
            parts.append(f"{number} reused: complete on disk")
        if number := planned.count(Fate.SHARED):
            parts.append(f"{number} shared: read from a run of more epochs")
        if planned.num_finished:
            parts.append(f"{planned.num_finished} of {self.sweep.num_trials} trials finished before")
        return "; ".join(parts)

    def _groups(self) -> str:
        sizes = Counter(map(len, self.times.groups))
        shapes = [f"{count} of {count_of(number, 'run')}" for number, count in sorted(sizes.items(), reverse=True)]
        return f"{', '.join(shapes)}; {self.slots.description}"

    def _time(self) -> str:
        bound = "at most " if self.sweep.prunes_by is not None else ""
        return f"{bound}{duration(self.times.seconds)} ({self.estimates.seconds.error(self._kinds).in_words})"

    def _memory(self) -> str:
        shown = [f"{kind} {size(needed)}" + (f" in a group of {len(names)}" if len(names) > 1 else "")
                 for kind, (names, needed) in list(self.groups.items())[:MAX_SHOWN]]  # fmt: skip
        free = self.estimates.machine.device.free_bytes
        has = "what a slot has is not known" if free is None else f"a slot has {size(free)}"
        error = self.estimates.memory.error(self._kinds).in_words.replace("a guess from FLOPs", "a guess from sizes")
        return f"{', '.join(shown)}; {has} ({error})"

    def _disk(self) -> str:
        kept, training = self._disk_bytes()
        while_training = f", {size(training)} more while training" if training else ""
        return f"{size(kept)}{while_training}; {size(self.estimates.machine.free_disk)} free"

    def _disk_bytes(self) -> tuple[float, float]:
        """Of all folders in the end, and of the checkpoints of the groups that train at a time."""
        at_a_time = sorted((sum(self.runs[name].checkpoint_bytes for name in names) for names in self.times.groups),
                           reverse=True)  # fmt: skip
        return sum(run.disk_bytes for run in self.runs.values()), sum(at_a_time[: self.slots.num_slots])

    def _notes(self) -> Iterator[str]:
        if number := sum(run.is_confirmation for run in self.planned.runs):
            yield f"  note    {number} of the runs are the best points on fresh seeds"
        if self.planned.has_unknown_points:
            yield "  note    the sampler's points are not known: the middle of each cell's space stands for them"
        if self.sweep.prunes_by is not None:
            yield "  note    pruned runs end earlier"
        if any(source == Source.HUB.value for _, source in self.texts):
            yield f"  note    of the hub's data {HUB_ROWS:,} rows of a paragraph are assumed until it is here"
        if any(not run.member.shape.is_exact for run in self.runs.values()):
            yield "  note    without the model's files its sizes are guessed from model.num_parameters"

    def _warnings(self) -> Iterator[str]:
        free = self.estimates.machine.device.free_bytes
        for kind, (names, needed) in self.groups.items():
            if free is not None and needed > free:
                yield f"  WARNING {self._too_large(kind, names)} {size(needed)} of memory, {self._remedy(names, free)}"
        needed, there = sum(self._disk_bytes()), self.estimates.machine.free_disk
        if needed > there:
            yield (f"  WARNING the runs take {size(needed)} of disk, {self.sweep.base.output_dir} has {size(there)}; "
                   "free some, or set output_dir=<folder>")  # fmt: skip

    def _too_large(self, kind: str, names: Sequence[str]) -> str:
        values = self.trained[names[0]].cell.values
        cell = f" ({', '.join(f'{key}={value}' for key, value in values.items())})" if values else ""
        return f"{kind}{cell}: {f'a group of {len(names)} runs' if len(names) > 1 else 'a run'} takes"

    def _remedy(self, names: Sequence[str], free: float) -> str:
        """For the most demanding runs that could make up such a group: another cut may put them together."""
        key = group_key(self.trained[names[0]].config)
        kind = [name for name, run in self.trained.items() if group_key(run.config) == key]
        most = sorted(kind, key=lambda name: self.estimates.group_bytes(self._members([name])), reverse=True)
        large = TooLarge(self._members(most[: len(names)]), *self.data[most[0]])
        return f"a slot has {size(free)}; {large.remedy(self.estimates, free, self.slots.num_slots)}"


def duration(seconds: float) -> str:
    """Two digits of minutes, or of hours."""
    minutes = seconds / 60
    return f"{rounded(minutes)} minutes" if minutes < 120 else f"{rounded(minutes / 60)} hours"


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def size(num_bytes: float) -> str:
    return f"{rounded(num_bytes / GIB)} GiB" if num_bytes >= 0.1 * GIB else f"{rounded(num_bytes / 2**20)} MiB"


def rounded(value: float) -> str:
    """To two digits, without an exponent."""
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):,.{max(0, digits)}f}"
