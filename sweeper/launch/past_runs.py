"""What finished runs cost: read from their folders, the newest ones, without reading all of their events.

Figures of a run that shared its forward are undone to what it would have taken alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.config import RunConfig, run_config
from sweeper.launch.group import SHARING_EXPONENT, DataSize
from sweeper.launch.workload import CHARACTERS_PER_TOKEN, Text, blocks_of, lengths_of, num_rows, num_steps
from sweeper.peft_method import PeftMethod
from sweeper.tracking.run_folder import RUNS

NEWEST = 200  # runs that are read
HEAD_BYTES, TAIL_BYTES = 4096, 32_768  # of the events: how the run began, what it measured at its end
GIB = 2**30


@dataclass(frozen=True)
class PastRun:
    config: RunConfig
    size: DataSize  # in examples
    source: str  # files | hub | demo
    train_s: float  # as if alone
    eval_s: float  # as if alone
    load_s: float
    group_size: int
    peak_bytes: float
    disk_bytes: float
    tokens: float  # trained on
    group: str  # tells the runs that trained together from all others

    @property
    def kind(self) -> str:
        return kind_of(self.config)

    def texts(self, known: Mapping[tuple[str, str], Mapping[str, Text]]) -> Mapping[str, Text]:
        """As `known` has them by task and source; else told by the tokens that the run trained on."""
        sampled = known.get((self.config.task.name, self.source))
        return sampled or dict.fromkeys(("train", "test"), self._counted_text())

    def rows(self, texts: Mapping[str, Text]) -> DataSize:
        """Of its examples, of which a row of running text became several."""
        train, test = (blocks_of(self.config.task, texts[split]) for split in ("train", "test"))
        return DataSize(math.ceil(self.size.train / train), self.size.selection, math.ceil(self.size.test / test))

    def _counted_text(self) -> Text:
        train, fixed = self.config.train, lengths_of(self.config, Text(0.0, 0.0), with_answer=True)
        examples = max(1, num_steps(self.config, self.size, blocks=1) * train.batch_size)
        rows = num_rows(train.batch_size, fixed, train.row_tokens) / train.batch_size
        own = max(1.0, self.tokens / examples - fixed.own - rows * fixed.prefix)
        return Text(own * CHARACTERS_PER_TOKEN, 2 * own * CHARACTERS_PER_TOKEN)


def kind_of(config: RunConfig) -> str:
    """Model and family of methods: runs of one kind are equally fast."""
    method = PeftMethod.from_config(config.peft)
    return f"{config.model.name} {method.type or method.method} {method.quantization.type}"


def ids_on_disk(folder: Path, prefixes: set[str]) -> list[str]:
    """Of the runs whose ids begin with one of these, up to their hash, whatever became of them."""
    names = os.listdir(folder) if prefixes else []
    return [name for name in names if name.rpartition("-")[0] in prefixes]


def is_complete(folder: Path) -> bool:
    states = [event.get("state") for event in _tail(folder) if event["event"] in ("started", "finished")]
    return states[-1:] == ["COMPLETE"]


def past_runs(output_dir: Path) -> list[PastRun]:
    """Complete ones, the newest first. A folder of another layout or of a config that is no more tells nothing."""
    found = [(events.stat().st_mtime, events.parent) for events in (output_dir / RUNS).glob("*/events.jsonl")]
    newest = [folder for _, folder in sorted(found, reverse=True)[:NEWEST]]
    return [run for folder in newest if (run := _read(folder)) is not None]


def _read(folder: Path) -> PastRun | None:
    if not is_complete(folder):
        return None
    measured = {name: value for event in _tail(folder) if event["event"] == "metrics"
                for name, value in event["values"].items() if isinstance(value, int | float)}  # fmt: skip
    try:
        identity = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        config = run_config(identity["config"])
        return _past_run(folder, config, measured)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _past_run(folder: Path, config: RunConfig, measured: Mapping[str, float]) -> PastRun:
    size = DataSize(
        int(measured["data/train_examples"]) or 1, config.task.selection_size, int(measured["data/test_examples"])
    )
    group, began = int(measured["perf/group_size"]), _Beginning.read(folder)
    alone = math.pow(group, -SHARING_EXPONENT)  # K runs take K ** 0.65 times as long as one: `group`
    return PastRun(
        config=config, size=size, source=config.task.data.source.value,
        train_s=measured["perf/train_s"] * alone, eval_s=measured["perf/eval_s"] * alone,
        load_s=began.load_s, group_size=group, peak_bytes=measured["perf/peak_memory_gib"] * GIB,
        disk_bytes=folder_bytes(folder), tokens=measured.get("perf/train_tokens", 0.0), group=began.group,
    )  # fmt: skip


@dataclass(frozen=True)
class _Beginning:
    load_s: float = 0.0  # from the group's first word to the run's start
    group: str = ""  # its slot, and the second of its first word

    @classmethod
    def read(cls, folder: Path) -> _Beginning:
        """Nothing where the head of the events does not tell."""
        with (folder / "events.jsonl").open("rb") as file:
            events = _parsed(file.read(HEAD_BYTES).split(b"\n")[:-1])
        started = next((event for event in events if event["event"] == "started"), None)
        loading = next((event for event in events if event["event"] == "progress"), None)
        if started is None or loading is None:
            return cls()
        return cls(max(0.0, started["time"] - loading["time"]), f"{started['slot']} {loading['time']:.0f}")


def folder_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _tail(folder: Path) -> list[dict[str, Any]]:
    """The last complete events."""
    try:
        with (folder / "events.jsonl").open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return []
    return _parsed(lines[1:] if start else lines)


def _parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        return []
