"""One run inside a group: its data order, its optimiser, its end. What it shares is the loop's.

Everything random is drawn from the run's own seed and the step at hand, so a run neither feels its
neighbours nor an interruption.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.config import RunConfig
from sweeper.metrics import MAXIMIZE, direction
from sweeper.tracking.run_folder import Reason, RunFolder, RunState
from sweeper.training.checkpoint import (
    Checkpoint,
    load_best,
    load_checkpoint,
    save_best,
    save_checkpoint,
    steps_kept,
)
from sweeper.training.failure import Diverged, described, is_disk_full, is_out_of_memory
from sweeper.training.objective import Batch, Data
from sweeper.training.optim import build_optimizer, build_scheduler
from sweeper.training.records import Records, Window
from sweeper.training.stacked_lora import keyed_generator

SHARED_WITH = "sweeper.shared_with"  # tag of a reading: the run that trained its weights


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
    group_size: int = 1  # the most runs that shared a training step with this one, itself counted


@dataclass
class Run:
    folder: RunFolder
    config: RunConfig
    index: int  # place in the group
    data: Data
    parameters: Mapping[str, nn.Parameter]
    memory_share: float = 1.0  # see `control.Control`
    readings: list[Run] = field(default_factory=list)  # runs that this one is at an earlier step, the next one first
    progress: Progress = field(default_factory=Progress)
    ended: bool = False  # how, its folder says

    def __post_init__(self) -> None:
        self.records = Records(self.folder)
        self.steps_per_epoch = max(1, math.ceil(self.data.num_train / self.config.train.batch_size))
        self.num_steps = self._num_steps() if self.parameters and self.config.makes_steps else 0
        self._window = Window()
        self._epoch_order: tuple[int, list[int]] = (-1, [])

    def _num_steps(self) -> int:
        train = self.config.train
        steps = max(math.ceil(train.epochs * self.steps_per_epoch), train.min_steps)
        return steps if train.max_steps is None else min(steps, train.max_steps)

    @property
    def done(self) -> bool:
        return self.ended or self.progress.stopped_early or self.progress.step >= self.num_steps

    @property
    def epoch(self) -> float:
        return self.progress.step / self.steps_per_epoch

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What goes wrong inside fails this run and no other; want of memory or disk concerns all, and is raised."""
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error) or is_disk_full(error):
                raise
            self.end(RunState.FAILED, *described(error))

    def end(
        self, state: RunState, reason: Reason | None = None, detail: str | None = None, traceback: str | None = None
    ) -> None:
        """Nothing more is said of it. Checkpoints stay where the run may be asked to go on."""
        self.ended = True
        if reason is Reason.DIVERGED:  # the way there led nowhere: whoever asks again starts afresh
            self._forget_checkpoints()
        self.folder.finish(state, reason, detail, traceback)
        if state in (RunState.COMPLETE, RunState.PRUNED):  # last: a kill before it costs nothing
            self._forget_checkpoints()

    def _forget_checkpoints(self) -> None:
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)

    # Data order.

    def batches(self) -> list[Batch[Any]]:
        """The micro-batches of the next optimiser step, smaller where memory is short.

        Dropout is drawn by micro-batch: with it, a smaller memory share is another draw of the same run.
        """
        size, pieces = self.config.train.batch_size, self.config.train.gradient_accumulation_steps
        start = self.progress.step % self.steps_per_epoch * size
        chosen = self._order(self.progress.step // self.steps_per_epoch)[start : start + size]
        micro = min(math.ceil(len(chosen) / pieces), math.ceil(math.ceil(size / pieces) * self.memory_share))
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
        self._window.learning_rate, self._window.grad_norm = float(self.scheduler.get_last_lr()[0]), norm
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self._window.loss += loss_sum
        self._window.weight += weight

    def _clip(self) -> float:
        limit = self.config.train.max_grad_norm
        return float(nn.utils.clip_grad_norm_(self.parameters.values(), limit if limit > 0 else math.inf))

    def account(self, seconds: float, tokens: int, *, sharing: int) -> None:
        """Counts the group's wall clock and runs, the run's own tokens, and logs the curve where it is due."""
        self.progress.group_size = max(self.progress.group_size, sharing)
        self.progress.train_s += seconds
        self.progress.tokens += tokens
        self._window.seconds += seconds
        self._window.tokens += tokens
        step, every = self.progress.step, self.config.train.logging_steps
        if step == 1 or step % every == 0 or step == self.num_steps:
            self._log_curve()

    # Records.

    def log(self, values: Mapping[str, float]) -> None:
        self.records.log(self.progress.step, values)

    def show(self, phase: str) -> None:
        self.records.show(self.progress.step, self.num_steps, self.epoch, phase)

    def _log_curve(self) -> None:
        window, self._window = self._window, Window()
        first = self.progress.loss_first
        self.progress.loss_first = window.mean_loss if first is None else first
        self.progress.loss_last = window.mean_loss
        self.log(window.point() | {"train/epoch": self.epoch})

    # When to look, and what to keep.

    def due(self, every: int | str) -> bool:
        """Whether `epoch`, or a number of steps, comes round at the step just made."""
        if every == "epoch":
            return self.progress.step % self.steps_per_epoch == 0
        return isinstance(every, int) and self.progress.step % every == 0

    @property
    def wants_evaluation(self) -> bool:
        """At the end where the best weights are kept: the last ones may be those. `results` evaluates any other end."""
        return self.keeps_best if self.done else self.due(self.config.train.eval_every)

    @property
    def keeps_checkpoints(self) -> bool:
        return bool(self.config.train.save_every != "never")

    @property
    def wants_checkpoint(self) -> bool:
        return self.due(self.config.train.save_every) and not self.done

    @property
    def keeps_best(self) -> bool:
        return self.config.train.load_best_model_at_end or self.config.train.early_stopping_patience is not None

    def judge(self, scores: Mapping[str, float]) -> None:
        """Remembers the best weights and stops the run that no longer gains. Raises Diverged without a score."""
        if not self.keeps_best:
            return
        train, state = self.config.train, self.progress
        name = self.config.metric_for_best_model
        score = scores[name]
        self.require_finite(name, score)
        sign = 1 if direction(name) == MAXIMIZE else -1
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

    def start(self, step: int | None = None) -> int | None:
        """Builds the optimiser and goes back to the checkpoint of that step, or to the newest where none is named.

        The step, or None for a fresh start, which step 0 means too. Raises ConfigError.
        """
        if not self.parameters:
            return None
        self.optimizer = build_optimizer(self.config.train, self.parameters)
        self.scheduler = build_scheduler(self.config.train, self.optimizer, self.num_steps)
        step = next(iter(steps_kept(self.folder.checkpoints)), 0) if step is None else step
        if step == 0:
            return None
        found = load_checkpoint(self.folder.checkpoints, step)
        self._load_weights(found.weights)
        self.optimizer.load_state_dict(found.optimizer)
        self.scheduler.load_state_dict(found.progress["schedule"] | {"lr_lambdas": self._lr_lambdas()})
        self.progress = Progress(**found.progress["state"])
        self._window = Window(**found.progress["window"])
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

    # Readings.

    def next_reading(self) -> Run | None:
        """The run that this one is now, once."""
        self.readings = [reading for reading in self.readings if not reading.ended]
        due = self.readings and self.readings[0].num_steps == self.progress.step
        return self.readings.pop(0) if due else None

    def read_from(self, longer: Run) -> None:
        """Becomes what the longer run, whose weights it has, is now: its state, its curve so far."""
        self.folder.tags({SHARED_WITH: longer.folder.run_id})
        self.records.copy(longer.folder, until=longer.progress.step)
        self.progress, self._window = replace(longer.progress), replace(longer._window)
        if self._window.weight:  # its last step has a point of the curve, which the longer run may not have
            self._log_curve()


def _placeless(name: str, index: int) -> str:
    return name.replace(f".run{index}.", ".").replace(f".run{index}", "")
