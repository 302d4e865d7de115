"""What training costs: peak memory of this process, arithmetic of its steps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

GIB = 2**30


def reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    clear = Path("/proc/self/clear_refs")
    if clear.exists():  # Linux: "5" sets the high-water mark of resident memory back to now
        clear.write_text("5", encoding="ascii")


def peak_memory_gib() -> float:
    """Of the GPU; on a CPU the worker process's resident memory at its highest, shared pages included."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / GIB
    return float("nan")  # no such figure on this system


def matrix_weights(model: nn.Module) -> int:
    """Weights that every token is multiplied by: all linear layers but the output head, however they are stored."""
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    return sum(
        _size(module) for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head
    )


def _size(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features  # a 4-bit weight's own numel counts bytes
    return sum(weight.numel() for weight in module.parameters())


def total_parameters(model: nn.Module) -> int:
    """Counts a 4-bit layer by its shape, and tied weights once."""
    packed = [module for module in model.modules() if isinstance(module, nn.Linear) and module.weight.ndim == 2
              and module.weight.numel() != module.in_features * module.out_features]  # fmt: skip
    missing = sum(module.in_features * module.out_features - module.weight.numel() for module in packed)
    return sum(weight.numel() for weight in model.parameters()) + missing


def train_flops(*, tokens: int, matrices: int, reached: int, trainable: int) -> float:
    """Forward 2 per weight and token; backward 2 more for each that it reaches (nothing below the lowest layer that
    trains has a gradient), and 2 more for each that trains.

    Attention's own products and the head, read at few positions, are left out (Kaplan et al. 2020,
    arXiv 2001.08361, section 2.1).
    """
    return float(tokens) * (2 * matrices + 2 * reached + 2 * min(trainable, matrices))
