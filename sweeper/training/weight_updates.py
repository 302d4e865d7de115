"""How far training moved the base model's weights: by weight, the norm of its update and how many numbers changed.

An adapter leaves the weights themselves alone: there W is the weight that the base model computes with, and W + dW
the one that base model and adapter compute with together. Of plain LoRA dW is never made: with G(X) = X^T X

    ||s B A||_F^2 = s^2 sum(G(B) * G(A^T))                   (Hu et al. 2021, arXiv 2106.09685, has s B A)

Of any other adapter (PEFT's `get_delta_weight` is an update for some types, a rotation or a factor for others) both
weights are read off what the layer answers to unit vectors.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.ln_tuning.layer import LNTuningLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.integrations import dequantize_module_weight
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sweeper.tracking import pictures

UNITS = 1024  # unit vectors at a time
ROUNDING = 4  # machine epsilons of a weight, by which an adapter that changes nothing may miss it
LAYER = re.compile(r"(?:^|.*?\.)(\d+)\.(.+)")  # model.layers.3.mlp.up_proj -> 3, mlp.up_proj


@dataclass(frozen=True)
class WeightUpdate:
    name: str  # of the weight in the base model
    relative_norm: float | None  # ||dW|| / ||W|| (Frobenius); None where W was all zero
    changed: int  # numbers that are others now
    total: int

    @property
    def layer(self) -> int | None:
        """From 0; None outside the layers."""
        found = LAYER.fullmatch(self.name)
        return int(found[1]) if found else None

    @property
    def module(self) -> str:
        """Its name inside the layer, a bias as a part of its own."""
        found = LAYER.fullmatch(self.name)
        return (found[2] if found else self.name).removesuffix(".weight")


def write(updates: Sequence[WeightUpdate], artifacts: Path) -> None:
    """weight_updates.json and weight_updates.png; nothing where no weight can have changed."""
    if not updates:
        return
    rows = [{"layer": update.layer, "module": update.module, **asdict(update)} for update in updates]
    (artifacts / "weight_updates.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    norms = {(update.layer, update.module): update.relative_norm for update in updates}
    pictures.weight_updates(norms, artifacts / "weight_updates.png")


def copied(weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """As they are now, on the CPU."""
    return {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}


def compared(before: Mapping[str, Tensor], weights: Mapping[str, nn.Parameter]) -> list[WeightUpdate]:
    """Of weights that are trained themselves."""
    return [_difference(name, before[name], weight.detach().cpu()) for name, weight in weights.items()]


def copied_modules(model: nn.Module) -> dict[str, nn.Module]:
    """By path and on the CPU, the modules that an adapter may sit on, before it rewrites their weights."""
    kinds = nn.Linear | Conv1D | nn.Embedding
    return {path: copy.deepcopy(module).cpu() for path, module in model.named_modules() if isinstance(module, kinds)}


@torch.no_grad()
def adapted(model: nn.Module, adapter: str, originals: Mapping[str, nn.Module] = {}) -> list[WeightUpdate]:
    """Of the base model inside `model` under one adapter; a prompt changes none.

    `originals`: by path, modules whose weights the adapter rewrote when it was made (PiSSA).
    """
    return list(_adapted(model, adapter, originals))


def _adapted(model: nn.Module, adapter: str, originals: Mapping[str, nn.Module]) -> Iterator[WeightUpdate]:
    for path, layer in model.named_modules():
        if isinstance(layer, ModulesToSaveWrapper) and adapter in layer.modules_to_save:
            yield from _replaced(path, layer.original_module, layer.modules_to_save[adapter])
        elif isinstance(layer, LNTuningLayer) and adapter in layer.ln_tuning_layers:
            yield from _replaced(path, layer.get_base_layer(), layer.ln_tuning_layers[adapter])
        elif isinstance(layer, BaseTunerLayer) and adapter in layer._all_available_adapter_names():
            base = originals.get(path, layer.get_base_layer())
            if path not in originals and _is_plain_lora(layer, adapter):
                yield _low_rank(path, layer, adapter)
            elif isinstance(base, nn.Linear | Conv1D | nn.Embedding):
                yield _through_forward(path, layer, base)
            else:
                yield _by_delta(path, layer, adapter)


def _is_plain_lora(layer: Any, adapter: str) -> bool:
    linear = isinstance(layer, LoraLayer) and isinstance(layer.get_base_layer(), nn.Linear | Conv1D)
    return linear and adapter in layer.lora_A and adapter not in layer.lora_variant


def _low_rank(path: str, layer: Any, adapter: str) -> WeightUpdate:
    """Counts as changed what a row of B and a column of A that are not all zero make together."""
    a, b = (matrix[adapter].weight.to("cpu", torch.float64) for matrix in (layer.lora_A, layer.lora_B))
    squared = float(((b.T @ b) * (a @ a.T)).sum())
    norm = abs(layer.scaling[adapter]) * math.sqrt(max(0.0, squared))
    weight = dequantize_module_weight(layer.get_base_layer())
    changed = int((b != 0).any(1).sum() * (a != 0).any(0).sum())
    whole = float(torch.linalg.vector_norm(weight, dtype=_precise(weight.dtype)))
    return _update(f"{path}.weight", (norm, whole), changed, weight.numel())


def _through_forward(path: str, layer: Any, base: nn.Module) -> WeightUpdate:
    """Both sides answer in float32 or better, an unpacked copy of the layer and its base without bias or dropout."""
    plain = _unpacked(base).to(layer.get_base_layer().weight.device)
    both: Any = copy.deepcopy(layer, {id(layer.get_base_layer()): _unpacked(layer.get_base_layer())}).eval()
    precision = _precise(plain.weight.dtype)
    both._apply(lambda tensor: tensor.to(precision) if tensor.is_floating_point() else tensor)
    moved, whole, changed = 0.0, 0.0, 0
    for units, nothing in _unit_vectors(plain):
        before = plain(units)
        delta = both(units) - both(nothing) - before if nothing is not None else both(units) - before
        moved, whole = moved + float(delta.square().sum()), whole + float(before.square().sum())
        changed += int((delta.abs() > ROUNDING * torch.finfo(precision).eps * before.abs()).sum())
    return _update(f"{path}.weight", (math.sqrt(moved), math.sqrt(whole)), changed, plain.weight.numel())


def _unpacked(base: Any) -> Any:
    """A copy in float32 or better, a quantised weight in plain numbers, the bias zero."""
    weight = dequantize_module_weight(base).detach()
    if isinstance(base, nn.Linear):
        plain: Any = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
    else:
        plain = copy.deepcopy(base)
        if getattr(plain, "bias", None) is not None:
            plain.bias.data.zero_()
    plain.weight = nn.Parameter(weight.to(_precise(weight.dtype), copy=True), requires_grad=False)
    return plain.to(_precise(weight.dtype)).eval()


def _unit_vectors(plain: Any) -> Iterator[tuple[Tensor, Tensor | None]]:
    """[1, UNITS, in] at a time, and a zero vector; of an embedding the tokens, which have no zero."""
    weight = plain.weight
    if isinstance(plain, nn.Embedding):
        for tokens in torch.arange(plain.num_embeddings, device=weight.device).split(UNITS):
            yield tokens[None], None
        return
    num_in = weight.shape[0] if isinstance(plain, Conv1D) else weight.shape[1]
    for hot in torch.arange(num_in, device=weight.device).split(UNITS):
        yield nn.functional.one_hot(hot, num_in).to(weight.dtype)[None], weight.new_zeros(1, 1, num_in)


def _by_delta(path: str, layer: Any, adapter: str) -> WeightUpdate:
    """Of a layer that is no matrix, such as a convolution."""
    weight = layer.get_base_layer().weight.detach().cpu()
    return _difference(f"{path}.weight", weight, weight + layer.get_delta_weight(adapter).detach().cpu())


def _replaced(path: str, before: nn.Module, after: nn.Module) -> Iterator[WeightUpdate]:
    """Of a module that is trained as a copy of itself, such as a classification head beside an adapter."""
    trained = dict(after.named_parameters())
    for name, weight in before.named_parameters():
        yield _difference(f"{path}.{name}", weight.detach().cpu(), trained[name].detach().cpu())


def _difference(name: str, before: Tensor, after: Tensor) -> WeightUpdate:
    delta = after.to(_precise(after.dtype)) - before
    norms = [float(torch.linalg.vector_norm(each, dtype=torch.float64)) for each in (delta, before)]
    return _update(name, (norms[0], norms[1]), int((after != before).sum()), before.numel())


def _update(name: str, norms: tuple[float, float], changed: int, total: int) -> WeightUpdate:
    """`norms`: of dW and of W."""
    moved, whole = norms
    return WeightUpdate(name, moved / whole if whole else None, changed, total)


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
