"""How far training moved the base model's weights: by weight, the norm of its update and how many numbers changed.

An adapter leaves the weights themselves alone: there W is the weight that the base model computes with, and W + dW
the one that base model and adapter compute with together. Of plain LoRA dW is never made: with G(X) = X^T X

    ||s B A||_F^2 = s^2 sum(G(B) * G(A^T))                   (Hu et al. 2021, arXiv 2106.09685, has s B A)

Of any other adapter (PEFT's `get_delta_weight` is an update for some types, a rotation or a factor for others) both
weights are read off what the layer answers to unit vectors, and a bias off what it answers to zeros. Where a layer
with its adapter is no such map of its own input, no weight stands for it: `NotDefined`.
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
from peft.utils import PeftType
from peft.utils.integrations import dequantize_module_weight
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sweeper.tracking import pictures

UNITS = 1024  # unit vectors at a time
ROUNDING = 4  # machine epsilons of a weight, by which an adapter that changes nothing may miss it
# PEFT types whose layers, asked alone, do not tell what the adapter does.
NOT_DEFINED = {
    "POLY": "which update a row gets hangs on its task",
    "SHADOW": "what it adds to a layer comes from a network beside the model",
    "XLORA": "how it mixes adapters hangs on the row",
}
LINEAR = 1e-3  # of the update of a sum, by which it may miss the sum of the updates
LAYER = re.compile(r"(?:^|.*?\.)(\d+)\.(.+)")  # model.layers.3.mlp.up_proj -> 3, mlp.up_proj


class NotDefined(ValueError):
    """No weight stands for what the adapter does."""


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
def adapted(model: nn.Module, adapter: str, originals: Mapping[str, nn.Module]) -> list[WeightUpdate]:
    """Of the base model inside `model` under one adapter; a prompt changes none.

    `originals`: by path, modules whose weights the adapter rewrote when it was made (PiSSA). Raises NotDefined.
    """
    config = getattr(model, "peft_config", {}).get(adapter)
    kind = PeftType(config.peft_type).value if config is not None else ""
    if kind in NOT_DEFINED:
        raise NotDefined(NOT_DEFINED[kind])
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
                yield from _through_forward(path, layer, base)
            else:
                yield _by_delta(path, layer, adapter)


def _is_plain_lora(layer: Any, adapter: str) -> bool:
    """AdaLoRA's layers are LoRA's too, but have three factors, none of them a module."""
    linear = isinstance(layer, LoraLayer) and isinstance(layer.get_base_layer(), nn.Linear | Conv1D)
    if not linear or adapter not in layer.lora_A or adapter in layer.lora_variant:
        return False
    return isinstance(layer.lora_A, nn.ModuleDict) and layer.lora_B[adapter].bias is None


def _low_rank(path: str, layer: Any, adapter: str) -> WeightUpdate:
    """Counts as changed what a row of B and a column of A that are not all zero make together."""
    a, b = (matrix[adapter].weight.to("cpu", torch.float64) for matrix in (layer.lora_A, layer.lora_B))
    squared = float(((b.T @ b) * (a @ a.T)).sum())
    norm = abs(layer.scaling[adapter]) * math.sqrt(max(0.0, squared))
    weight = dequantize_module_weight(layer.get_base_layer())
    changed = int((b != 0).any(1).sum() * (a != 0).any(0).sum())
    whole = float(torch.linalg.vector_norm(weight, dtype=_precise(weight.dtype)))
    return _update(f"{path}.weight", (norm, whole), changed, weight.numel())


def _through_forward(path: str, layer: Any, base: nn.Module) -> Iterator[WeightUpdate]:
    """Both sides answer in float32 or better, an unpacked copy of the layer and its base without bias or dropout.

    The bias comes after the weight, where the adapter changes one.
    """
    inner = layer.get_base_layer()
    plain = _unpacked(base).to(inner.weight.device)
    precision = plain.weight.dtype
    both = _precise_copy(layer, _unpacked(inner), precision)
    constant, zero = plain.weight.new_zeros(1), _zero(plain)
    if zero is not None:
        constant = both(zero)
        _require_linear(path, plain, both, zero)
    moved, whole, changed = 0.0, 0.0, 0
    for units in _units(plain):
        before = plain(units)
        delta = both(units) - constant - before
        moved, whole = moved + float(delta.square().sum()), whole + float(before.square().sum())
        rounding = ROUNDING * torch.finfo(precision).eps * (before.abs() + constant.abs())
        changed += int((delta.abs() > rounding).sum())
    yield _update(f"{path}.weight", (math.sqrt(moved), math.sqrt(whole)), changed, plain.weight.numel())
    if zero is not None:
        yield from _bias(path, layer, base, zero)


def _bias(path: str, layer: Any, base: Any, zero: Tensor) -> Iterator[WeightUpdate]:
    """What base and adapter answer to zeros, against the base's own bias; nothing where that is the same."""
    inner, own = layer.get_base_layer(), getattr(base, "bias", None)
    both = _precise_copy(layer, _unpacked(inner, bias=getattr(inner, "bias", None)), zero.dtype)
    after = both(zero).flatten().cpu()
    before = torch.zeros_like(after) if own is None else own.detach().cpu().to(zero.dtype)
    if not torch.allclose(after, before, rtol=ROUNDING * torch.finfo(zero.dtype).eps, atol=0):
        yield _difference(f"{path}.bias", before, after)


