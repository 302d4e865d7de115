"""What a run writes into its folder on its way: the points of its curve, each once, and where it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.tracking.run_folder import RunFolder

PROGRESS_EVERY_S = 0.5


@dataclass
class Window:
    """What happened since the last point of the training curve; plain JSON, part of every checkpoint."""

    loss: float = 0.0  # summed
    weight: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0  # of the last step
    grad_norm: float = 0.0  # of the last step, before clipping

    @property
    def mean_loss(self) -> float:
        return self.loss / self.weight

    def point(self) -> dict[str, float]:
        values = {
            "train/loss": self.mean_loss,
            "train/learning_rate": self.learning_rate,
            "train/grad_norm": self.grad_norm,
        }
        if self.seconds > 0:
            values["train/tokens_per_s"] = self.tokens / self.seconds
        return values


class Records:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        events, _ = folder.read()
        self._logged_until: dict[str, int] = {
            name: event["step"] for event in events if event["event"] == "metrics" for name in event["values"]
        }
        self._last_shown = 0.0

    def has(self, name: str, step: int) -> bool:
        """Whether this point was written, by this process or before an interruption."""
        return step <= self._logged_until.get(name, -1)

    def log(self, step: int, values: Mapping[str, float], *, at: float | None = None) -> None:
        """Writes the points that the folder does not have yet. `at`: seconds since the epoch, now where None."""
        new = {name: value for name, value in values.items() if not self.has(name, step)}
        if new:
            self.folder.metrics(step, new, at=at)
            self._logged_until.update(dict.fromkeys(new, step))

    def copy(self, source: RunFolder, *, until: int) -> None:
        """Takes over another run's points up to this step, and their times."""
        events, _ = source.read()
        for event in events:
            if event["event"] == "metrics" and event["step"] <= until:
                self.log(event["step"], event["values"], at=event["time"])

    def show(self, step: int, num_steps: int, epoch: float, phase: str) -> None:
        """Tells where the run is, at most twice a second unless the phase changed."""
        now = time.monotonic()
        if phase != "training" or now - self._last_shown >= PROGRESS_EVERY_S:
            self._last_shown = now
            self.folder.progress(step, num_steps, epoch, phase)
