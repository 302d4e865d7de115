"""A trainer for real worker processes: what a run does stands in its folder's `params`."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Sequence

from sweeper.tracking.run_folder import RunFolder
from sweeper.training.control import Assignment, Control, Departure

NUM_STEPS = 4


class OutOfMemoryError(RuntimeError):
    """Known by its name, as torch's is."""


def train_group(assignments: Sequence[Assignment], *, control: Control) -> None:
    folders = [assignment.folder for assignment in assignments]
    for folder in folders:
        folder.started(control.slot)
    for folder in folders:
        _train(folder, control)
        for joined in control.arrivals():
            joined.folder.started(control.slot)
            _train(joined.folder, control)


def _train(folder: RunFolder, control: Control) -> None:
    params = folder.identity.params
    with (folder.path.parent.parent / "trained.txt").open("a") as file:
        file.write(f"{folder.run_id}\n")
    for step in range(1, NUM_STEPS + 1):
        folder.progress(step, NUM_STEPS, step / NUM_STEPS, "training")
        folder.metrics(step, {"train/loss": 1 / step})
    if left := _leaves(folder, control):
        folder.finish(left.state, left.reason, left.detail)
        return
    _misbehave(params.get("behaviour", "complete"), folder)
    folder.metrics(NUM_STEPS, {"eval/accuracy": params.get("accuracy", 0.5), "test/accuracy": 0.5})
    folder.finish("COMPLETE")


def _leaves(folder: RunFolder, control: Control) -> Departure | None:
    """Waits for a verdict, or to be told to leave, where the run's `params` say so."""
    match folder.identity.params.get("behaviour"):
        case "evaluate":
            folder.metrics(NUM_STEPS, {"eval/accuracy": 0.1})
            return control.judged([folder]).get(folder.run_id)
        case "until told":
            while not (departures := control.departures()):
                time.sleep(0.01)
            return departures[folder.run_id]
        case "until joined":
            while not (arrivals := control.arrivals()):
                time.sleep(0.01)
            for joined in arrivals:
                joined.folder.started(control.slot)
                joined.folder.finish("COMPLETE")
    return None


def _misbehave(behaviour: str, folder: RunFolder) -> None:
    match behaviour:
        case "raise":
            raise ValueError("the sky is green\nand the sea as well")
        case "out of memory":
            raise OutOfMemoryError("tried to allocate 8 EiB")
        case "fill the disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.safetensors")
        case "die":
            print("last words")
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            (folder.path / "hanging").touch()
            time.sleep(60)
        case "hang once" if not (folder.path / "hanging").exists():
            (folder.path / "hanging").touch()
            time.sleep(60)
        case "ignore the end":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (folder.path / "hanging").touch()
            time.sleep(60)
        case "forget":
            os._exit(3)
        case "count threads":
            folder.tags({"threads": str(threading.active_count()), "slot_env": os.environ["OMP_NUM_THREADS"]})