def _precise_copy(layer: Any, inner: nn.Module, precision: torch.dtype) -> Any:
    """The layer around another base, all numbers of the adapter in that precision."""
    copied: Any = copy.deepcopy(layer, {id(layer.get_base_layer()): inner}).eval()
    copied._apply(lambda tensor: tensor.to(precision) if tensor.is_floating_point() else tensor)
    if isinstance(getattr(copied, "dtype", None), torch.dtype):
        copied.dtype = precision  # that ADAMSS turns its input into
    return copied


def _require_linear(path: str, plain: nn.Module, both: Any, zero: Tensor) -> None:
    """Raises NotDefined where the update of a sum is not the sum of the updates, but for a constant."""
    drawn = torch.randn(2, *zero.shape, generator=torch.Generator().manual_seed(0), dtype=zero.dtype)
    one, other = drawn.to(zero.device)
    constant = both(zero)
    of_one, of_other, of_sum = (both(x) - constant - plain(x) for x in (one, other, one + other))
    rounding = torch.finfo(zero.dtype).eps * plain(one).norm() * zero.numel() ** 0.5
    if (of_sum - of_one - of_other).norm() > LINEAR * (of_one.norm() + of_other.norm()) + ROUNDING * rounding:
        raise NotDefined(f"{path} with its adapter is no linear map")


def _unpacked(base: Any, *, bias: Tensor | None = None) -> Any:
    """A copy in float32 or better, a quantised weight in plain numbers, with this bias or none."""
    weight = dequantize_module_weight(base).detach()
    if isinstance(base, nn.Linear):
        plain: Any = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
        if bias is not None:
            plain.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    else:
        plain = copy.deepcopy(base)
        if bias is None and getattr(plain, "bias", None) is not None:
            plain.bias.data.zero_()
    plain.weight = nn.Parameter(weight.to(_precise(weight.dtype), copy=True), requires_grad=False)
    return plain.to(_precise(weight.dtype)).eval()


def _units(plain: Any) -> Iterator[Tensor]:
    """Unit vectors [1, UNITS, in] at a time; of an embedding its tokens [1, UNITS]."""
    weight, is_embedding = plain.weight, isinstance(plain, nn.Embedding)
    num_in = weight.shape[0 if isinstance(plain, nn.Embedding | Conv1D) else 1]
    for hot in torch.arange(num_in, device=weight.device).split(UNITS):
        yield hot[None] if is_embedding else nn.functional.one_hot(hot, num_in).to(weight.dtype)[None]


def _zero(plain: Any) -> Tensor | None:
    """[1, 1, in]; None of an embedding, whose tokens have no zero."""
    return None if isinstance(plain, nn.Embedding) else torch.zeros_like(next(_units(plain))[:, :1])


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
