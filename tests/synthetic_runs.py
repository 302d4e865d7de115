"""Run folders as training would leave them, without training: for tests and benchmarks of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.config import ReportConfig, RunConfig, Source
from sweeper.tracking.run_folder import RunFolder, RunIdentity

CODE = {"commit": "c0ffee" * 6 + "c0ff", "dirty": False, "versions": {"python": "3.11.0", "torch": "2.13.0"}}


@dataclass
class SyntheticRun:
    task: str = "sst2"
    task_type: str = "classification"  # of another, `metrics` has the scores
    model: str = "mini"
    method: str = "lora"
    train_size: int | str = 100
    seed: int = 0
    learning_rate: float = 1e-3  # each is a trial of its own, that of the default the first
    state: str | None = "COMPLETE"  # None: still running
    reason: str | None = None
    detail: str | None = None
    accuracy: float = 0.8
    eval_accuracy: float | None = None  # of the selection split; as the test accuracy unless given
    irregular: Mapping[str, int] = field(default_factory=dict)
    source: str = "files: sst2/train.tsv, sst2/dev.tsv"
    demo: bool = False
    sweep_id: str | None = "5eed5eed00"
    params: Mapping[str, Any] = field(default_factory=dict)
    num_points: int = 3
    metrics: Mapping[str, float] = field(default_factory=dict)  # besides those of every run
    tags: Mapping[str, str] = field(default_factory=dict)
    report: ReportConfig = field(default_factory=ReportConfig)
    scale: str = "full"

    def config(self) -> RunConfig:
        config = RunConfig(seed=self.seed, peft={"name": self.method}, report=self.report, scale=self.scale)
        config.task.type = self.task_type
        config.task.name, config.task.train_size, config.model.name = self.task, self.train_size, self.model
        config.train.learning_rate = self.learning_rate
        config.task.data.source = Source.DEMO if self.demo else Source.FILES
        return config

    def write(self, output_dir: Path) -> RunFolder:
        folder = self.create(output_dir)
        folder.started(slot=0)
        for step in range(self.num_points):
            folder.metrics(step, {"train/loss": 0.7 / (step + 1), "train/learning_rate": 1e-3, "train/epoch": step + 1})
        if self.tags:
            folder.tags(self.tags)
        if self.state == "COMPLETE":
            self._evaluate(folder)
        if self.state is not None:
            folder.finish(self.state, self.reason, self.detail)
        return folder

    def create(self, output_dir: Path) -> RunFolder:
        cell = {"task.train_size": self.train_size, "peft": self.method}
        identity = RunIdentity.of(
            self.config(), {"source": self.source, "digest": "d1ce" * 16}, sweep_id=self.sweep_id, study="one",
            trial=round(1e6 * abs(self.learning_rate - 1e-3)), params=dict(self.params), cell=cell,
            replicate=self.seed, code=CODE,
        )  # fmt: skip
        return RunFolder.create(output_dir, identity)

    def _evaluate(self, folder: RunFolder) -> None:
        count = sum(self.irregular.values())
        chosen = self.accuracy if self.eval_accuracy is None else self.eval_accuracy
        scores = {
            "eval/accuracy": chosen, "test/accuracy": self.accuracy, "test/f1_macro": self.accuracy - 0.01,
            "test/irregular": count, "test/irregular_share": count / 100,
        }  # fmt: skip
        values = {
            "train/loss_first": 0.7, "train/loss_last": 0.7 / max(1, self.num_points),
            "data/train_examples": self._rows(), **(scores if self.task_type == "classification" else {}),
            **self.metrics,
        }  # fmt: skip
        folder.metrics(self.num_points, values)
        (folder.artifacts / "irregular.json").write_text(json.dumps(dict(self.irregular)))

    def _rows(self) -> int:
        return self.train_size if isinstance(self.train_size, int) else 66_349
