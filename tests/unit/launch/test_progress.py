from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from sweeper.launch.progress import LiveProgress, PlainProgress, Progress, RunStatus, duration, progress_on

COMPLETE = {"event": "finished", "state": "COMPLETE", "reason": None, "detail": None}
FAILED = {"event": "finished", "state": "FAILED", "reason": "out of memory", "detail": "tried [8] GiB"}


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False, width: int = 200) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)


def output(progress: Progress) -> list[str]:
    assert isinstance(progress.console.file, io.StringIO)
    return progress.console.file.getvalue().splitlines()


def step(number: int, of: int = 200, at: float = 0.0, phase: str = "training") -> dict[str, Any]:
    return {
        "event": "progress", "time": at, "step": number, "num_steps": of, "epoch": number / 100, "phase": phase
    }  # fmt: skip


def metrics(**values: float) -> dict[str, Any]:
    return {"event": "metrics", "step": 1, "values": {name.replace("__", "/"): value for name, value in values.items()}}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (12.2, "13 s"), (60, "1:00"), (125, "2:05"), (3723, "1:02:03"), (-5, "0 s")]
)
def test_duration_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_line_shows_phase_steps_epoch_loss_speed_and_time_left() -> None:
    status = RunStatus("mini lora 100")
    for event in (step(0, at=100), metrics(train__loss=0.4321, train__tokens_per_s=1234.5), step(50, at=110)):
        status.take(event)
    line = status.line(now=110)
    assert line == "mini lora 100: training  step 50/200  epoch 0.50  loss 0.432  1,234 tokens/s  30 s left"


def test_line_of_a_run_whose_group_lacked_memory_says_what_it_waits_for() -> None:
    status = RunStatus("run")
    for event in (step(50), {"event": "out_of_memory", "detail": "8 EiB"}):
        status.take(event)
    assert status.line(now=0).startswith("run: waiting for more memory")


def test_time_left_is_unknown_before_the_first_step() -> None:
    status = RunStatus("run")
    assert status.remaining_s(10) is None
    status.take(step(0, at=5))
    assert status.remaining_s(10) is None


def test_time_left_of_a_resumed_run_counts_from_where_it_was_resumed() -> None:
    status = RunStatus("run")
    for event in (step(0, at=0), step(10, at=1000), {"event": "started"}, step(100, at=2000), step(150, at=2010)):
        status.take(event)
    assert status.remaining_s(2010) == pytest.approx(10)


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        ({"test__accuracy": 0.71}, "test/accuracy 0.7100"),
        ({"test__best_f1": 0.9, "test__f1": 0.5}, "test/f1 0.5000"),
        ({"test__bits_per_character": 2.0, "test__perplexity": 46.2}, "test/perplexity 46.2000"),
    ],
)
def test_plain_progress_prints_the_start_and_the_end_with_the_headline_metric(
    measured: dict[str, float], shown: str
) -> None:
    progress = PlainProgress(console(), total=2)
    progress.start("id", "mini lora 100")
    progress.take("id", [step(200), metrics(**measured, test__loss=1.0), COMPLETE])
    progress.end("id")
    lines = output(progress)
    assert lines[0].endswith("start mini lora 100")
    assert lines[1].endswith(f"done mini lora 100: {shown}")


def test_plain_progress_is_sparse() -> None:
    clock = Clock()
    progress = PlainProgress(console(), total=1, clock=clock)
    progress.start("id", "run")
    for number in range(201):
        clock.now += 1.0
        progress.take("id", [step(number, at=clock.now)])
        progress.refresh()
    lines = [line for line in output(progress) if "step" in line]
    assert 8 <= len(lines) <= 10
    assert "step 20/200" in lines[0]


def test_plain_progress_of_fast_runs_has_no_lines_between_start_and_end() -> None:
    progress = PlainProgress(console(), total=1)
    progress.start("id", "run")
    for number in range(201):
        progress.take("id", [step(number)])
        progress.refresh()
    assert len(output(progress)) == 1


def test_a_stopped_run_is_neither_done_nor_failed() -> None:
    progress = PlainProgress(console(), total=2)
    for run_id, finished in (
        ("a", FAILED),
        ("b", FAILED | {"state": "KILLED", "reason": "killed", "detail": "SIGINT"}),
    ):
        progress.start(run_id, run_id)
        progress.take(run_id, [finished])
        progress.end(run_id)
    assert "KILLED b: killed - SIGINT" in output(progress)[-1]
    assert progress.sweep_line().startswith("1 of 2 runs, 1 failed, 1 stopped, ")


def test_failed_run_shows_its_reason_and_detail_as_they_are() -> None:
    progress = PlainProgress(console(), total=1)
    progress.start("id", "run")
    progress.take("id", [FAILED])
    progress.end("id")
    assert output(progress)[-1].endswith("FAILED run: out of memory - tried [8] GiB")
    assert progress.num_failed == 1


def test_plain_progress_ends_with_the_sweep() -> None:
    clock = Clock()
    with PlainProgress(console(), total=3, clock=clock) as progress:
        progress.start("id", "run")
        progress.take("id", [COMPLETE])
        progress.end("id")
        progress.reuse("other")
        clock.now += 75
    assert output(progress)[-1].endswith("2 of 3 runs, 1 of them already there, 0 failed, 1:15 elapsed")


def test_live_progress_has_one_line_per_running_run_and_one_for_the_sweep() -> None:
    progress = LiveProgress(console(terminal=True), total=4)
    with progress:
        progress.start("a", "run a")
        progress.start("b", "run b")
        progress.take("a", [step(10)])
        progress.refresh()
    text = "\n".join(output(progress))
    assert "run a: training  step 10/200" in text
    assert "run b: waiting" in text
    assert "0 of 4 runs, 0 failed" in text


def test_live_line_never_wraps() -> None:
    progress = LiveProgress(console(terminal=True, width=40), total=1)
    progress.start("a", "a run with a name that is longer than the terminal is wide")
    with progress:
        progress.refresh()
    assert not any("wide" in line for line in output(progress))


def test_console_decides_between_live_and_plain() -> None:
    assert isinstance(progress_on(console(terminal=True), 1), LiveProgress)
    assert isinstance(progress_on(console(), 1), PlainProgress)
