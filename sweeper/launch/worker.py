"""The process of one slot: receives groups of run folders, trains them, says when it is done.

Owns the process's signals, output, devices and threads, and turns an exception of the trainer into
`finished` events of the runs it left unfinished. Events go to the run folders, never through the pipe.
The pipe carries JSON: {"train": [folder, ...], "threads": n} one way; {"done": [run id, ...], "out_of_memory": line}
back, where the line, mostly null, says that the unfinished runs need smaller groups.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from sweeper.launch.attempt import Attempt
from sweeper.tracking.run_folder import Reason, RunFolder
from sweeper.training.failure import described

TRAINER = "sweeper.training.loop:train_group"
GRACE_S = 5.0  # for a worker to leave after SIGTERM, before it is killed

Trainer = Callable[..., None]


@dataclass(frozen=True)
class WorkerSettings:
    slot: int
    gpu: str | None  # CUDA_VISIBLE_DEVICES
    trainer: str  # module:function
    log: str  # file that gets the process's output

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def main(connection: Connection) -> None:
    """Serves one slot until told to stop or until the coordinating process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the coordinator decides
    signal.signal(signal.SIGTERM, _leave)
    settings = WorkerSettings(**json.loads(connection.recv_bytes()))
    _redirect_output(Path(settings.log))
    if settings.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpu
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, commands), daemon=True).start()
    while paths := (command := commands.get()).get("train"):
        _use_threads(command["threads"])
        folders = [RunFolder.open(path) for path in paths]
        out_of_memory = train(folders, settings)
        done = {"done": [folder.run_id for folder in folders], "out_of_memory": out_of_memory}
        connection.send_bytes(json.dumps(done).encode())


def train(folders: Sequence[RunFolder], settings: WorkerSettings) -> str | None:
    """Every folder has a new `finished` event afterwards, whatever the trainer does.

    Except where several runs together ran out of memory: fewer of them may not. They get an `out_of_memory` event,
    and its one line is returned.
    """
    attempts = [Attempt(folder) for folder in folders]
    try:
        load_trainer(settings.trainer)(folders, slot=settings.slot)
    except Exception as error:
        return _fail(attempts, error)
    for attempt in attempts:
        attempt.fail(Reason.ERROR, f"{settings.trainer} returned before it finished the run")
    return None


def _fail(attempts: Sequence[Attempt], error: Exception) -> str | None:
    left = [attempt for attempt in attempts if not attempt.has_finished()]
    reason, detail, trace = described(error)
    if len(left) > 1:
        detail = f"{detail} (in a group of {len(left)} runs)"
    if len(left) > 1 and reason is Reason.OUT_OF_MEMORY:
        for attempt in left:
            attempt.folder.append("out_of_memory", detail=detail, traceback=trace)
        return detail
    for attempt in left:
        attempt.fail(reason, detail, trace)
    return None


def load_trainer(name: str) -> Trainer:
    module, _, function = name.partition(":")
    trainer: Trainer = getattr(importlib.import_module(module), function)
    return trainer


def _leave(_signum: int, _frame: FrameType | None) -> None:
    """SIGTERM: unwind, so that open files are closed; the events file and checkpoints bear any moment."""
    raise SystemExit(128 + signal.SIGTERM)


def _receive(connection: Connection, commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Hands commands on. When the coordinating process dies, its runs must not go on behind its back."""
    while True:
        try:
            commands.put(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_S)
            os._exit(128 + signal.SIGTERM)


def _redirect_output(log: Path) -> None:
    """Standard output and error, C libraries' included, go to the slot's log; a crash leaves its stack there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()


def _use_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when it is imported
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
