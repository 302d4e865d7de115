"""LoRA for K runs in one forward of their base model.

PEFT owns the adapters (their creation, names, files); only the forward of its LoRA layers is replaced,
because PEFT refuses several adapters in training mode. For run k with input x_k [N, in]

    y_k = base(x_k) + scaling_k * dropout_k(x_k) A_k^T B_k^T        (Hu et al. 2021, arXiv 2106.09685)

is computed for all k as two batched products over A [K, in, rank] and B [K, rank, out]. Smaller ranks, and
layers that a run does not adapt, are padded with zeros, which take no part in any sum. Every run keeps its
own parameters: the stacking is part of the graph, so gradients arrive where PEFT left the weights.

The base model runs in evaluation mode: dropout inside the frozen weights would tie a run to its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.pytorch_utils import Conv1D

from sweeper.config import ConfigError


@dataclass(frozen=True)
class Lane:
    """One run's share of a stacked forward."""

    adapter: str
    rows: int  # of the batch that are the run's own; the rest is padding
    width: int  # tokens of its rows before padding to the group's
    dropout_key: tuple[int, ...] | None = None  # (seed, step, micro-step); None in evaluation


class LoraStack:
    """Replaces the forward of every plain LoRA layer of a PEFT model; `lanes` says whose rows come next."""

    def __init__(self, model: PeftModel) -> None:
        self.lanes: Sequence[Lane] = ()
        self._layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        for layer in self._layers:
            _refuse_unless_linear(layer)
        for index, layer in enumerate(self._layers):
            layer.forward = partial(self._forward, layer, index)

    def close(self) -> None:
        """Gives the layers their own forward back."""
        for layer in self._layers:
            del layer.forward

    def _forward(self, layer: LoraLayer, index: int, x: Tensor) -> Tensor:
        """x [K * R, T, in] -> [K * R, T, out], the base layer's dtype."""
        base: Tensor = layer.base_layer(x)
        adapted = [lane.adapter in layer.lora_A for lane in self.lanes]
        if not any(adapted):
            return base
        dtype = next(iter(layer.lora_A.values())).weight.dtype
        a, b, scaling = self._stacked(layer, x.shape[-1], base.shape[-1], dtype)
        inputs = x.to(dtype).view(len(self.lanes), -1, x.shape[-2], x.shape[-1])  # [K, R, T, in]
        inputs = self._drop(layer, index, inputs).flatten(1, 2)  # [K, R * T, in]
        delta = torch.bmm(torch.bmm(inputs, a) * scaling, b)
        return (base + delta.view(base.shape)).to(base.dtype)

    def _stacked(
        self, layer: LoraLayer, num_in: int, num_out: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A [K, in, rank], B [K, rank, out], scaling [K, 1, 1]."""
        device = next(iter(layer.lora_A.values())).weight.device
        a, b, scaling = [], [], []
        for lane in self.lanes:
            if lane.adapter in layer.lora_A:
                a.append(layer.lora_A[lane.adapter].weight)
                b.append(layer.lora_B[lane.adapter].weight.t())
                scaling.append(layer.scaling[lane.adapter])
            else:
                a.append(torch.zeros(0, num_in, dtype=dtype, device=device))
                b.append(torch.zeros(0, num_out, dtype=dtype, device=device))
                scaling.append(0.0)
        stacked_a = pad_sequence(a, batch_first=True).transpose(1, 2)
        stacked_b = pad_sequence(b, batch_first=True)
        return stacked_a, stacked_b, torch.tensor(scaling, dtype=dtype, device=device)[:, None, None]

    def _drop(self, layer: LoraLayer, index: int, inputs: Tensor) -> Tensor:
        """Each run's own dropout, drawn on its unpadded rows: the same mask whoever the neighbours are."""
        dropouts = [_probability(layer, lane) for lane in self.lanes]
        if not any(dropouts):
            return inputs
        keep = torch.ones_like(inputs)
        for number, (lane, probability) in enumerate(zip(self.lanes, dropouts, strict=True)):
            if probability:
                generator = keyed_generator((*(lane.dropout_key or ()), index), inputs.device)
                own = torch.empty(lane.rows, lane.width, inputs.shape[-1], dtype=torch.float32, device=inputs.device)
                own.bernoulli_(1 - probability, generator=generator)
                keep[number, : lane.rows, : lane.width] = own.to(keep.dtype) / (1 - probability)
        return inputs * keep


def _refuse_unless_linear(layer: LoraLayer) -> None:
    base = layer.get_base_layer()
    if not isinstance(base, nn.Linear | Conv1D):
        raise ConfigError("peft.target_modules", type(base).__name__, "only linear layers share a forward",
                          "name linear modules, or all-linear")  # fmt: skip


def _probability(layer: LoraLayer, lane: Lane) -> float:
    if lane.dropout_key is None or lane.adapter not in layer.lora_A:
        return 0.0
    dropout = layer.lora_dropout[lane.adapter]
    return dropout.p if isinstance(dropout, nn.Dropout) else 0.0


def keyed_generator(key: Sequence[int], device: torch.device) -> torch.Generator:
    """A generator whose numbers depend on the key alone: nothing to save, nothing drawn by others disturbs it."""
    return torch.Generator(device).manual_seed(key_seed(key))


def key_seed(key: Sequence[int]) -> int:
    """63 well-mixed bits of the key."""
    return int.from_bytes(blake2b(repr(tuple(key)).encode(), digest_size=8).digest(), "big") >> 1
