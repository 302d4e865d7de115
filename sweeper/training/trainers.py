"""Who trains a group: by its architecture, which all runs of a group share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeper.config import Architecture, run_config
from sweeper.training import classical, loop
from sweeper.training.control import Assignment, Control

TRAINERS: dict[Architecture, Callable[..., None]] = {
    Architecture.CAUSAL_LM: loop.train_group,
    Architecture.ENCODER: loop.train_group,
    Architecture.CLASSICAL: classical.train_group,
}


def train_group(assignments: Sequence[Assignment], *, control: Control) -> None:
    """See `loop.train_group`."""
    config = run_config(assignments[0].folder.identity.config)
    TRAINERS[config.model.architecture](assignments, control=control)
