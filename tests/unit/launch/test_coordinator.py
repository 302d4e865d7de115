"""The loop over fakes of everything around it: a sweep that is a list, slots that train in place."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweeper.config import RunConfig
from sweeper.launch.books import Books
from sweeper.launch.coordinator import Coordinator
from sweeper.launch.devices import SlotPlan
from sweeper.launch.group import DataSize, Waiting
from sweeper.launch.memory import MemoryLimits
from sweeper.launch.planned_room import PlannedRoom
from sweeper.launch.progress import PlainProgress
from sweeper.launch.retry import FirstErrors, Retries, SameError
from sweeper.launch.run_lock import RunLock
from sweeper.launch.slots import Busy, Ended, GroupSettings, Judged, Slot
from sweeper.launch.stop import Stop, Stopped
from sweeper.launch.waiting_room import WaitingRoom
from sweeper.launch.watchdog import Watchdog
from sweeper.search.options import LauncherOptions
from sweeper.search.study import RunResult, TrialRuns
from sweeper.tracking.run_folder import RunFolder, RunIdentity
from sweeper.training.control import Assignment, Departure

LORA = {"name": "lora", "method": "adapter", "type": "LORA"}
DATA = {"source": "files", "digest": "d" * 64}


@dataclass
class FakeSweep:
    """Trials in the order given, each a list of (seed, what the run does)."""

    trials: Sequence[Sequence[tuple[int, Any]]]
    launcher: LauncherOptions = field(default_factory=lambda: LauncherOptions(max_group=2))
    objectives: list[str] = field(default_factory=lambda: ["eval/accuracy"])
    num_failed: int = 0
    num_left_failed: int = 0
    cell: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    told: dict[int, list[RunResult]] = field(default_factory=dict)
    prunes_by: str | None = None
    worst: float = 0.0  # a reported value below it prunes the trial
    reported: list[tuple[int, int, int, float]] = field(default_factory=list)  # trial, replicate, step, value
    sweep_id: str = "5eed5eed00"
    objective: str = "eval/accuracy"
    base: RunConfig = field(default_factory=RunConfig)

    def report(self, trial: TrialRuns, replicate: int, step: int, value: float) -> str | None:
        self.reported.append((trial.number, replicate, step, value))
        return f"hopeless at step {step}" if value < self.worst else None

    def renew(self) -> None: ...

    def store_pareto(self) -> None: ...

    def notes_so_far(self) -> list[str]:
        return []

    def missing(self) -> dict[str, int]:
        return {"train_size=100": len(self.trials) - len(self.told)} if len(self.told) < len(self.trials) else {}

    def ask(self) -> TrialRuns | None:
        if self.asked == len(self.trials):
            return None
        trial = self.trials[self.asked]
        self.asked += 1
        runs = tuple(RunConfig(seed=seed, peft=dict(LORA)) for seed, _ in trial)
        return TrialRuns("study", self.asked - 1, {"does": [does for _, does in trial]}, self.cell, runs)

    def tell(self, trial: TrialRuns, results: Sequence[RunResult]) -> None:
        assert trial.number not in self.told
        self.told[trial.number] = list(results)

    def states(self) -> dict[int, list[str]]:
        return {number: [str(result.state) for result in results] for number, results in self.told.items()}


@dataclass
class FakeRuns:
    root: Path
    costs: Mapping[int, float] = field(default_factory=dict)  # by seed
    families: Mapping[int, tuple[str, float]] = field(default_factory=dict)  # seed -> family and epochs
    keys: Mapping[int, str] = field(default_factory=dict)  # seed -> group key

    def waiting(self, run_id: str, config: RunConfig) -> Waiting:
        family, epochs = self.families.get(config.seed, (None, 0.0))
        return Waiting(
            run_id, self.keys.get(config.seed, "key"), self.costs.get(config.seed, 1.0), family, epochs, examples=4
        )

    def data(self, _: RunConfig) -> Any:
        return SimpleNamespace(size=DataSize(1000, 100, 100))

    def folder(self, trial: TrialRuns, replicate: int) -> RunFolder:
        params = {"does": trial.params["does"][replicate]}
        return RunFolder.create(self.root, RunIdentity.of(trial.runs[replicate], DATA, params=params))


@dataclass
class FakeSlots:
    """Trains a group when it is waited for."""

    plan: SlotPlan
    slots: list[Slot] = field(init=False)
    trained: list[list[str]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    verdicts: list[dict[str, str]] = field(default_factory=list)  # run id -> why it leaves
    told_to_leave: dict[str, Departure] = field(default_factory=dict)
    stopped: bool = False

    def __post_init__(self) -> None:
        self.slots = [Slot(number) for number in range(self.plan.num_slots)]

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.assignments]

    @property
    def busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.assignments]

    def training(self, run_id: str) -> Slot | None:
        return next((slot for slot in self.busy if run_id in slot.run_ids), None)

    def train(self, slot: Slot, assignments: Sequence[Assignment], settings: GroupSettings) -> None:
        assert settings.threads >= 1
        slot.assignments = list(assignments)
        self.trained.append(slot.trained_ids)
        self.shares.append(settings.memory_share)

    def join(self, slot: Slot, assignment: Assignment) -> None:
        slot.assignments.append(assignment)
        self.joined.append(assignment.folder.run_id)

    def leave(self, slot: Slot, departures: Mapping[str, Departure]) -> None:
        assert set(departures) <= set(slot.run_ids)
        self.told_to_leave |= departures

    def verdict(self, slot: Slot, departures: Mapping[str, Departure]) -> None:
        self.verdicts.append({run_id: departure.detail for run_id, departure in departures.items()})

    def kill(self, slot: Slot, why: str) -> None:
        slot.doomed = why

    def wait(self, _: float) -> list[Ended]:
        slot = self.busy[0]
        assignments, run_ids, slot.assignments = slot.assignments, slot.run_ids, []
        if slot.doomed is not None:
            return [Ended(run_ids, slot.doomed, doomed=True)]
        death = short = None
        folders = [folder for assignment in assignments for folder in (assignment.folder, *assignment.readings)]
        for folder in folders:
            folder.started(slot.number)
            does = folder.identity.params["does"]
            does = does if isinstance(does, list) else [does]
            if does == ["stop"]:
                slot.assignments = assignments
                raise Stopped(15)
            if does == ["break"]:
                raise RuntimeError("a bug")
            if does == ["die"] or (does[:1] == ["die once"] and folder.last("worker_died") is None):
                death = "worker process 7 was ended by SIGKILL"
                break
            if does[:1] == ["fits"] and len(folders) > does[1]:  # in memory, with no more runs beside it
                short = f"8 EiB in a group of {len(folders)} runs"
            elif does[:1] == ["fits share"] and self.shares[-1] > does[1]:  # of the examples
                short = "8 EiB"
            else:
                end(folder, does)
        if death is not None:
            return [Ended(run_ids, death)]
        return [Ended(run_ids, out_of_memory=short, done=run_ids)]

    def stop(self) -> None:
        self.stopped = True


def end(folder: RunFolder, does: Any) -> None:
    if does == ["fail"]:
        folder.finish("FAILED", "out of memory", "8 EiB", "Traceback ...")
    elif does[0] == "error":
        folder.finish("FAILED", "error", does[1], "Traceback ...")
    elif does != ["forget"]:
        complete(folder, does[-1])


def complete(folder: RunFolder, accuracy: float) -> None:
    folder.metrics(1, {"eval/accuracy": accuracy})
    folder.finish("COMPLETE")


@dataclass
class FakeView:
    published: list[tuple[str, str]] = field(default_factory=list)  # run id, its state then
    closed: list[str] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)

    def admit(self, folder: RunFolder, _: str, place: Mapping[str, Any]) -> None:
        self.places.append(place)

    def publish(self, folder: RunFolder, _: str | None = None) -> bool:
        self.published.append((folder.run_id, str(folder.state())))
        return True

    def finish_sweep(self, state: str, _: str | None = None) -> None:
        self.closed.append(str(state))


@dataclass
class Scene:
    runs: FakeRuns
    sweep: FakeSweep
    slots: FakeSlots
    view: FakeView
    text: io.StringIO

    def coordinator(self) -> Coordinator:
        console = Console(file=self.text, width=400)
        progress = PlainProgress(console, None)
        memory = MemoryLimits()
        parts: Any = (self.sweep, self.runs, self.slots, Books(self.view, "parent"), progress, Stop())
        room = WaitingRoom(self.sweep.launcher.max_group, memory)
        watchdog: Any = Watchdog(self.sweep.launcher, self.slots)  # type: ignore[arg-type]
        return Coordinator(*parts, room, Retries(self.sweep.launcher.retries, memory), watchdog)


def scene(root: Path, *trials: Sequence[tuple[int, Any]], num_slots: int = 1) -> Scene:
    slots = FakeSlots(SlotPlan(num_slots, None, num_slots, None))
    return Scene(FakeRuns(root), FakeSweep(trials), slots, FakeView(), io.StringIO())


def test_every_trial_is_trained_told_and_published(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(5)))
    assert stage.coordinator().run() == 0
    assert stage.sweep.states() == {number: ["COMPLETE"] for number in range(5)}
    assert [state for _, state in stage.view.published if state != "UNFINISHED"] == ["COMPLETE"] * 5
    assert stage.view.closed == ["COMPLETE"]
    assert stage.slots.stopped


def test_free_slot_gets_a_group_and_no_more_trials_are_asked_than_fit(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(5)))
    coordinator = stage.coordinator()
    coordinator.hand_out()
    assert stage.sweep.asked == 2
    coordinator.run()
    assert [len(group) for group in stage.slots.trained] == [2, 2, 1]


def test_last_runs_are_spread_over_the_slots(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(2)), num_slots=2)
    stage.coordinator().run()
    assert [len(group) for group in stage.slots.trained] == [1, 1]


def test_objective_of_each_replicate_is_told_in_order(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.25), (1, 0.75)])
    stage.coordinator().run()
    assert [result.objectives["eval/accuracy"] for result in stage.sweep.told[0]] == [0.25, 0.75]


def test_failed_run_is_told_and_listed_and_the_sweep_goes_on(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "fail")], [(1, 0.5)], [(2, 0.5)])
    assert stage.coordinator().run() == 1
    assert stage.sweep.states() == {0: ["FAILED"], 1: ["COMPLETE"], 2: ["COMPLETE"]}
    assert stage.sweep.told[0][0].reason == "out of memory"
    assert stage.view.closed == ["FAILED"]
    last = stage.text.getvalue().splitlines()[-1]
    assert last.startswith("failed: sst2-mini-lora-full-s0-")
    assert "out of memory - 8 EiB; traceback in" in last


def test_run_whose_worker_died_gets_another(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, ["die once", 0.5])], [(1, 0.5)])
    assert stage.coordinator().run() == 0
    assert [len(group) for group in stage.slots.trained] == [2, 2], "what its neighbour had was lost as well"
    assert "worker process 7 was ended by SIGKILL; 2 runs once more" in stage.text.getvalue()


def test_run_that_kills_every_worker_fails_and_its_neighbours_do_not(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "die")], [(1, 0.5)])
    assert stage.coordinator().run() == 1
    assert [len(group) for group in stage.slots.trained] == [2, 2, 1, 1], "the last chance is one alone"
    assert stage.sweep.states() == {0: ["FAILED"], 1: ["COMPLETE"]}
    assert stage.sweep.told[0][0].reason == "killed"
    assert "worker process 7 was ended by SIGKILL (3 times)" in stage.text.getvalue()


def test_deaths_of_an_earlier_process_count(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "die")])
    coordinator = stage.coordinator()
    for _ in range(2):
        coordinator.hand_out()
        for ended in stage.slots.wait(0):
            coordinator.receive(ended)
    again = scene(tmp_path, [(0, "die")])
    assert again.coordinator().run() == 1
    assert len(again.slots.trained) == 1


def test_no_retries_when_none_are_wanted(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "die")])
    stage.sweep.launcher = LauncherOptions(retries=0)
    assert stage.coordinator().run() == 1
    assert len(stage.slots.trained) == 1


def test_run_without_an_end_is_an_error(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "forget")])
    assert stage.coordinator().run() == 1
    assert stage.sweep.told[0][0].reason == "error"


def test_group_that_lacks_memory_is_halved_until_it_fits(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, ["fits", 2, 0.5])] for seed in range(16)))
    stage.sweep.launcher = LauncherOptions(max_group=8)
    assert stage.coordinator().run() == 0
    assert [len(group) for group in stage.slots.trained] == [8, 4, *[2] * 8], "the limit holds for the later runs too"
    assert stage.sweep.states() == {number: ["COMPLETE"] for number in range(16)}
    said = [line for line in stage.text.getvalue().splitlines() if line.startswith("out of memory")]
    assert said == [
        "out of memory: 8 EiB in a group of 8 runs; trying at most 4 together",
        "out of memory: 8 EiB in a group of 4 runs; trying at most 2 together",
    ]
    assert stage.view.closed == ["COMPLETE"]


def test_run_that_had_its_end_before_memory_ran_out_is_not_trained_again(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, ["fits", 1, 0.5])], [(2, ["fits", 1, 0.5])])
    stage.sweep.launcher = LauncherOptions(max_group=3)
    assert stage.coordinator().run() == 0
    assert [len(group) for group in stage.slots.trained] == [3, 1, 1]


def test_signal_kills_the_runs_that_wait_for_a_smaller_group_too(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, ["fits", 1, 0.5])], [(1, ["fits", 1, 0.5])])
    coordinator = stage.coordinator()
    coordinator.hand_out()
    for ended in stage.slots.wait(0):
        coordinator.receive(ended)
    coordinator.abandon("stopped by SIGTERM")
    assert sorted(state for _, state in stage.view.published) == ["KILLED", "KILLED"]


def test_complete_run_is_taken_from_disk(tmp_path: Path) -> None:
    scene(tmp_path, [(0, 0.5)]).coordinator().run()
    again = scene(tmp_path, [(0, 0.5)], [(1, 0.75)])
    assert again.coordinator().run() == 0
    assert [len(group) for group in again.slots.trained] == [1]
    assert again.sweep.told[0][0].objectives == {"eval/accuracy": 0.5}
    assert "already there: sst2-mini-lora-full-s0" in again.text.getvalue()


def test_reused_run_is_published_with_its_place_in_this_sweep(tmp_path: Path) -> None:
    scene(tmp_path, [(0, 0.5)]).coordinator().run()
    again = scene(tmp_path, [(1, 0.5)], [(0, 0.5)])
    again.sweep.cell = {"peft": "lora"}
    assert again.coordinator().run() == 0
    assert {place["trial"]: place["cell"] for place in again.view.places} == {0: {"peft": "lora"}, 1: {"peft": "lora"}}


def test_sweep_with_failures_that_it_leaves_alone_has_failed(tmp_path: Path) -> None:
    again = scene(tmp_path)
    again.sweep.num_left_failed = 1
    assert again.coordinator().run() == 1
    assert again.view.closed == ["FAILED"]


def test_earlier_failure_is_tried_again(tmp_path: Path) -> None:
    scene(tmp_path, [(0, "fail")]).coordinator().run()
    again = scene(tmp_path, [(0, "fail")])
    assert again.coordinator().run() == 1
    assert len(again.slots.trained) == 1


def test_two_trials_of_the_same_run_train_it_once(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(0, 0.5)], [(1, 0.5)])
    stage.coordinator().run()
    assert sum(len(group) for group in stage.slots.trained) == 2
    assert stage.sweep.states() == {number: ["COMPLETE"] for number in range(3)}


def test_signal_kills_the_unfinished_runs_and_leaves_their_trials_open(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)], [(2, "stop")], [(3, 0.5)])
    with pytest.raises(Stopped):
        stage.coordinator().run()
    assert stage.slots.stopped
    assert stage.sweep.states() == {0: ["COMPLETE"], 1: ["COMPLETE"]}
    assert [state for _, state in stage.view.published[-2:]] == ["KILLED", "KILLED"]
    assert stage.view.closed == ["KILLED"]


def test_stopped_sweep_goes_on_where_it_ended(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, "stop")])
    with pytest.raises(Stopped):
        stage.coordinator().run()
    again = scene(tmp_path, [(0, 0.5)], [(1, 0.5)])
    again.slots.wait = lambda _: [finish_all(again.slots)]  # type: ignore[method-assign]
    assert again.coordinator().run() == 0
    assert [len(group) for group in again.slots.trained] == [1]


def finish_all(slots: FakeSlots) -> Ended:
    slot = slots.busy[0]
    run_ids, assignments, slot.assignments = slot.run_ids, slot.assignments, []
    for assignment in assignments:
        assignment.folder.started(slot.number)
        complete(assignment.folder, 0.5)
    return Ended(run_ids, done=run_ids)


def test_bug_of_the_coordinator_ends_the_workers_and_comes_out(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "break")])
    with pytest.raises(RuntimeError, match="a bug"):
        stage.coordinator().run()
    assert stage.slots.stopped
    assert stage.view.closed == ["KILLED"]


def test_full_disk_stops_the_sweep_with_runs_that_can_go_on(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)])
    stage.sweep.base = RunConfig(output_dir=str(tmp_path))
    coordinator = stage.coordinator()
    coordinator.hand_out()
    run_ids, stage.slots.busy[0].assignments = stage.slots.busy[0].run_ids, []
    with pytest.raises(OSError, match="no room for weights"):
        coordinator.receive(Ended(run_ids, disk_full="no room for weights", done=run_ids))
    assert {attempt.folder.state() for attempt in coordinator.live.values()} == {"UNFINISHED"}


def test_the_same_error_in_the_first_three_runs_stops_the_sweep(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, ["error", f"ValueError: row {seed} has no label"])] for seed in range(6)))
    assert stage.coordinator().run() == 1
    assert sum(len(group) for group in stage.slots.trained) == 4, "two groups of two: the third run tells"
    assert "failed with the same error (ValueError: row 0 has no label)" in stage.text.getvalue()
    assert stage.slots.stopped
    assert stage.view.closed == ["KILLED"]
    assert len(stage.sweep.told) == 4


def test_an_error_is_the_same_in_a_group_and_alone() -> None:
    first = FirstErrors()
    first.note("error", "ValueError: no such layer")
    first.note("error", "ValueError: no such layer (in a group of 2 runs)")
    with pytest.raises(SameError):
        first.note("error", "ValueError: no such layer (in a group of 2 runs)")


def test_different_errors_do_not_stop_the_sweep(tmp_path: Path) -> None:
    does = [["error", "ValueError: a"], ["error", "KeyError: b"], ["error", "ValueError: a"], 0.5, 0.5]
    stage = scene(tmp_path, *([(seed, what)] for seed, what in enumerate(does)))
    assert stage.coordinator().run() == 1
    assert len(stage.sweep.told) == 5


def test_run_that_lacks_memory_alone_gets_smaller_forwards(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, ["fits share", 0.25, 0.5])], [(1, ["fits share", 0.25, 0.5])])
    stage.sweep.launcher = LauncherOptions(max_group=1)
    assert stage.coordinator().run() == 0
    assert stage.slots.shares == [1.0, 0.5, 0.25, 0.25], "what was learnt holds for the next run"
    assert "trying 0.25 of the examples in one forward, the same batch size" in stage.text.getvalue()


def test_run_that_lacks_memory_for_one_example_fails(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, ["fits share", 0.0, 0.5])])
    assert stage.coordinator().run() == 1
    assert stage.slots.shares == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert stage.sweep.told[0][0].reason == "out of memory"


def test_freed_place_is_taken_while_the_group_trains(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(4)))
    coordinator = stage.coordinator()
    stage.runs.costs = {0: 10.0, 1: 1.0, 2: 2.0, 3: 2.0}
    coordinator.hand_out()
    folder = stage.slots.busy[0].assignments[1].folder
    assert folder.identity.config["seed"] == 1
    folder.started(0)
    complete(folder, 0.5)
    coordinator.follow()
    coordinator.hand_out()
    assert [run_id.split("-s")[1][0] for run_id in stage.slots.joined] == ["2"], "one place, one more trial is asked"
    assert stage.sweep.asked == 3
    assert coordinator.run() == 0
    assert stage.sweep.states() == {number: ["COMPLETE"] for number in range(4)}


def test_freed_place_stays_empty_where_another_slot_is_free_sooner(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(3)), num_slots=2)
    stage.runs.costs, stage.runs.keys = {0: 100.0, 1: 2.0, 2: 50.0}, {1: "another"}
    stage.sweep.launcher = LauncherOptions(max_group=1)
    coordinator = stage.coordinator()
    coordinator.hand_out()
    coordinator.room.max_group = 2
    coordinator.hand_out()
    assert len(coordinator.room.runs) == 1, "asked for, since there are places"
    assert stage.slots.joined == []


def test_run_that_came_too_late_to_join_is_trained_afterwards(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)])
    stage.sweep.launcher = LauncherOptions(max_group=1)
    coordinator = stage.coordinator()
    coordinator.hand_out()
    coordinator.ask()
    late = coordinator.assignment(next(iter(coordinator.room.families.values())))
    slot = stage.slots.busy[0]
    first = slot.assignments[0].folder
    slot.assignments = [slot.assignments[0], late]
    first.started(0)
    complete(first, 0.5)
    run_ids, slot.assignments = slot.run_ids, []
    coordinator.receive(Ended(run_ids, done=[first.run_id]))
    assert coordinator.run() == 0
    assert stage.slots.trained[1:] == [[late.folder.run_id]]


def test_pruned_run_leaves_and_its_trial_is_told(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)])
    stage.sweep.prunes_by, stage.sweep.worst = "step", 0.4
    coordinator = stage.coordinator()
    coordinator.hand_out()
    slot = stage.slots.busy[0]
    good, bad = (assignment.folder for assignment in slot.assignments)
    for folder, value in ((good, 0.6), (bad, 0.3)):
        folder.started(0)
        folder.metrics(10, {"eval/accuracy": value})
    coordinator.judge(Judged(slot, [good.run_id, bad.run_id]))
    assert stage.slots.verdicts == [{bad.run_id: "hopeless at step 10"}]
    assert stage.sweep.reported == [(0, 0, 10, 0.6), (1, 0, 10, 0.3)]
    bad.finish("PRUNED", None, "hopeless at step 10")
    coordinator.follow()
    assert stage.sweep.states() == {1: ["PRUNED"]}
    assert stage.slots.told_to_leave == {}, "the group knows already"


def test_replicates_of_a_hopeless_trial_end_wherever_they_are(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.3), (1, 0.5), (2, 0.5), (3, 0.5)], num_slots=1)
    stage.sweep.prunes_by, stage.sweep.worst = "replicate", 0.4
    coordinator = stage.coordinator()
    coordinator.hand_out()
    first, second = (assignment.folder for assignment in stage.slots.busy[0].assignments)
    first.started(0)
    complete(first, 0.3)
    coordinator.follow()
    assert list(stage.slots.told_to_leave) == [second.run_id], "in training"
    second.started(0)
    second.finish("PRUNED", None, "hopeless at step 0")
    coordinator.follow()
    assert stage.sweep.states() == {0: ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]}, "the others never began"
    assert coordinator.room.runs == {}


def test_runs_that_differ_in_epochs_are_one_and_what_was_not_read_is_trained(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)], [(2, 0.5)])
    stage.sweep.launcher = LauncherOptions(max_group=1)
    stage.runs.families = {0: ("one", 50.0), 1: ("one", 10.0), 2: ("two", 1.0)}
    coordinator = stage.coordinator()
    coordinator.hand_out()
    [assignment] = stage.slots.busy[0].assignments
    assert assignment.folder.identity.config["seed"] == 0
    assert [reading.identity.config["seed"] for reading in assignment.readings] == [1]
    run_ids, stage.slots.busy[0].assignments = stage.slots.busy[0].run_ids, []
    assignment.folder.started(0)
    complete(assignment.folder, 0.5)
    coordinator.receive(Ended(run_ids, done=[assignment.folder.run_id]))
    assert coordinator.run() == 0
    assert stage.sweep.states() == {number: ["COMPLETE"] for number in range(3)}
    assert assignment.readings[0].run_id in [run_id for group in stage.slots.trained[1:] for run_id in group]


def test_run_of_another_process_is_waited_for_and_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.launch.waiting_room.HELD_S", 0.0)
    stage = scene(tmp_path, [(0, 0.5)])
    coordinator = stage.coordinator()
    coordinator.hand_out()
    [assignment] = stage.slots.busy[0].assignments
    stage.slots.busy[0].assignments = []
    lock = RunLock.take(assignment.folder.path)
    assert lock is not None
    coordinator.set_aside(Busy({assignment.folder.run_id: "process 7 on another"}))
    coordinator.receive(Ended([]))
    coordinator.look_at_held()
    assert list(coordinator.room.held) == [assignment.folder.run_id]
    complete(assignment.folder, 0.75)
    lock.release()
    assert coordinator.run() == 0
    assert stage.sweep.told[0][0].objectives == {"eval/accuracy": 0.75}
    assert len(stage.slots.trained) == 1
    assert "process 7 on another trains it" in stage.text.getvalue()


def test_run_that_another_process_ended_before_the_worker_said_so_is_taken(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)])
    coordinator = stage.coordinator()
    coordinator.hand_out()
    slot = stage.slots.busy[0]
    theirs, mine = slot.assignments
    complete(theirs.folder, 0.75)
    coordinator.follow()
    slot.assignments = [mine]
    coordinator.set_aside(Busy({theirs.folder.run_id: "process 7 on another"}))
    assert coordinator.run() == 0
    assert [results[0].objectives["eval/accuracy"] for results in stage.sweep.told.values()] == [0.75, 0.5]


def test_readings_of_a_run_that_another_process_trains_are_trained(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.25)])
    stage.runs.families = {0: ("one", 50.0), 1: ("one", 10.0)}
    coordinator = stage.coordinator()
    coordinator.hand_out()
    [assignment] = stage.slots.busy[0].assignments
    [reading] = assignment.readings
    stage.slots.busy[0].assignments = []
    coordinator.set_aside(Busy({assignment.folder.run_id: "process 7 on another"}, [reading.run_id]))
    coordinator.hand_out()
    assert stage.slots.trained[-1] == [reading.run_id]


def test_hopeless_run_that_another_process_trains_is_left_to_it(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.3), (1, 0.5)], num_slots=1)
    stage.sweep.launcher = LauncherOptions(max_group=1)
    stage.sweep.prunes_by, stage.sweep.worst = "replicate", 0.4
    coordinator = stage.coordinator()
    coordinator.hand_out()
    [first] = (assignment.folder for assignment in stage.slots.busy[0].assignments)
    [theirs] = (folder for run_id, folder in coordinator.folders.items() if run_id != first.run_id)
    coordinator.room.hold(coordinator.room.runs.pop(theirs.run_id))
    lock = RunLock.take(theirs.path)
    complete(first, 0.3)
    coordinator.follow()
    coordinator.look_at_held()
    assert stage.sweep.states() == {0: ["COMPLETE", "PRUNED"]}
    assert theirs.last("finished") is None
    assert lock is not None
    lock.release()


def test_stopped_sweep_ends_no_run_that_another_process_trains(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, 0.5)])
    coordinator = stage.coordinator()
    coordinator.hand_out()
    mine, theirs = (assignment.folder for assignment in stage.slots.busy[0].assignments)
    lock = RunLock.take(theirs.path)
    coordinator.abandon("stopped by SIGTERM")
    assert (mine.state(), theirs.state()) == ("KILLED", "UNFINISHED")
    assert lock is not None
    lock.release()


def test_spent_budget_asks_for_no_more_and_says_what_is_missing(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(5)))
    coordinator = stage.coordinator()
    coordinator.hand_out()
    coordinator.deadline_s = 0.0
    assert coordinator.run() == 0
    assert len(stage.sweep.told) == 2
    assert "trials that are missing: 3 of train_size=100" in stage.text.getvalue()
    assert stage.view.closed == ["KILLED"], "not finished; the same command goes on"


def test_runs_that_were_asked_ahead_do_not_begin_when_the_budget_is_spent(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(5)))
    coordinator = stage.coordinator()
    coordinator.room = PlannedRoom(2, MemoryLimits(), slots=stage.slots.plan)
    coordinator.hand_out()
    assert stage.sweep.asked == 5
    coordinator.deadline_s = 0.0
    assert coordinator.run() == 0
    assert len(stage.sweep.told) == 2
    assert "trials that are missing: 3 of train_size=100" in stage.text.getvalue()


def test_run_over_its_time_is_told_to_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = scene(tmp_path, [(0, 0.5)])
    stage.sweep.launcher = LauncherOptions(run_minutes=1, stalled_minutes=None)
    coordinator = stage.coordinator()
    coordinator.hand_out()
    coordinator.watchdog.look(coordinator.live)
    assert stage.slots.told_to_leave == {}
    [run_id] = coordinator.live
    coordinator.watchdog.began_s[run_id] -= 61
    coordinator.watchdog.look(coordinator.live)
    assert stage.slots.told_to_leave[run_id].reason == "timeout"
    coordinator.watchdog.told_s[run_id] -= 61
    coordinator.watchdog.look(coordinator.live)
    assert stage.slots.busy[0].doomed == "longer than hydra.launcher.run_minutes=1", "it did not listen"
    assert coordinator.run() == 1
    assert stage.sweep.told[0][0].reason == "timeout"


def test_silent_group_loses_its_worker_and_gets_another(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)])
    stage.sweep.launcher = LauncherOptions(stalled_minutes=1)
    coordinator = stage.coordinator()
    coordinator.hand_out()
    [run_id] = coordinator.live
    coordinator.watchdog.began_s[run_id] -= 61
    coordinator.watchdog.look(coordinator.live)
    assert stage.slots.busy[0].doomed is None, "the attempt was heard of when it began"
    coordinator.live[run_id].heard_s -= 61
    coordinator.watchdog.look(coordinator.live)
    assert "stalled_minutes=1" in str(stage.slots.busy[0].doomed)


def test_time_in_which_the_whole_sweep_was_paused_does_not_count(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)])
    stage.sweep.launcher = LauncherOptions(stalled_minutes=1, run_minutes=1)
    coordinator = stage.coordinator()
    coordinator.hand_out()
    [run_id], watchdog = coordinator.live, coordinator.watchdog
    watchdog.looked_s -= 3600
    watchdog.began_s[run_id] -= 3600
    coordinator.live[run_id].heard_s -= 3600
    watchdog.look(coordinator.live)
    assert stage.slots.busy[0].doomed is None
    assert stage.slots.told_to_leave == {}
    watchdog.began_s[run_id] -= 61
    watchdog.look(coordinator.live)
    assert list(stage.slots.told_to_leave) == [run_id], "from then on it does"


def test_signal_amid_equal_errors_still_ends_in_order(tmp_path: Path) -> None:
    stage = scene(tmp_path, *([(seed, 0.5)] for seed in range(4)))
    stage.sweep.launcher = LauncherOptions(max_group=4)
    coordinator = stage.coordinator()
    coordinator.hand_out()
    for assignment in stage.slots.busy[0].assignments[:3]:
        assignment.folder.started(0)
        assignment.folder.finish("FAILED", "error", "ValueError: no label")
    coordinator.abandon("stopped by SIGTERM")
    assert stage.view.closed == ["KILLED"]
    assert len(stage.sweep.told) == 3


def test_failure_of_this_sweep_is_a_result_when_its_trial_is_resumed(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5), (1, 0.5)])
    coordinator = stage.coordinator()
    trial = stage.sweep.ask()
    assert trial is not None
    diverged = stage.runs.folder(trial, 0)
    diverged.finish("FAILED", "diverged", "loss nan at step 3")
    made_here = dataclasses.replace(diverged.identity, sweep_id=stage.sweep.sweep_id)
    diverged._identity = made_here
    assert coordinator.has_result(diverged)
    stage.sweep.base.retry_failed = True
    assert not coordinator.has_result(diverged)
    diverged._identity = dataclasses.replace(made_here, sweep_id="another")
    assert not coordinator.has_result(diverged)


def test_spent_failures_say_what_is_missing(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "fail")], [(1, 0.5)])
    stage.sweep.trials = stage.sweep.trials[:1]
    stage.sweep.missing = lambda: {"train_size=100": 1}  # type: ignore[method-assign]
    assert stage.coordinator().run() == 1
    assert "hydra.sweeper.max_failures is reached; trials that are missing: 1 of" in stage.text.getvalue()
