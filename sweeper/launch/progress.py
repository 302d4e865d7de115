"""What a person sees while a sweep trains: one live line per running run and one for the sweep.

Where standard output is no terminal: sparse lines with the time of day. Reads events, owns no state that
anything else depends on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

HEADLINES = ("test/accuracy", "test/f1", "test/perplexity")  # of a run: the one that its task has
PLAIN_SHARE = 0.1  # of a run's steps between two plain lines,
PLAIN_INTERVAL_S = 10.0  # and seconds: both must have passed


@dataclass
class RunStatus:
    """The latest of each thing that a run's events say."""

    name: str
    phase: str = "waiting"
    step: int = 0
    num_steps: int = 0
    epoch: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    finished: dict[str, Any] | None = None  # the event
    began: tuple[float, int] | None = None  # time and step where training began, of this attempt

    def take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "started":
                self.phase, self.began, self.finished = "loading", None, None
            case "progress":
                self.phase, self.step, self.num_steps = event["phase"], event["step"], event["num_steps"]
                self.epoch = event["epoch"]
                if self.phase == "training" and self.began is None:
                    self.began = (event["time"], self.step)
            case "metrics":
                self.metrics |= event["values"]
            case "out_of_memory":
                self.phase = "waiting for more memory"
            case "worker_died":
                self.phase = "waiting for a new worker"
            case "finished":
                self.finished = event

    def remaining_s(self, now: float) -> float | None:
        """Seconds of training left at the pace so far; None before there is one. `now`: unix time."""
        if self.began is None or self.step <= self.began[1]:
            return None
        return (self.num_steps - self.step) * (now - self.began[0]) / (self.step - self.began[1])

    def line(self, now: float) -> str:
        parts = [f"{self.name}: {self.phase}"]
        if self.num_steps:
            parts += [f"step {self.step}/{self.num_steps}", f"epoch {self.epoch:.2f}"]
        if "train/loss" in self.metrics:
            parts.append(f"loss {self.metrics['train/loss']:.3f}")
        if "train/tokens_per_s" in self.metrics:
            parts.append(f"{self.metrics['train/tokens_per_s']:,.0f} tokens/s")
        if self.phase == "training" and (remaining := self.remaining_s(now)) is not None:
            parts.append(f"{duration(remaining)} left")
        return "  ".join(parts)

    def result(self) -> str:
        """One line for a run that has ended: its headline metric, or why there is none."""
        assert self.finished is not None
        if self.finished["state"] != "COMPLETE":
            cause = " - ".join(part for part in (self.finished["reason"], self.finished["detail"]) if part)
            return f"{self.finished['state']} {self.name}: {cause}"
        headline = next((name for name in HEADLINES if name in self.metrics), None)
        return f"done {self.name}" + (f": {headline} {self.metrics[headline]:.4f}" if headline else "")


class Progress:
    """Counts runs; how they are shown is the subclasses' business. A context manager: `with progress: ...`"""

    def __init__(self, console: Console, total: int | None, *, clock: Callable[[], float] = time.time) -> None:
        self.console, self.total, self.clock = console, total, clock
        self.began = clock()
        self.running: dict[str, RunStatus] = {}
        self.num_done = self.num_failed = self.num_pruned = self.num_stopped = self.num_reused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def start(self, run_id: str, name: str) -> None:
        self.running[run_id] = RunStatus(name)

    def take(self, run_id: str, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            self.running[run_id].take(event)

    def end(self, run_id: str) -> None:
        """Its `finished` event has been taken."""
        status = self.running.pop(run_id)
        assert status.finished is not None
        state = status.finished["state"]
        self.num_done += state != "KILLED"
        self.num_stopped += state == "KILLED"
        self.num_failed += state == "FAILED"
        self.num_pruned += state == "PRUNED"
        self.say(f"{self.time_of_day()} {status.result()}", style={"FAILED": "red", "KILLED": "yellow"}.get(state, ""))

    def reuse(self, name: str) -> None:
        """A run whose finished folder is at hand."""
        self.num_done += 1
        self.num_reused += 1
        self.say(f"{self.time_of_day()} already there: {name}")

    def skip(self, run_id: str, name: str, why: str) -> None:
        """A run that was pruned before it began, or while it waited to go on."""
        self.running.pop(run_id, None)
        self.num_done += 1
        self.num_pruned += 1
        self.say(f"{self.time_of_day()} PRUNED {name}: {why}")

    def hold(self, run_id: str, who: str) -> None:
        """Another process trains this very run."""
        status = self.running.pop(run_id)
        self.say(f"{self.time_of_day()} {status.name}: {who} trains it; its result will be taken", style="yellow")

    def refresh(self) -> None:
        """Called a few times a second."""

    def sweep_line(self) -> str:
        done = f"{self.num_done} of {self.total} runs" if self.total else f"{self.num_done} runs"
        parts = [done, f"{self.num_failed} failed", f"{duration(self.clock() - self.began)} elapsed"]
        if self.num_pruned:
            parts.insert(2, f"{self.num_pruned} pruned")
        if self.num_stopped:
            parts.insert(2, f"{self.num_stopped} stopped")
        if self.num_reused:
            parts.insert(1, f"{self.num_reused} of them already there")
        return ", ".join(parts)

    def time_of_day(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self.clock()))


class LiveProgress(Progress):
    """Redraws in place."""

    def __init__(self, console: Console, total: int | None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(console, total, clock=clock)
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        self._live.stop()

    def refresh(self) -> None:
        lines = [status.line(self.clock()) for status in self.running.values()]
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in [*lines, self.sweep_line()]]
        texts[-1].stylize("bold")
        self._live.update(Group(*texts), refresh=True)


class PlainProgress(Progress):
    """Lines that stay: the start of a run, about every tenth of it, its end."""

    def __init__(self, console: Console, total: int | None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(console, total, clock=clock)
        self._shown: dict[str, tuple[float, float]] = {}  # run id -> time and share of its last line

    def __exit__(self, *_: object) -> None:
        self.say(f"{self.time_of_day()} {self.sweep_line()}")

    def start(self, run_id: str, name: str) -> None:
        super().start(run_id, name)
        self._shown[run_id] = (self.clock(), 0.0)
        self.say(f"{self.time_of_day()} start {name}")

    def end(self, run_id: str) -> None:
        super().end(run_id)
        del self._shown[run_id]

    def refresh(self) -> None:
        for run_id, status in self.running.items():
            share = status.step / status.num_steps if status.num_steps else 0.0
            then, shown = self._shown[run_id]
            if share >= shown + PLAIN_SHARE - 1e-9 and self.clock() >= then + PLAIN_INTERVAL_S:
                self._shown[run_id] = (self.clock(), share)
                self.say(f"{self.time_of_day()} {status.line(self.clock())}")


def progress_on(console: Console, total: int | None) -> Progress:
    return (LiveProgress if console.is_terminal else PlainProgress)(console, total)


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03` or `45 s`."""
    whole = max(0, math.ceil(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
