"""Optimisers and schedules by name, one pair for each run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from sweeper.config import ConfigError, TrainConfig, suggestion

# Transformers' names -> (package, class, arguments).
NAMED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adamw_torch": ("torch", "AdamW", {}),
    "adamw_torch_fused": ("torch", "AdamW", {}),  # fused wherever PyTorch can, under either name
    "sgd": ("torch", "SGD", {}),
    "adafactor": ("torch", "Adafactor", {}),
    "adagrad": ("torch", "Adagrad", {}),
    "rmsprop": ("torch", "RMSprop", {}),
    "adamw_bnb_8bit": ("bitsandbytes", "AdamW8bit", {}),
    "adamw_8bit": ("bitsandbytes", "AdamW8bit", {}),
    "paged_adamw_32bit": ("bitsandbytes", "PagedAdamW32bit", {}),
    "paged_adamw_8bit": ("bitsandbytes", "PagedAdamW8bit", {}),
    "lion_8bit": ("bitsandbytes", "Lion8bit", {}),
    "paged_lion_8bit": ("bitsandbytes", "PagedLion8bit", {}),
    "paged_lion_32bit": ("bitsandbytes", "PagedLion32bit", {}),
}
# Paging moves optimiser state between a GPU and its host; where there is no GPU the state is in host memory anyway.
UNPAGED = {"PagedAdamW32bit": ("torch", "AdamW")}


def build_optimizer(train: TrainConfig, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Weight decay spares biases, norms and other vectors, as in Transformers.

    Raises ConfigError for an unknown name or an argument that the optimiser does not take.
    """
    device = next(iter(parameters.values())).device
    package, name, defaults = _named(train.optimizer)
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
    """`train.warmup_steps` below 1 is a share of all steps, as in Transformers."""
    warmup = train.warmup_steps if train.warmup_steps >= 1 else train.warmup_steps * num_steps
    specific = {"min_lr_rate": 0.1} if train.lr_scheduler_type == "cosine_with_min_lr" else None
    if train.lr_scheduler_type == "warmup_stable_decay":
        specific = {"num_decay_steps": max(1, num_steps // 10)}
    scheduler: LRScheduler = get_scheduler(
        train.lr_scheduler_type, optimizer, int(warmup), num_steps, scheduler_specific_kwargs=specific
    )
    return scheduler


def _named(name: str) -> tuple[str, str, dict[str, Any]]:
    if name in NAMED:
        return NAMED[name]
    for package in ("torch", "bitsandbytes"):
        candidate = getattr(_module(package), name, None)
        if inspect.isclass(candidate) and issubclass(candidate, torch.optim.Optimizer):
            return package, name, {}
    classes = [key for key in dir(torch.optim) if key[0].isupper()]
    raise ConfigError("train.optimizer", name, "no such optimiser in Transformers' names, torch.optim or bitsandbytes",
                      suggestion(name, [*NAMED, *classes]))  # fmt: skip


def _module(package: str) -> Any:
    if package == "torch":
        return torch.optim
    import bitsandbytes.optim

    return bitsandbytes.optim
