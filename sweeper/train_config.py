"""How a run is trained: the keys of `train`, their units, defaults and rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sweeper.checks import ConfigError, at_least, one_of, positive, suggestion

# Transformers' names, and what each takes in lr_scheduler_args: numbers. num_decay_steps below 1 is a share of all.
LR_SCHEDULERS: dict[str, tuple[str, ...]] = {
    "linear": (), "cosine": ("num_cycles",), "cosine_with_restarts": ("num_cycles",), "polynomial": ("lr_end", "power"),
    "constant": (), "constant_with_warmup": (), "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": ("min_lr_rate", "num_cycles"),
    "warmup_stable_decay": ("num_decay_steps", "min_lr_ratio", "num_cycles"),
}  # fmt: skip
NEEDED_BY_LR_SCHEDULERS = {"cosine_with_min_lr": "min_lr_rate", "warmup_stable_decay": "num_decay_steps"}


@dataclass
class TrainConfig:
    epochs: float = 1.0
    min_steps: int = 0  # optimiser steps: a small training set is repeated until it reaches them
    max_steps: int | None = None  # optimiser steps: cuts the run short
    batch_size: int = 16  # examples per optimiser step
    gradient_accumulation_steps: int = 1  # forwards that share one optimiser step
    row_tokens: int = 512  # tokens of one packed row; a longer example has a row alone
    learning_rate: float = 2e-4
    optimizer: str = "adamw_torch"  # Transformers' names, or torch.optim.X / bitsandbytes.optim.X by class name
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0  # 0 switches clipping off
    lr_scheduler_type: str = "linear"  # Transformers' names
    lr_scheduler_args: dict[str, Any] = field(default_factory=dict)  # see LR_SCHEDULERS
    warmup_steps: float = 0.0  # optimiser steps, or below 1 a share of all
    logging_steps: int = 10  # optimiser steps between two points of the training curve
    eval_every: Any = "end"  # end | epoch | a number of optimiser steps, on the selection split; always at the end
    save_every: Any = 200  # epoch | never | a number of optimiser steps: checkpoints to resume from
    early_stopping_patience: int | None = None  # evaluations without improvement
    load_best_model_at_end: bool = False
    metric_for_best_model: str = "auto"  # of the selection split; auto: what its task seeks (metrics.HEADLINE)

    def validate(self) -> None:
        positive("train.epochs", self.epochs)
        positive("train.learning_rate", self.learning_rate)
        for key in ("batch_size", "gradient_accumulation_steps", "logging_steps"):
            at_least(f"train.{key}", getattr(self, key), 1)
        at_least("train.row_tokens", self.row_tokens, 16)
        for key in ("min_steps", "weight_decay", "max_grad_norm", "warmup_steps"):
            at_least(f"train.{key}", getattr(self, key), 0)
        if self.max_steps is not None:
            at_least("train.max_steps", self.max_steps, 1)
        if self.gradient_accumulation_steps > self.batch_size:
            raise ConfigError("train.gradient_accumulation_steps", self.gradient_accumulation_steps,
                              f"cannot exceed train.batch_size={self.batch_size}")  # fmt: skip
        self._validate_schedule()
        self._validate_intervals()

    def _validate_schedule(self) -> None:
        name, given = self.lr_scheduler_type, self.lr_scheduler_args
        one_of("train.lr_scheduler_type", name, LR_SCHEDULERS)
        for key, value in given.items():
            where = f"train.lr_scheduler_args.{key}"
            if key not in LR_SCHEDULERS[name]:
                raise ConfigError(where, value, f"{name} does not take it", suggestion(key, LR_SCHEDULERS[name]))
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(where, value, "must be a number")
            at_least(where, value, 0)
        if (needed := NEEDED_BY_LR_SCHEDULERS.get(name)) and needed not in given:
            raise ConfigError(f"train.lr_scheduler_args.{needed}", None, f"{name} needs it", "set it to 0.1, say")

    def _validate_intervals(self) -> None:
        for key, word in (("eval_every", "end"), ("save_every", "never")):
            value = getattr(self, key)
            if value not in ("epoch", word) and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"train.{key}", value, f"must be 'epoch', '{word}' or a positive number of steps")
        selects = self.load_best_model_at_end or self.early_stopping_patience is not None
        if selects and self.eval_every == "end":
            raise ConfigError("train.eval_every", "end", "choosing a checkpoint needs evaluations", "set it to epoch")
        if self.early_stopping_patience is not None:
            at_least("train.early_stopping_patience", self.early_stopping_patience, 1)
