"""Ctrl-C, SIGTERM and SIGHUP as one exception in the main thread; a second one ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Not an Exception: nothing that catches errors may swallow it."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)

    @property
    def exit_code(self) -> int:
        return 128 + self.signal


class Stop:
    """While entered, the first signal raises Stopped wherever the main thread is, or where `deferred` ends."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            # A signal that was ignored stays so: `nohup` means it.
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                self._before[number] = handler
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Around what must not be cut in two. Leaving it raises Stopped where a signal came meanwhile."""
        came_before, self._deferring = self._number, True
        try:
            yield
        finally:
            self._deferring = False
        if self._number is not None and came_before is None:
            raise Stopped(self._number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._number is not None:
            os._exit(128 + number)  # the workers read the end of their pipes and leave
        self._number = number
        if not self._deferring:
            raise Stopped(number)
