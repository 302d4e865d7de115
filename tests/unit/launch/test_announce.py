from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from sweeper.config import RunConfig, Source
from sweeper.launch.progress import PlainProgress
from sweeper.launch.start import announce


def announced(**sweep: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    fields = {"base": RunConfig(), "num_finished": 0, "num_trials": 4, "name": "sst2", "num_left_failed": 0,
              "notes": []}  # fmt: skip
    runs = SimpleNamespace(data=lambda _: SimpleNamespace(source="files a.tsv", kind=Source.FILES))
    plan = SimpleNamespace(description="1 slot")
    announce(cast(Any, SimpleNamespace(**fields | sweep)), cast(Any, runs), cast(Any, plan), PlainProgress(console, 4))
    return cast(io.StringIO, console.file).getvalue().splitlines()


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, "1 failed trial is left alone; retry_failed=true runs it again"),
        (3, "3 failed trials are left alone; retry_failed=true runs them again"),
    ],
)
def test_failures_that_are_left_alone_are_counted_with_the_switch(number: int, line: str) -> None:
    assert line in announced(num_left_failed=number, num_finished=4)
    assert not [text for text in announced() if "failed" in text]


def test_axes_that_do_not_apply_are_told() -> None:
    note = "peft=none trains nothing: task.train_size does not multiply its runs"
    assert note in announced(notes=[note])
