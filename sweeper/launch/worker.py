"""The process of one slot: receives groups of run folders, trains them, says when it is done.

Owns the process's signals, output, devices and threads, and turns an exception of the trainer into
`finished` events of the runs it left unfinished. Events go to the run folders, never through the pipe.
The pipe carries JSON: {"train": [folder, ...], "threads": n} one way, {"done": [run id, ...]} back.
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
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from sweeper.launch.attempt import Attempt
from sweeper.tracking.run_folder import Reason, RunFolder

TRAINER = "sweeper.training.loop:train_group"
GRACE_S = 5.0  # for a worker to leave after SIGTERM, before it is killed

# What the allocators of torch, CUDA, cuBLAS, bitsandbytes and the kernel say; torch's own error is known by its name.
OUT_OF_MEMORY_TEXTS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "failed to allocate",
    "cublas_status_alloc_failed", "cudaerrormemoryallocation",
)  # fmt: skip

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
        train(folders, settings)
        connection.send_bytes(json.dumps({"done": [folder.run_id for folder in folders]}).encode())


def train(folders: Sequence[RunFolder], settings: WorkerSettings) -> None:
    """Every folder has a new `finished` event afterwards, whatever the trainer does."""
    attempts = [Attempt(folder) for folder in folders]
    try:
        load_trainer(settings.trainer)(folders, slot=settings.slot)
    except Exception as error:
        reason = Reason.OUT_OF_MEMORY if is_out_of_memory(error) else Reason.ERROR
        trace = "".join(traceback.format_exception(error))
        for attempt in attempts:
            attempt.fail(reason, one_line(error), trace)
    else:
        for attempt in attempts:
            attempt.fail(Reason.ERROR, f"{settings.trainer} returned before it finished the run")


def load_trainer(name: str) -> Trainer:
    module, _, function = name.partition(":")
    trainer: Trainer = getattr(importlib.import_module(module), function)
    return trainer


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    allocates = isinstance(error, RuntimeError | OSError)
    return allocates and any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)


def one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


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
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for processes that the trainer might start
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
