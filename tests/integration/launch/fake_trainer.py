"""A trainer for real worker processes: what a run does stands in its folder's `params`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence

from sweeper.tracking.run_folder import RunFolder

NUM_STEPS = 4


class OutOfMemoryError(RuntimeError):
    """Known by its name, as torch's is."""


def train_group(folders: Sequence[RunFolder], *, slot: int) -> None:
    for folder in folders:
        folder.started(slot)
    for folder in folders:
        _train(folder)


def _train(folder: RunFolder) -> None:
    params = folder.identity.params
    with (folder.path.parent.parent / "trained.txt").open("a") as file:
        file.write(f"{folder.run_id}\n")
    for step in range(1, NUM_STEPS + 1):
        folder.progress(step, NUM_STEPS, step / NUM_STEPS, "training")
        folder.metrics(step, {"train/loss": 1 / step})
    _misbehave(params.get("behaviour", "complete"), folder)
    folder.metrics(NUM_STEPS, {"eval/accuracy": params.get("accuracy", 0.5), "test/accuracy": 0.5})
    folder.finish("COMPLETE")


def _misbehave(behaviour: str, folder: RunFolder) -> None:
    match behaviour:
        case "raise":
            raise ValueError("the sky is green\nand the sea as well")
        case "out of memory":
            raise OutOfMemoryError("tried to allocate 8 EiB")
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
