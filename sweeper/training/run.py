"""One run inside a group: its data order, its optimiser, its records. What it shares is the loop's.

Everything random is drawn from the run's own seed and the step at hand, so a run neither feels its
neighbours nor an interruption.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.config import RunConfig
from sweeper.metrics import MAXIMIZE, direction
from sweeper.tracking.run_folder import RunFolder
from sweeper.training.checkpoint import Checkpoint, latest_checkpoint, load_best, save_best, save_checkpoint
from sweeper.training.failure import Diverged, described, is_out_of_memory
from sweeper.training.objective import Batch, Data
from sweeper.training.optim import build_optimizer, build_scheduler
from sweeper.training.stacked_lora import keyed_generator

PROGRESS_EVERY_S = 0.5


@dataclass
class Progress:
    """All of a run's state but its tensors; plain JSON, part of every checkpoint."""

    step: int = 0
    best_score: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    train_s: float = 0.0
    eval_s: float = 0.0
    tokens: int = 0
    loss_first: float | None = None
    loss_last: float | None = None


@dataclass
class _Window:
    """What happened since the last point of the training curve."""

    loss: float = 0.0
    weight: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class Run:
    folder: RunFolder
    config: RunConfig
    index: int  # place in the group
    data: Data
    parameters: Mapping[str, nn.Parameter]
    progress: Progress = field(default_factory=Progress)
    failed: bool = False

    def __post_init__(self) -> None:
        train = self.config.train
        self.steps_per_epoch = math.ceil(self.data.num_train / train.batch_size)
        self.num_steps = self._num_steps() if self.parameters else 0
        if self.parameters:
            self.optimizer = build_optimizer(train, self.parameters)
            self.scheduler = build_scheduler(train, self.optimizer, self.num_steps)
        self._logged_until = self._last_logged_steps()
        self._window = _Window()
        self._last_progress = 0.0
        self._epoch_order: tuple[int, list[int]] = (-1, [])

    def _num_steps(self) -> int:
        train = self.config.train
        steps = max(math.ceil(train.epochs * self.steps_per_epoch), train.min_steps)
        return steps if train.max_steps is None else min(steps, train.max_steps)

    @property
    def done(self) -> bool:
        return self.failed or self.progress.stopped_early or self.progress.step >= self.num_steps

    @property
    def epoch(self) -> float:
        return self.progress.step / self.steps_per_epoch

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What goes wrong inside fails this run and no other; out of memory concerns the whole group, and is raised."""
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.failed = True
            self.folder.finish("FAILED", *described(error))

    # Data order.

    def batches(self) -> list[Batch[Any]]:
        """The micro-batches of the next optimiser step."""
        size, pieces = self.config.train.batch_size, self.config.train.gradient_accumulation_steps
        start = self.progress.step % self.steps_per_epoch * size
        chosen = self._order(self.progress.step // self.steps_per_epoch)[start : start + size]
        micro = math.ceil(len(chosen) / pieces)
        return [
            Batch(self.index, self.data, chosen[first : first + micro],
                  dropout_key=(self.config.seed, self.progress.step, first // micro))
            for first in range(0, len(chosen), micro)
        ]  # fmt: skip

    def _order(self, epoch: int) -> list[int]:
        if self._epoch_order[0] != epoch:
            generator = keyed_generator((self.config.seed, "order", epoch), torch.device("cpu"))
            self._epoch_order = (epoch, torch.randperm(self.data.num_train, generator=generator).tolist())
        return self._epoch_order[1]

    # The step.

    def update(self, loss_sum: float, weight: float) -> None:
        """Clips, steps and schedules, once the gradients of the whole batch are in.

        Raises Diverged before it touches the weights.
        """
        norm = self._clip()
        if not (math.isfinite(loss_sum) and math.isfinite(norm)):
            raise Diverged(f"loss {loss_sum / weight:g}, gradient norm {norm:g} at step {self.progress.step + 1} "
                           f"with learning rate {self.scheduler.get_last_lr()[0]:g}")  # fmt: skip
        self._learning_rate, self._grad_norm = float(self.scheduler.get_last_lr()[0]), norm
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self._window.loss += loss_sum
        self._window.weight += weight

    def _clip(self) -> float:
        limit = self.config.train.max_grad_norm
        return float(nn.utils.clip_grad_norm_(self.parameters.values(), limit if limit > 0 else math.inf))

    def account(self, seconds: float, tokens: int) -> None:
        """Counts the wall clock of the group's step and the run's own tokens, and logs the curve where it is due."""
        self.progress.train_s += seconds
        self.progress.tokens += tokens
        self._window.seconds += seconds
        self._window.tokens += tokens
        step, every = self.progress.step, self.config.train.logging_steps
        if step == 1 or step % every == 0 or step == self.num_steps:
            self._log_curve()

    # Records.

    def log(self, values: Mapping[str, float]) -> None:
        """Writes a point, unless the run has it already: at this step, or from before an interruption."""
        step = self.progress.step
        new = {name: value for name, value in values.items() if step > self._logged_until.get(name, -1)}
        if new:
            self.folder.metrics(step, new)
            self._logged_until.update(dict.fromkeys(new, step))

    def _log_curve(self) -> None:
        window, self._window = self._window, _Window()
        loss = window.loss / window.weight
        self.progress.loss_first = loss if self.progress.loss_first is None else self.progress.loss_first
        self.progress.loss_last = loss
        values = {
            "train/loss": loss,
            "train/learning_rate": self._learning_rate,
            "train/grad_norm": self._grad_norm,
            "train/epoch": self.epoch,
        }
        if window.seconds > 0:
            values["train/tokens_per_s"] = window.tokens / window.seconds
        self.log(values)

    def _last_logged_steps(self) -> dict[str, int]:
        events, _ = self.folder.read()
        return {name: event["step"] for event in events if event["event"] == "metrics" for name in event["values"]}

    def show(self, phase: str) -> None:
        """Tells where the run is, at most twice a second unless the phase changed."""
        now = time.monotonic()
        if phase != "training" or now - self._last_progress >= PROGRESS_EVERY_S:
            self._last_progress = now
            self.folder.progress(self.progress.step, self.num_steps, self.epoch, phase)

    # When to look, and what to keep.

    def due(self, every: int | str) -> bool:
        """Whether `epoch`, or a number of steps, comes round at the step just made."""
        if every == "epoch":
            return self.progress.step % self.steps_per_epoch == 0
        return isinstance(every, int) and self.progress.step % every == 0

    @property
    def wants_evaluation(self) -> bool:
        """At the end too where the best weights are kept: the last ones may be those."""
        return self.due(self.config.train.eval_every) or (self.done and self.keeps_best)

    @property
    def keeps_best(self) -> bool:
        return self.config.train.load_best_model_at_end or self.config.train.early_stopping_patience is not None

    def judge(self, scores: Mapping[str, float]) -> None:
        """Remembers the best weights and stops the run that no longer gains. Raises Diverged without a score."""
        if not self.keeps_best:
            return
        train, state = self.config.train, self.progress
        score = scores[train.metric_for_best_model]
        self.require_finite(train.metric_for_best_model, score)
        sign = 1 if direction(train.metric_for_best_model) == MAXIMIZE else -1
        if state.best_score is None or sign * score > sign * state.best_score:
            state.best_score, state.best_step, state.evaluations_without_gain = score, state.step, 0
            save_best(self.folder.checkpoints, state.step, self.weights())
        else:
            state.evaluations_without_gain += 1
        patience = train.early_stopping_patience
        state.stopped_early = patience is not None and state.evaluations_without_gain >= patience

    def weights(self) -> dict[str, Tensor]:
        """The trained tensors by names that do not depend on the run's place in the group."""
        return {_placeless(name, self.index): weight for name, weight in self.parameters.items()}

    def require_finite_weights(self) -> None:
        """Raises Diverged: a last step can break what no later loss would tell."""
        for name, weight in self.weights().items():
            if not torch.isfinite(weight).all():
                raise Diverged(f"weights of {name} are not finite at step {self.progress.step}")

    def require_finite(self, name: str, value: float) -> None:
        """Raises Diverged."""
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value:g} at step {self.progress.step}")

    def checkpoint(self) -> None:
        optimizer = self.optimizer.state_dict()
        schedule = {key: value for key, value in self.scheduler.state_dict().items() if key != "lr_lambdas"}
        progress = {"state": asdict(self.progress), "window": asdict(self._window), "schedule": schedule,
                    "best_step": self.progress.best_step}  # fmt: skip
        save_checkpoint(self.folder.checkpoints, self.progress.step,
                        Checkpoint(weights=self.weights(), optimizer=optimizer, progress=progress))  # fmt: skip

    def resume(self) -> int | None:
        """Goes back to the newest checkpoint; its step, or None for a fresh start."""
        found = latest_checkpoint(self.folder.checkpoints) if self.parameters else None
        if found is None:
            return None
        self._load_weights(found.weights)
        self.optimizer.load_state_dict(found.optimizer)
        self.scheduler.load_state_dict(found.progress["schedule"] | {"lr_lambdas": self._lr_lambdas()})
        self.progress = Progress(**found.progress["state"])
        self._window = _Window(**found.progress["window"])
        return self.progress.step

    def load_best(self) -> None:
        if self.config.train.load_best_model_at_end and self.progress.best_step is not None:
            self._load_weights(load_best(self.folder.checkpoints, self.progress.best_step))

    def _lr_lambdas(self) -> list[Any]:
        return list(self.scheduler.state_dict().get("lr_lambdas", []))

    @torch.no_grad()
    def _load_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[_placeless(name, self.index)])


def _placeless(name: str, index: int) -> str:
    return name.replace(f".run{index}.", ".").replace(f".run{index}", "")
