"""Runs on the small model of `conftest`, over in a second: their configs, their folders, what they leave."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file

from sweeper.config import RunConfig, run_config
from sweeper.tracking.run_folder import RunFolder, RunIdentity, RunState
from sweeper.training import loop
from sweeper.training.control import Alone, Assignment, Control, Departure
from sweeper.training.loop import train_group
from tasks import sources

GOOD, BAD = ["good", "bright", "moving"], ["bad", "dull", "slow"]
FILLER = ["a", "the", "film", "plot", "is", "was", "very", "and"]
LORA: dict[str, Any] = {"name": "lora", "method": "adapter", "type": "LORA", "r": 4, "target_modules": "all-linear"}
TIMED = ("train/tokens_per_s", "perf/train_s", "perf/eval_s", "perf/peak_memory_gib", "perf/group_size")

MakeConfig = Callable[..., RunConfig]


def write_sentences(folder: Path) -> Path:
    """Sentences whose label is one word's: small enough to learn in a second."""
    rng = random.Random(0)
    for split, count in (("train", 80), ("test", 24)):
        lines = ["sentence\tlabel"]
        for number in range(count):
            word = rng.choice(GOOD if number % 2 else BAD)
            filler = " ".join(rng.choice(FILLER) for _ in range(rng.randint(1, 5)))
            lines.append(f"{filler} {word} {filler}\t{number % 2}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def small_config(model: Path, data: Path, output: Path) -> MakeConfig:
    def make(
        peft: dict[str, Any] | None = None, *, seed: int = 0, task: dict[str, Any] | None = None,
        dtype: str = "float32", **train: Any
    ) -> RunConfig:  # fmt: skip
        config = RunConfig(peft=LORA | (peft or {}), seed=seed, data_dir=str(data), output_dir=str(output))
        config.model.name, config.model.path, config.model.dtype = "tiny", str(model), dtype
        files = {"train": ["train.tsv"], "test": ["test.tsv"]}
        config.task.data = dataclasses.replace(config.task.data, files=files, text="sentence")
        config.task.labels = ["negative", "positive"]
        config.task.prompt = dataclasses.replace(config.task.prompt, user="Sentence : {sentence} Sentiment :")
        defaults = {"learning_rate": 1e-2, "batch_size": 8, "epochs": 3.0, "logging_steps": 2, "row_tokens": 64}
        config.train = dataclasses.replace(config.train, **(defaults | train))
        config.task = dataclasses.replace(config.task, **({"selection_size": 16} | (task or {})))
        config.validate()
        return run_config(config.to_dict())

    return make


def folder_of(config: RunConfig, *, root: Path | None = None) -> RunFolder:
    source = sources.resolve(config.task, config.data_dir, embedded_model=False)
    splits = sources.load(source, config.task)
    data = {"source": splits.source, "digest": splits.digest}
    return RunFolder.create(root or Path(config.output_dir), RunIdentity.of(config, data))


def train_folders(
    folders: Sequence[RunFolder], *, control: Control | None = None, readings: Sequence[RunFolder] = ()
) -> None:
    """`readings` are the first run's."""
    first, *others = folders
    assignments = [Assignment(first, readings), *map(Assignment, others)]
    train_group(assignments, control=control or Alone())


@dataclass
class Script(Alone):
    """Says what is to happen after which step of the group, and remembers what it was asked."""

    joining: Mapping[int, Sequence[Assignment]] = field(default_factory=dict)  # after this many steps of the group
    leaving: Mapping[int, Mapping[str, Departure]] = field(default_factory=dict)
    verdicts: Sequence[Mapping[str, Departure]] = ()  # one for each time that runs are judged
    memory_share: float = 1.0
    slot: int = 3
    steps: int = 0
    asked: list[list[str]] = field(default_factory=list)

    def judged(self, evaluated: Sequence[RunFolder]) -> Mapping[str, Departure]:
        self.asked.append([folder.run_id for folder in evaluated])
        return self.verdicts[len(self.asked) - 1] if len(self.asked) <= len(self.verdicts) else {}

    def arrivals(self) -> Sequence[Assignment]:
        self.steps += 1
        return self.joining.get(self.steps, ())

    def departures(self) -> Mapping[str, Departure]:
        return self.leaving.get(self.steps, {})


def pruned(folder: RunFolder) -> dict[str, Departure]:
    return {folder.run_id: Departure(RunState.PRUNED, None, "worse than the median")}


class Interrupted(Exception):
    """Instead of a kill."""


def interrupt_after(steps: int, folders: Sequence[RunFolder], patch: pytest.MonkeyPatch, **group: Any) -> None:
    """Trains the group for so many steps, and then no more."""
    whole, left = loop.optimizer_step, iter(range(steps))

    def interrupted(*arguments: Any) -> None:
        if next(left, None) is None:
            raise Interrupted
        whole(*arguments)

    with patch.context() as during:
        during.setattr(loop, "optimizer_step", interrupted)
        with pytest.raises(Interrupted):
            train_folders(folders, **group)


def events_of(folder: RunFolder) -> list[tuple[int, str, float]]:
    events, _ = folder.read()
    return [(event["step"], name, value) for event in events if event["event"] == "metrics"
            for name, value in event["values"].items() if name not in TIMED]  # fmt: skip


def predictions_of(folder: RunFolder) -> list[tuple[Any, ...]]:
    table = pd.read_parquet(folder.artifacts / "predictions.parquet")[["id", "text"]]
    return list(table.itertuples(index=False, name=None))


def reason_of(folder: RunFolder) -> tuple[str, str]:
    """Why the run failed, and the one line about it."""
    last = folder.last("finished")
    assert last is not None
    assert last["state"] == "FAILED", last
    return last["reason"], last["detail"]


def assert_same(ours: RunFolder, theirs: RunFolder, *, tolerance: float = 1e-6, but: Sequence[str] = ()) -> None:
    """The two runs are COMPLETE with the same points, save those of the metrics `but`, predictions and adapter."""
    assert ours.state() is theirs.state() is RunState.COMPLETE
    found, expected = ([point for point in sorted(events_of(folder)) if point[1] not in but]
                       for folder in (ours, theirs))  # fmt: skip
    assert [point[:2] for point in found] == [point[:2] for point in expected]
    for (step, name, left), (_, _, right) in zip(found, expected, strict=True):
        assert left == pytest.approx(right, rel=tolerance, abs=1e-9), (step, name)
    assert predictions_of(ours) == predictions_of(theirs)
    adapters = [load_file(folder.artifacts / "adapter" / "adapter_model.safetensors") for folder in (ours, theirs)]
    assert adapters[0].keys() == adapters[1].keys()
    for name, weight in adapters[0].items():
        assert float((weight - adapters[1][name]).norm()) <= tolerance * float(adapters[1][name].norm()), name
