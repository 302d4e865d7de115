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
from sweeper.launch.slots import Ended, Slots
from sweeper.tracking.run_folder import RunFolder, RunIdentity

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


def ended(slots: Slots) -> Ended:
    results: list[Ended] = []
    deadline = time.monotonic() + 20
    while not results:
        assert time.monotonic() < deadline, "the group never ended"
        results = slots.wait(0.2)
    assert len(results) == 1
    return results[0]


def last_finished(folder: RunFolder) -> dict[str, Any]:
    event = folder.last("finished")
    assert event is not None
    return event


def test_group_is_trained_in_another_process_and_its_slot_is_free_again(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folders = make_slots(1), [run_folder(tmp_path, seed) for seed in range(3)]
    slots.train(slots.free[0], folders, threads=1)
    assert slots.free == []
    assert ended(slots) == Ended(tuple(folders))
    assert [folder.state() for folder in folders] == ["COMPLETE"] * 3
    started = folders[0].last("started")
    assert started is not None
    assert started["pid"] != os.getpid()
    assert len(slots.free) == 1


def test_worker_stays_warm_from_group_to_group(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folders = make_slots(1), [run_folder(tmp_path, seed) for seed in range(2)]
    for folder in folders:
        slots.train(slots.free[0], [folder], threads=1)
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
    slots.train(slots.free[0], [good, bad, later], threads=1)
    assert ended(slots).death is None
    assert good.state() == "COMPLETE"
    for folder in (bad, later):
        event = last_finished(folder)
        assert (event["state"], event["reason"]) == ("FAILED", "error")
        assert event["detail"] == "ValueError: the sky is green (in a group of 2 runs)"
        assert "fake_trainer.py" in event["traceback"]


def test_out_of_memory_is_told_from_other_errors(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="out of memory")
    slots.train(slots.free[0], [folder], threads=1)
    ended(slots)
    assert last_finished(folder)["reason"] == "out of memory"


def test_runs_that_together_lack_memory_have_no_end_yet(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(1)
    done, large, later = (
        run_folder(tmp_path, 1),
        run_folder(tmp_path, 2, behaviour="out of memory"),
        run_folder(tmp_path, 3),
    )
    slots.train(slots.free[0], [done, large, later], threads=1)
    line = "OutOfMemoryError: tried to allocate 8 EiB (in a group of 2 runs)"
    assert ended(slots) == Ended((done, large, later), out_of_memory=line)
    assert [folder.state() for folder in (done, large, later)] == ["COMPLETE", "UNFINISHED", "UNFINISHED"]
    for folder in (large, later):
        event = folder.last("out_of_memory")
        assert event is not None
        assert event["detail"] == line
        assert "fake_trainer.py" in event["traceback"]


def test_killed_worker_is_reported_with_its_log_and_replaced(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder, next_folder = make_slots(1), run_folder(tmp_path, 1, behaviour="die"), run_folder(tmp_path, 2)
    slots.train(slots.free[0], [folder], threads=1)
    death = ended(slots).death
    assert death is not None
    assert "was ended by SIGKILL" in death
    assert str(tmp_path / "logs" / "slot-0.log") in death
    assert "last words" in (tmp_path / "logs" / "slot-0.log").read_text()
    assert folder.state() == "UNFINISHED"
    slots.train(slots.free[0], [next_folder], threads=1)
    assert ended(slots).death is None
    assert next_folder.state() == "COMPLETE"


def test_worker_that_leaves_by_itself_is_reported_with_its_exit_code(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(1)
    slots.train(slots.free[0], [run_folder(tmp_path, behaviour="forget")], threads=1)
    result = ended(slots)
    assert result.exit_code == 3
    assert "ended with code 3" in str(result.death)


def test_worker_that_died_while_idle_is_replaced_before_the_next_group(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folders = make_slots(1), [run_folder(tmp_path, seed) for seed in range(2)]
    slots.train(slots.free[0], [folders[0]], threads=1)
    ended(slots)
    worker = slots.slots[0].worker
    assert worker is not None
    worker.process.kill()
    worker.process.join()
    slots.train(slots.free[0], [folders[1]], threads=1)
    assert ended(slots).death is None
    assert folders[1].state() == "COMPLETE"


def test_missing_trainer_is_an_error_of_the_run(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path)
    slots.trainer = "no_such_module:train_group"
    slots.train(slots.free[0], [folder], threads=1)
    ended(slots)
    assert last_finished(folder)["detail"] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_several_slots_train_at_the_same_time(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(2)
    hanging, folder = run_folder(tmp_path, 1, behaviour="hang"), run_folder(tmp_path, 2)
    slots.train(slots.free[0], [hanging], threads=1)
    slots.train(slots.free[0], [folder], threads=1)
    assert ended(slots).folders == (folder,)
    assert [slot.number for slot in slots.busy] == [0]


def test_threads_of_a_group_reach_the_worker(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, folder = make_slots(1), run_folder(tmp_path, behaviour="count threads")
    slots.train(slots.free[0], [folder], threads=3)
    ended(slots)
    tags = folder.last("tags")
    assert tags is not None
    assert tags["values"]["slot_env"] == "3"


def test_stop_ends_busy_and_free_workers_within_the_grace(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots = make_slots(2)
    slots.train(slots.free[0], [run_folder(tmp_path, 1)], threads=1)
    ended(slots)
    hanging = run_folder(tmp_path, 2, behaviour="hang")
    slots.train(slots.free[1], [hanging], threads=1)
    wait_for(hanging.path / "hanging")
    pids = [slot.worker.process.pid for slot in slots.slots if slot.worker is not None]
    begun = time.monotonic()
    slots.stop()
    assert time.monotonic() < begun + 4
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_worker_leaves_when_the_coordinating_process_is_gone(tmp_path: Path, make_slots: MakeSlots) -> None:
    slots, hanging = make_slots(1), run_folder(tmp_path, behaviour="hang")
    slots.train(slots.free[0], [hanging], threads=1)
    wait_for(hanging.path / "hanging")
    worker = slots.slots[0].worker
    assert worker is not None
    worker.connection.close()  # what the kernel does for a process that was killed
    worker.process.join(8)
    assert worker.process.exitcode == 128 + signal.SIGTERM


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int | None) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
