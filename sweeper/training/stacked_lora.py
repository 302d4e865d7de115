"""LoRA for K runs in one forward of their base model.

PEFT owns the adapters (their creation, names, files); only the forward of its LoRA layers is replaced,
because PEFT refuses several adapters in training mode. For run k with input x_k [N, in]

    y_k = base(x_k) + scaling_k * dropout_k(x_k) A_k^T B_k^T        (Hu et al. 2021, arXiv 2106.09685)

is computed for all k as two batched products over A [K, in, rank] and B [K, rank, out]. Smaller ranks, and
layers that a run does not adapt, are padded with zeros, which take no part in any sum. Every run keeps its
own parameters: the stacking is part of the graph, so gradients arrive where PEFT left the weights, and a run
may come or go between two steps.

The base model runs in evaluation mode: dropout inside the frozen weights would tie a run to its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.pytorch_utils import Conv1D

from sweeper.checks import ConfigError


@dataclass(frozen=True)
class Lane:
    """One run's share of a stacked forward."""

    adapter: str
    rows: int  # of the batch that are the run's own; the rest is padding
    width: int  # tokens of its rows before padding to the group's
    dropout_key: tuple[int, ...] | None = None  # (seed, step, micro-step); None in evaluation


class LoraStack:
    """Replaces the forward of every plain LoRA layer inside a model; `lanes` says whose rows come next."""

    def __init__(self, model: nn.Module) -> None:
        self.lanes: Sequence[Lane] = ()
        self._model = model
        self._layers: list[Any] = []  # LoRA layers are modules, but their type does not say so

    def cover(self) -> None:
        """Takes the model's LoRA layers as they are now: adapters have come or gone, and layers with them.

        Raises ConfigError, with all as it was, where an adapter sits on a layer that can't share a forward.
        """
        layers: dict[str, Any] = {
            name: module for name, module in self._model.named_modules() if isinstance(module, LoraLayer)
        }
        for layer in layers.values():
            _refuse_unless_linear(layer)
        self.close()
        for name, layer in layers.items():
            layer.forward = partial(self._forward, layer, name)
            for adapters in (layer.lora_A, layer.lora_B):
                adapters.requires_grad_(True)  # PEFT freezes all but the one that it calls active
        self._layers = list(layers.values())
        self._model.eval()  # the frozen weights drop nothing

    def close(self) -> None:
        """Gives the layers their own forward back."""
        while self._layers:
            del self._layers.pop().forward

    def _forward(self, layer: LoraLayer, name: str, x: Tensor) -> Tensor:
        """x [K * R, T, in] -> [K * R, T, out], the base layer's dtype."""
        base: Tensor = layer.base_layer(x)
        if not any(lane.adapter in layer.lora_A for lane in self.lanes):
            return base
        a, b, scaling = self._stacked(layer, x.shape[-1], base.shape[-1])
        inputs = x.to(a.dtype).view(len(self.lanes), -1, x.shape[-2], x.shape[-1])  # [K, R, T, in]
        inputs = self._drop(layer, name, inputs).flatten(1, 2)  # [K, R * T, in]
        delta = torch.bmm(torch.bmm(inputs, a) * scaling, b)
        return (base + delta.view(base.shape)).to(base.dtype)

    def _stacked(self, layer: LoraLayer, num_in: int, num_out: int) -> tuple[Tensor, Tensor, Tensor]:
        """A [K, in, rank], B [K, rank, out], scaling [K, 1, 1]."""
        weights = {
            name: (cast(nn.Linear, layer.lora_A[name]).weight, cast(nn.Linear, layer.lora_B[name]).weight)
            for name in layer.lora_A
        }
        some = next(iter(weights.values()))[0]
        absent = some.new_zeros(0, num_in), some.new_zeros(num_out, 0)
        pairs = [weights.get(lane.adapter, absent) for lane in self.lanes]
        scaling = [layer.scaling.get(lane.adapter, 0.0) for lane in self.lanes]
        stacked_a = pad_sequence([a for a, _ in pairs], batch_first=True).transpose(1, 2)
        stacked_b = pad_sequence([b.t() for _, b in pairs], batch_first=True)
        return stacked_a, stacked_b, some.new_tensor(scaling)[:, None, None]

    def _drop(self, layer: LoraLayer, name: str, inputs: Tensor) -> Tensor:
        """Each run's own dropout, drawn on its unpadded rows by the layer's name: whoever the neighbours are."""
        dropouts = [_probability(layer, lane) for lane in self.lanes]
        if not any(dropouts):
            return inputs
        keep = torch.ones_like(inputs)
        for number, (lane, probability) in enumerate(zip(self.lanes, dropouts, strict=True)):
            if probability:
                generator = keyed_generator((*(lane.dropout_key or ()), name), inputs.device)
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


def keyed_generator(key: Sequence[int | str], device: torch.device) -> torch.Generator:
    """A generator whose numbers depend on the key alone: nothing to save, nothing drawn by others disturbs it."""
    return torch.Generator(device).manual_seed(key_seed(key))


def key_seed(key: Sequence[int | str]) -> int:
    """63 well-mixed bits of the key."""
    return int.from_bytes(blake2b(repr(tuple(key)).encode(), digest_size=8).digest(), "big") >> 1
