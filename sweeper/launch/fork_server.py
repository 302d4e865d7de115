"""The process that has imported everything heavy, and the workers that it forks.

Owns how a worker process starts, is addressed and ends; what it is given to do is `slots`'.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeper.launch import worker
from sweeper.launch.worker import WorkerSettings

ENVIRONMENT = {
    # A process that forks must have one thread: OpenBLAS starts its own when numpy is imported, Arrow's allocator
    # when pandas is.
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # torch.cuda.is_available() asks NVML instead of CUDA, which would not survive the fork.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# How often a waiting thread looks again before it sleeps. OpenMP's own default, some milliseconds of it, costs a third
# of a step where anything else runs on the machine, and a thousand times cost nothing where nothing does.
WAITING = {"GOMP_SPINCOUNT": "1000"}
SERVER_DIED = 255  # multiprocessing's exit code for a worker whose end nobody can report: it may still live


def modules_to_preload(trainer: str, *, on_gpu: bool) -> list[str]:
    """Imported once, in the fork server (ten seconds for the real trainer); every worker then starts in 0.05 s.

    The trainer imports PEFT, PEFT bitsandbytes, and that starts CUDA when it sees a GPU, which does not survive a
    fork: there each worker imports the rest itself.
    """
    return ["torch", "transformers"] if on_gpu else [trainer.partition(":")[0]]


def warm_up(modules: Sequence[str], log: Path) -> None:
    """Starts the fork server, which imports while the caller goes on. Main thread only.

    Its output, and what workers say before they have a log of their own, goes to `log`. Signals of the terminal
    don't reach it or its workers: the coordinating process decides what becomes of them.
    """
    multiprocessing.set_forkserver_preload(list(modules))
    with _ignored(signal.SIGINT, signal.SIGHUP), _environment(ENVIRONMENT | _waiting()), _output_to(log):
        forkserver.ensure_running()


def _waiting() -> dict[str, str]:
    """Nothing where a person has chosen."""
    return {} if os.environ.keys() & {*WAITING, "OMP_WAIT_POLICY"} else WAITING


class Worker:
    """A running worker process and our end of its pipe."""

    def __init__(self, process: ForkServerProcess, connection: Connection) -> None:
        self.process = process
        self.connection = connection

    @classmethod
    def start(cls, settings: WorkerSettings) -> Worker:
        """Returns when the fork server has forked, so the first call waits for its imports."""
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=worker.main, args=(theirs,), name=f"slot-{settings.slot}")
        # The worker alone holds its end: when either side dies the other reads the end of the file.
        with theirs, _no_main_module():
            process.start()
        started = cls(process, ours)
        started.send(settings.to_dict())
        return started

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    def send(self, message: Mapping[str, Any]) -> None:
        """A worker that is dead already takes nothing: its sentinel tells."""
        with contextlib.suppress(BrokenPipeError):
            self.connection.send_bytes(json.dumps(message).encode())

    def received(self) -> dict[str, Any] | None:
        """The message that has come; None where the pipe has ended or is empty."""
        try:
            message: dict[str, Any] | None = (
                json.loads(self.connection.recv_bytes()) if self.connection.poll() else None
            )
        except (EOFError, OSError):
            return None
        return message

    def end(self, deadline: float) -> int:
        """Waits until then (time.monotonic), kills after it. The exit code, negative for a signal."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.connection.close()
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        exit_code = self.process.exitcode
        assert exit_code is not None
        if exit_code == SERVER_DIED:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.ident or 0, signal.SIGKILL)
        return exit_code


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """A worker would import the program's main module again, half a second of Hydra that it has no use for."""
    main_module = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main_module


@contextlib.contextmanager
def _ignored(*signals: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """For processes that start inside."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with log.open("ab") as file:
        for descriptor in before:
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        for descriptor, kept in before.items():
            os.dup2(kept, descriptor)
            os.close(kept)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
