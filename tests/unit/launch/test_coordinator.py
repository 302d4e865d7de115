"""The loop over fakes of everything around it: a sweep that is a list, slots that train in place."""

from __future__ import annotations

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
from sweeper.launch.group import DataSize
from sweeper.launch.progress import PlainProgress
from sweeper.launch.slots import Ended, Slot
from sweeper.launch.stop import Stop, Stopped
from sweeper.search.options import LauncherOptions
from sweeper.search.study import RunResult, TrialRuns
from sweeper.tracking.run_folder import RunFolder, RunIdentity

LORA = {"name": "lora", "method": "adapter", "type": "LORA"}
DATA = {"source": "files", "digest": "d" * 64}


@dataclass
class FakeSweep:
    """Trials in the order given, each a list of (seed, what the run does)."""

    trials: Sequence[Sequence[tuple[int, Any]]]
    launcher: LauncherOptions = field(default_factory=lambda: LauncherOptions(max_group=2))
    objective: str = "eval/accuracy"
    num_failed: int = 0
    num_left_failed: int = 0
    cell: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    told: dict[int, list[RunResult]] = field(default_factory=dict)

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
    stopped: bool = False

    def __post_init__(self) -> None:
        self.slots = [Slot(number) for number in range(self.plan.num_slots)]

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.folders]

    @property
    def busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.folders]

    def train(self, slot: Slot, folders: Sequence[RunFolder], *, threads: int) -> None:
        assert threads >= 1
        slot.folders = folders
        self.trained.append([folder.run_id for folder in folders])

    def wait(self, _: float) -> list[Ended]:
        slot = self.busy[0]
        folders, slot.folders = slot.folders, ()
        death = short = None
        for folder in folders:
            folder.started(slot.number)
            match folder.identity.params["does"]:
                case ["fits", int(most), float(accuracy)]:  # in memory, with no more runs beside it
                    if len(folders) > most:
                        short = f"8 EiB in a group of {len(folders)} runs"
                        continue
                    folder.metrics(1, {"eval/accuracy": accuracy})
                    folder.finish("COMPLETE")
                case float(accuracy):
                    folder.metrics(1, {"eval/accuracy": accuracy})
                    folder.finish("COMPLETE")
                case "fail":
                    folder.finish("FAILED", "out of memory", "8 EiB", "Traceback ...")
                case "die":
                    death = "worker process 7 was ended by SIGKILL"
                case "stop":
                    slot.folders = folders
                    raise Stopped(15)
                case "break":
                    raise RuntimeError("a bug")
        return [Ended(folders, death, out_of_memory=short)]

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeView:
    published: list[tuple[str, str]] = field(default_factory=list)  # run id, its state then
    closed: list[str] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)

    def publish(self, folder: RunFolder, _: str | None = None, place: Mapping[str, Any] | None = None) -> bool:
        self.places.append(place)
        self.published.append((folder.run_id, str(folder.state())))
        return True

    def finish_sweep(self, state: str, _: str | None = None) -> None:
        self.closed.append(str(state))


@dataclass
class Scene:
    root: Path
    sweep: FakeSweep
    slots: FakeSlots
    view: FakeView
    text: io.StringIO

    def coordinator(self) -> Coordinator:
        console = Console(file=self.text, width=400)
        progress = PlainProgress(console, None)
        parts: Any = (self.sweep, FakeRuns(self.root), self.slots, Books(self.view, "parent"), progress, Stop())
        return Coordinator(*parts)


def scene(root: Path, *trials: Sequence[tuple[int, Any]], num_slots: int = 1) -> Scene:
    slots = FakeSlots(SlotPlan(num_slots, None, num_slots, None))
    return Scene(root, FakeSweep(trials), slots, FakeView(), io.StringIO())


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
    assert [result.objective for result in stage.sweep.told[0]] == [0.25, 0.75]


def test_failed_run_is_told_and_listed_and_the_sweep_goes_on(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "fail")], [(1, 0.5)], [(2, 0.5)])
    assert stage.coordinator().run() == 1
    assert stage.sweep.states() == {0: ["FAILED"], 1: ["COMPLETE"], 2: ["COMPLETE"]}
    assert stage.sweep.told[0][0].reason == "out of memory"
    assert stage.view.closed == ["FAILED"]
    last = stage.text.getvalue().splitlines()[-1]
    assert last.startswith("failed: sst2-mini-lora-full-s0-")
    assert "out of memory - 8 EiB; traceback in" in last


def test_runs_of_a_dead_worker_fail_as_killed(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, 0.5)], [(1, "die")], [(2, 0.5)])
    assert stage.coordinator().run() == 1
    assert stage.sweep.states() == {0: ["COMPLETE"], 1: ["FAILED"], 2: ["COMPLETE"]}
    assert stage.sweep.told[1][0].reason == "killed"
    assert "worker process 7 was ended by SIGKILL" in stage.text.getvalue()


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
    assert again.sweep.told[0][0].objective == 0.5
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
    folders, slot.folders = slot.folders, ()
    for folder in folders:
        folder.started(slot.number)
        folder.metrics(1, {"eval/accuracy": 0.5})
        folder.finish("COMPLETE")
    return Ended(folders)


def test_bug_of_the_coordinator_ends_the_workers_and_comes_out(tmp_path: Path) -> None:
    stage = scene(tmp_path, [(0, "break")])
    with pytest.raises(RuntimeError, match="a bug"):
        stage.coordinator().run()
    assert stage.slots.stopped
    assert stage.view.closed == ["KILLED"]
