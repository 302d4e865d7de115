"""The process of one slot: receives groups of runs, trains them, says when it is done.

Owns the process's signals, output, devices and threads, and turns an exception of the trainer into
`finished` events of the runs it left unfinished. Events go to the run folders, never through the pipe
(what does: `pipe_control`).
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
from sweeper.launch.pipe_control import Message, PipeControl
from sweeper.tracking.run_folder import Reason
from sweeper.training.failure import described, is_disk_full, one_line

TRAINER = "sweeper.training.trainers:train_group"
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

    def send(message: Message) -> None:
        try:
            connection.send_bytes(json.dumps(message).encode())
        except BrokenPipeError:  # the coordinating process is gone, which is no failure of the runs
            raise SystemExit(128 + signal.SIGTERM) from None

    while "stop" not in (message := commands.get()):
        if "train" in message:  # what else comes now was meant for a group that has ended
            _use_threads(message["threads"])
            said = {name: message[name] for name in ("memory_share", "together", "judges")}
            control = PipeControl(settings.slot, commands=commands, send=send, **said)
            send(train(message["train"], control, settings.trainer))


def train(messages: Sequence[Message], control: PipeControl, trainer: str = TRAINER) -> Message:
    """The answer when the group has ended: every run in it has a new `finished` event, whatever the trainer did.

    Except where memory was short: then they get an `out_of_memory` event, and the answer has its one line. A full disk
    is told there too, and is no end of theirs.
    """
    failure: Exception | None = None
    try:
        if assignments := control.take(messages):
            load_trainer(trainer)(assignments, control=control)
            failure = RuntimeError(f"{trainer} returned before it finished the run")
    except Exception as error:
        failure = error
    control.forget_late_arrivals()
    left = [attempt for attempt in control.attempts.values() if not attempt.has_finished()]
    answer: Message = {"done": control.done, "out_of_memory": None, "disk_full": None}
    if failure is not None and is_disk_full(failure):
        answer["disk_full"] = one_line(failure)
    elif failure is not None and left:
        answer["out_of_memory"] = _fail(left, failure)
    control.release()
    return answer


def _fail(left: Sequence[Attempt], error: Exception) -> str | None:
    reason, detail, trace = described(error)
    if len(left) > 1:
        detail = f"{detail} (in a group of {len(left)} runs)"
    for attempt in left:
        if reason is Reason.OUT_OF_MEMORY:
            attempt.folder.append("out_of_memory", detail=detail, traceback=trace)
        else:
            attempt.fail(reason, detail, trace)
    return detail if reason is Reason.OUT_OF_MEMORY else None


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
