"""Optimisers and schedules by name, one pair for each run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from sweeper import optimizer_names
from sweeper.checks import ConfigError, suggestion
from sweeper.train_config import TrainConfig

# Paging moves optimiser state between a GPU and its host; where there is no GPU the state is in host memory anyway.
UNPAGED = {"PagedAdamW32bit": ("torch", "AdamW")}


def build_optimizer(train: TrainConfig, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Weight decay spares biases, norms and other vectors, as in Transformers.

    Raises ConfigError for an unknown name or an argument that the optimiser does not take.
    """
    device = next(iter(parameters.values())).device
    package, name, defaults = optimizer_names.find(train.optimizer)
    if device.type != "cuda":
        package, name = UNPAGED.get(name, (package, name))
    optimizer_class = getattr(_module(package), name)
    arguments = {"lr": train.learning_rate, "weight_decay": train.weight_decay} | defaults | train.optimizer_args
    taken = inspect.signature(optimizer_class).parameters
    for key in train.optimizer_args:
        if key not in taken:
            raise ConfigError(f"train.optimizer_args.{key}", train.optimizer_args[key], f"{name} does not take it",
                              suggestion(key, taken))  # fmt: skip
    if "fused" in taken:
        arguments.setdefault("fused", True)  # one kernel for all tensors: on small adapters twice as fast
    matrices = [weight for weight in parameters.values() if weight.ndim > 1]
    vectors = [weight for weight in parameters.values() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer: torch.optim.Optimizer = optimizer_class([group for group in groups if group["params"]], **arguments)
    return optimizer


def build_scheduler(train: TrainConfig, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    """Numbers of steps below 1 are a share of all steps, as in Transformers."""
    specific = dict(train.lr_scheduler_args)
    if "num_decay_steps" in specific:
        specific["num_decay_steps"] = max(1, _num_steps(specific["num_decay_steps"], num_steps))
    scheduler: LRScheduler = get_scheduler(
        train.lr_scheduler_type, optimizer, _num_steps(train.warmup_steps, num_steps), num_steps,
        scheduler_specific_kwargs=specific,
    )  # fmt: skip
    return scheduler


def _num_steps(steps_or_share: float, num_steps: int) -> int:
    return int(steps_or_share if steps_or_share >= 1 else steps_or_share * num_steps)


def _module(package: str) -> Any:
    if package == "torch":
        return torch.optim
    import bitsandbytes.optim

    return bitsandbytes.optim
