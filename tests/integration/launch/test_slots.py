"""Real worker processes from a real fork server, with a trainer that only pretends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import RunConfig
from sweeper.launch import fork_server as server
from sweeper.launch.devices import SlotPlan
from sweeper.launch.run_lock import RunLock
from sweeper.launch.slots import Busy, Ended, GroupSettings, Judged, Slots
from sweeper.tracking.run_folder import RunFolder, RunIdentity, RunState
from sweeper.training.control import Assignment, Departure

pytestmark = pytest.mark.integration
DATA = {"source": "files", "digest": "d" * 64}
TRAINER = "tests.integration.launch.fake_trainer:train_group"
MakeSlots = Callable[[int], Slots]


@pytest.fixture(scope="module", autouse=True)
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("fork-server") / "log"
    server.warm_up(server.modules_to_preload(TRAINER, on_gpu=False), log)


@pytest.fixture
def make_slots(tmp_path: Path) -> Iterator[MakeSlots]:
    made: list[Slots] = []

    def make(num_slots: int = 1) -> Slots:
        plan = SlotPlan(num_slots, gpus=None, cores=num_slots, fixed_threads=None)
        made.append(Slots(plan, tmp_path / "logs", trainer=TRAINER))
        return made[-1]

    yield make
    for slots in made:
        slots.stop(grace_s=0.5)


def run_folder(root: Path, seed: int = 0, **params: Any) -> RunFolder:
    return RunFolder.create(root, RunIdentity.of(RunConfig(seed=seed), DATA, params=params))


def group(*folders: RunFolder) -> list[Assignment]:
    return [Assignment(folder) for folder in folders]


def heard(slots: Slots) -> Ended | Judged | Busy:
    results: list[Ended | Judged | Busy] = []
    deadline = time.monotonic() + 20
    while not results:
        assert time.monotonic() < deadline, "the group never said a word"
        results = slots.wait(0.2)
    assert len(results) == 1
    return results[0]


def ended(slots: Slots) -> Ended:
    result = heard(slots)
    assert isinstance(result, Ended)
    return result


def last_finished(folder: RunFolder) -> dict[str, Any]:
    event = folder.last("finished")
    assert event is not None
    return event


def test_group_is_trained_in_another_process_and_its_slot_is_free_again(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folders = make_slots(1), [run_folder(tmp_path, seed) for seed in range(3)]
    slots.train(slots.free[0], group(*folders), GroupSettings(threads=1))
    assert slots.free == []
    run_ids = [folder.run_id for folder in folders]
    assert ended(slots) == Ended(run_ids, done=run_ids)
    assert [folder.state() for folder in folders] == ["COMPLETE"] * 3
    started = folders[0].last("started")
    assert started is not None
    assert started["pid"] != os.getpid()
    assert len(slots.free) == 1


def test_worker_stays_warm_from_group_to_group(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folders = make_slots(1), [run_folder(tmp_path, seed) for seed in range(2)]
    for folder in folders:
        slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
        ended(slots)
    first, second = (folder.last("started") for folder in folders)
    assert first is not None
    assert second is not None
    assert first["pid"] == second["pid"]


def test_exception_fails_the_unfinished_runs_of_the_group_with_its_traceback(
    tmp_path: Path, make_slots: MakeSlots
) -> None:
    slots = make_slots(1)
    good, bad, later = run_folder(tmp_path, 1), run_folder(tmp_path, 2, behaviour="raise"), run_folder(tmp_path, 3)
    slots.train(slots.free[0], group(good, bad, later), GroupSettings(threads=1))
    assert ended(slots).death is None
    assert good.state() == "COMPLETE"
    for folder in (bad, later):
        event = last_finished(folder)
        assert (event["state"], event["reason"]) == ("FAILED", "error")
        assert event["detail"] == "ValueError: the sky is green (in a group of 2 runs)"
        assert "fake_trainer.py" in event["traceback"]


def test_out_of_memory_is_told_from_other_errors(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="out of memory")
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    assert ended(slots).out_of_memory == "OutOfMemoryError: tried to allocate 8 EiB"
    assert folder.state() == "UNFINISHED", "what becomes of it, the coordinator says"


def test_runs_that_together_lack_memory_have_no_end_yet(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(1)
    done, large, later = (
        run_folder(tmp_path, 1),
        run_folder(tmp_path, 2, behaviour="out of memory"),
        run_folder(tmp_path, 3),
    )
    slots.train(slots.free[0], group(done, large, later), GroupSettings(threads=1))
    line = "OutOfMemoryError: tried to allocate 8 EiB (in a group of 2 runs)"
    run_ids = [folder.run_id for folder in (done, large, later)]
    assert ended(slots) == Ended(run_ids, out_of_memory=line, done=run_ids)
    assert [folder.state() for folder in (done, large, later)] == ["COMPLETE", "UNFINISHED", "UNFINISHED"]
    for folder in (large, later):
        event = folder.last("out_of_memory")
        assert event is not None
        assert event["detail"] == line
        assert "fake_trainer.py" in event["traceback"]


def test_full_disk_is_no_end_of_a_run(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="fill the disk")
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    assert "No space left on device" in str(ended(slots).disk_full)
    assert folder.state() == "UNFINISHED"


def test_killed_worker_is_reported_with_its_log_and_replaced(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder, next_folder = make_slots(1), run_folder(tmp_path, 1, behaviour="die"), run_folder(tmp_path, 2)
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    death = ended(slots).death
    assert death is not None
    assert "was ended by SIGKILL" in death
    assert str(tmp_path / "logs" / "slot-0.log") in death
    assert "last words" in (tmp_path / "logs" / "slot-0.log").read_text()
    assert folder.state() == "UNFINISHED"
    slots.train(slots.free[0], group(next_folder), GroupSettings(threads=1))
    assert ended(slots).death is None
    assert next_folder.state() == "COMPLETE"


def test_worker_that_leaves_by_itself_is_reported_with_its_exit_code(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(1)
    slots.train(slots.free[0], group(run_folder(tmp_path, behaviour="forget")), GroupSettings(threads=1))
    assert "ended with code 3" in str(ended(slots).death)


def test_worker_that_died_while_idle_is_replaced_before_the_next_group(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folders = make_slots(1), [run_folder(tmp_path, seed) for seed in range(2)]
    slots.train(slots.free[0], group(folders[0]), GroupSettings(threads=1))
    ended(slots)
    worker = slots.slots[0].worker
    assert worker is not None
    worker.process.kill()
    worker.process.join()
    slots.train(slots.free[0], group(folders[1]), GroupSettings(threads=1))
    assert ended(slots).death is None
    assert folders[1].state() == "COMPLETE"


def test_missing_trainer_is_an_error_of_the_run(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path)
    slots.trainer = "no_such_module:train_group"
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    ended(slots)
    assert last_finished(folder)["detail"] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_several_slots_train_at_the_same_time(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(2)
    hanging, folder = run_folder(tmp_path, 1, behaviour="hang"), run_folder(tmp_path, 2)
    slots.train(slots.free[0], group(hanging), GroupSettings(threads=1))
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    assert ended(slots).run_ids == [folder.run_id]
    assert [slot.number for slot in slots.busy] == [0]


def test_threads_of_a_group_reach_the_worker(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="count threads")
    slots.train(slots.free[0], group(folder), GroupSettings(threads=3))
    ended(slots)
    tags = folder.last("tags")
    assert tags is not None
    assert tags["values"]["slot_env"] == "3"


def test_stop_ends_busy_and_free_workers_within_the_grace(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(2)
    slots.train(slots.free[0], group(run_folder(tmp_path, 1)), GroupSettings(threads=1))
    ended(slots)
    hanging = run_folder(tmp_path, 2, behaviour="hang")
    slots.train(slots.free[1], group(hanging), GroupSettings(threads=1))
    wait_for(hanging.path / "hanging")
    pids = [slot.worker.process.pid for slot in slots.slots if slot.worker is not None]
    begun = time.monotonic()
    slots.stop()
    assert time.monotonic() < begun + 4
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_worker_leaves_when_the_coordinating_process_is_gone(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, hanging = make_slots(1), run_folder(tmp_path, behaviour="hang")
    slots.train(slots.free[0], group(hanging), GroupSettings(threads=1))
    wait_for(hanging.path / "hanging")
    worker = slots.slots[0].worker
    assert worker is not None
    worker.connection.close()  # what the kernel does for a process that was killed
    worker.process.join(8)
    assert worker.process.exitcode == 128 + signal.SIGTERM


PRUNED = Departure(RunState.PRUNED, None, "hopeless at step 4")


@pytest.mark.parametrize(("departures", "state"), [({}, "COMPLETE"), ("all", "PRUNED")])
def test_group_waits_for_a_verdict(tmp_path: Path, make_slots: MakeSlots, departures: Any, state: str) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="evaluate")
    slots.judges = True
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    said = heard(slots)
    assert isinstance(said, Judged)
    assert said.run_ids == [folder.run_id]
    assert slots.wait(0.3) == [], "it waits"
    slots.verdict(said.slot, {folder.run_id: PRUNED} if departures == "all" else {})
    ended(slots)
    assert folder.state() == state


def test_group_of_a_sweep_without_a_pruner_waits_for_nobody(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="evaluate")
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    ended(slots)
    assert folder.state() == "COMPLETE"


def test_run_is_told_to_leave(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="until told")
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    slots.leave(slots.slots[0], {folder.run_id: PRUNED})
    ended(slots)
    assert last_finished(folder)["detail"] == "hopeless at step 4"


def test_run_joins_a_group_in_training(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, first, second = make_slots(1), run_folder(tmp_path, 1, behaviour="until joined"), run_folder(tmp_path, 2)
    slots.train(slots.free[0], group(first), GroupSettings(threads=1))
    slots.join(slots.slots[0], Assignment(second))
    assert ended(slots) == Ended([first.run_id, second.run_id], done=[first.run_id, second.run_id])
    assert [first.state(), second.state()] == ["COMPLETE", "COMPLETE"]


def test_run_that_joins_too_late_is_not_done(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, first, second = make_slots(1), run_folder(tmp_path, 1), run_folder(tmp_path, 2)
    slots.train(slots.free[0], group(first), GroupSettings(threads=1))
    wait_for(first.path / "events.jsonl")
    while first.state() != "COMPLETE":
        time.sleep(0.01)
    slots.join(slots.slots[0], Assignment(second))
    result = ended(slots)
    assert result.run_ids == [first.run_id, second.run_id]
    assert set(result.done) <= {first.run_id, second.run_id}
    assert (second.run_id in result.done) == (second.state() == "COMPLETE")
    slots.train(slots.free[0], group(second), GroupSettings(threads=1))
    ended(slots)
    assert second.state() == "COMPLETE"


def test_run_that_another_process_trains_is_left_alone(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, mine, theirs = make_slots(1), run_folder(tmp_path, 1), run_folder(tmp_path, 2)
    lock = RunLock.take(theirs.path)
    assert lock is not None
    slots.train(slots.free[0], group(mine, theirs), GroupSettings(threads=1))
    busy = heard(slots)
    assert isinstance(busy, Busy), "at once, not when the group has ended"
    assert list(busy.by) == [theirs.run_id]
    assert str(os.getpid()) in busy.by[theirs.run_id]
    result = ended(slots)
    assert (result.run_ids, result.done) == ([mine.run_id], [mine.run_id])
    assert theirs.last("started") is None
    lock.release()
    slots.train(slots.free[0], group(theirs), GroupSettings(threads=1))
    assert ended(slots).done == [theirs.run_id]


def test_slot_whose_runs_are_all_trained_elsewhere_is_free_only_when_its_worker_says_so(
    tmp_path: Path, make_slots: MakeSlots
) -> None:
    slots, theirs, reading = make_slots(1), run_folder(tmp_path, 1), run_folder(tmp_path, 2)
    lock = RunLock.take(theirs.path)
    slots.train(slots.free[0], [Assignment(theirs, [reading])], GroupSettings(threads=1))
    busy = heard(slots)
    assert isinstance(busy, Busy)
    assert (list(busy.by), busy.unread) == ([theirs.run_id], [reading.run_id])
    assert slots.free == []
    assert ended(slots) == Ended([], done=[])
    assert len(slots.free) == 1
    assert lock is not None
    lock.release()


def test_run_whose_folder_is_no_run_fails_alone(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, good, bad = make_slots(1), run_folder(tmp_path, 1), run_folder(tmp_path, 2)
    (bad.path / "run.json").unlink()
    slots.train(slots.free[0], group(bad, good), GroupSettings(threads=1))
    assert sorted(ended(slots).done) == sorted([good.run_id, bad.run_id])
    assert good.state() == "COMPLETE"
    assert last_finished(bad)["state"] == "FAILED"
    assert "not a run folder" in last_finished(bad)["detail"]


def test_worker_of_a_silent_group_is_ended(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="ignore the end")
    slots.train(slots.free[0], group(folder), GroupSettings(threads=1))
    wait_for(folder.path / "hanging")
    slots.kill(slots.slots[0], "no word for a minute")
    result = ended(slots)
    assert (result.death, result.doomed) == ("no word for a minute", True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int | None) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
