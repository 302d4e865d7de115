"""A trainer that writes what the shortest real run writes, and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.training.control import Assignment, Control

NUM_POINTS = 5  # of the training curve


def train_group(assignments: Sequence[Assignment], *, control: Control) -> None:
    """What the shortest real run writes."""
    for folder in (assignment.folder for assignment in assignments):
        folder.started(control.slot)
        folder.progress(1, 1, 1.0, "training")
        for step in range(NUM_POINTS):
            folder.metrics(step, {"train/loss": 1.0, "train/learning_rate": 1e-3, "train/grad_norm": 1.0})
        folder.metrics(NUM_POINTS, {"eval/accuracy": 0.5, "test/accuracy": 0.5, "test/f1_macro": 0.5})
        (folder.artifacts / "config.yaml").write_text("train: {}\n", encoding="utf-8")
        folder.finish("COMPLETE")
