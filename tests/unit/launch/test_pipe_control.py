"""The worker's side of a group, without a process: messages in a queue, folders on disk."""

from __future__ import annotations

import os
import queue
from pathlib import Path

from sweeper.config import RunConfig
from sweeper.launch.pipe_control import Message, PipeControl, assignment_message
from sweeper.launch.run_lock import holder
from sweeper.tracking.run_folder import RunFolder, RunIdentity
from sweeper.training.control import Assignment

DATA = {"source": "files", "digest": "d" * 64}


def control() -> PipeControl:
    return PipeControl(0, 1.0, together=False, judges=False, commands=queue.SimpleQueue(), send=lambda _: None)


def run_folder(root: Path, seed: int) -> RunFolder:
    return RunFolder.create(root, RunIdentity.of(RunConfig(seed=seed), DATA))


def join(folder: RunFolder) -> Message:
    return {"join": [assignment_message(Assignment(folder))]}


def test_group_that_is_refilled_again_and_again_holds_the_files_of_its_living_members_only(tmp_path: Path) -> None:
    group, before = control(), len(os.listdir("/proc/self/fd"))
    folders = [run_folder(tmp_path, seed) for seed in range(20)]
    for folder in folders:
        group.commands.put(join(folder))
        assert [joined.folder.run_id for joined in group.arrivals()] == [folder.run_id]
        assert holder(folder.path) is not None
        folder.finish("COMPLETE")
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(group.attempts) == 1
    assert group.done == [folder.run_id for folder in folders]
    group.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_run_that_comes_too_late_is_neither_done_nor_locked(tmp_path: Path) -> None:
    group, folder = control(), run_folder(tmp_path, 1)
    group.commands.put(join(folder))
    group.departures()
    group.forget_late_arrivals()
    group.release()
    assert (group.done, list(group.attempts)) == ([], [])
    assert holder(folder.path) is None
